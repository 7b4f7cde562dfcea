"""The job of one video as a program of its own, which the page starts and watches.

    python -m ttp_jax.app.one_video VIDEO BOXES WORKDIR SCHEDULE

Contract: BOXES is a file, or '' for none; SCHEDULE is 'offline', 'online', or 'none' to predict
only. Bars go to the standard error as lines. What is wrong is told there in one line that begins
with `error:`, and the exit status is 1.
"""

from ttp_jax.run import host_memory

if __name__ == '__main__':
    host_memory.restart_with_huge_pages()  # before anything that takes long to import

import pathlib
import sys

from absl import logging

from ttp_jax.main import keep_compiled_programs
from ttp_jax.personalize import capacity
from ttp_jax.run import defaults, video_job


def main(video: str, boxes: str, workdir: str, schedule: str) -> None:
    """Does it, and prints what came of it."""
    logging.set_verbosity(logging.WARNING)
    keep_compiled_programs()
    capacity.one_device_per_core()
    config = defaults.video('offline' if schedule == 'none' else schedule)
    config.update({'input': video, 'boxes': boxes})
    if schedule == 'none':
        config.schedules = ()
    try:
        print(video_job.execute(config, pathlib.Path(workdir)))
    except ValueError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main(*sys.argv[1:])
