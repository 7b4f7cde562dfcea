"""Videos that somebody dropped on the page, worked on one after another.

Contract: a job is a folder: `input/` has what was dropped, `run/` is its workdir, `log.txt` what
its program said. Each runs as a process of its own (`one_video`), so that nothing it does can stop
the page.
"""

import dataclasses
import pathlib
import queue
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Any

import av

RESULTS = ('.mp4', '.html', '.csv', '.json', '.h5')
# 'offline :  50%|####', or 'decode  : 12frame' where nobody knows how many there are
_BAR = re.compile(r'^(\w[\w ]*?)\s*:\s+(?:(\d+)%\||\d+frame)')

Command = Callable[['Job'], list[str]]


@dataclasses.dataclass
class Job:
    """One video. state: 'waiting', 'working', 'done' or 'failed'."""

    folder: pathlib.Path
    video: pathlib.Path
    boxes: pathlib.Path | None
    schedule: str
    state: str = 'waiting'

    @property
    def id(self) -> str:
        """The folder's name, which nobody can guess."""
        return self.folder.name

    @property
    def results(self) -> pathlib.Path:
        """Where its files are."""
        return self.folder / 'run'

    def told(self) -> dict[str, Any]:
        """What the page shows of it."""
        lines = self._log()
        phase, percent = _progress(lines)
        failed = [line for line in lines if line.startswith('error:')] or lines[-1:]
        made = sorted(p.name for p in self.results.glob('*') if p.suffix in RESULTS)
        video = self.results / 'before_after.mp4'
        done = self.state == 'done'
        return {
            'id': self.id,
            'name': self.video.name,
            'state': self.state,
            'phase': phase,
            'percent': percent,
            'error': failed[-1] if self.state == 'failed' and failed else '',
            'warnings': [line.partition('] ')[2] for line in lines if line.startswith('W')],
            'files': made if done else [],
            'film': _film(video) if done and video.is_file() else None,
        }

    def _log(self) -> list[str]:
        path = self.folder / 'log.txt'
        text = path.read_text(errors='replace') if path.is_file() else ''
        return [line for line in text.splitlines() if line.strip()]


def _progress(lines: list[str]) -> tuple[str, int | None]:
    """(phase, percent) of the last bar in a log."""
    for line in reversed(lines):
        if found := _BAR.match(line):
            return found[1].strip(), int(found[2]) if found[2] else None
    return '', None


def _film(path: pathlib.Path) -> dict[str, float]:
    """How many frames the annotated video has, and how many a second."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return {'frames': stream.frames, 'rate': float(stream.average_rate or 25)}


def command(job: Job) -> list[str]:
    """What works on a job."""
    boxes = '' if job.boxes is None else str(job.boxes)
    program = [sys.executable, '-m', 'ttp_jax.app.one_video']
    return [*program, str(job.video), boxes, str(job.results), job.schedule]


class Jobs:
    """All jobs under a folder, worked on in the order that they came in."""

    def __init__(self, folder: pathlib.Path, command: Command = command):
        self.folder, self.command = folder.absolute(), command
        self.known: dict[str, Job] = {}
        self._waiting: queue.Queue[Job] = queue.Queue()
        threading.Thread(target=self._work, daemon=True).start()

    def new_folder(self) -> pathlib.Path:
        """A folder for what is dropped."""
        folder = self.folder / uuid.uuid4().hex[:12]
        (folder / 'input').mkdir(parents=True)
        return folder

    def add(self, job: Job) -> Job:
        """Lets a job wait for its turn."""
        self.known[job.id] = job
        self._waiting.put(job)
        return job

    def _work(self) -> None:
        while True:
            job = self._waiting.get()
            job.state = 'working'
            with (job.folder / 'log.txt').open('w') as log:
                ended = subprocess.run(self.command(job), stdout=log, stderr=subprocess.STDOUT)
            job.state = 'failed' if ended.returncode else 'done'
