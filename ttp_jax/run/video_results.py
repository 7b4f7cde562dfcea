"""What is written of one video: keypoints in several files, the annotated video, the page.

Contract: `results` is everyone's by phase, 'before' first; the last phase is what counts. Clips are
parts of people, and are joined here; keypoints leave in pixels of the video.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from ttp_jax.data.people.cut_out import FilmedClip
from ttp_jax.data.people.footage import NO_BOXES
from ttp_jax.data.video import Video
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.personalize.verdict import PERSONALIZED
from ttp_jax.results.exports import charts, coco, deeplabcut, keypoints, overlay, page, smoothing
from ttp_jax.results.exports.keypoints import Found
from ttp_jax.run import gallery, progress
from ttp_jax.run.build import Run

STILLS = 6  # frames that the page shows of each person

Results = Mapping[str, Sequence[Adapted]]
Parts = Mapping[str, Sequence[int]]  # by person in a video, the indices of their clips


def write_video(
    run: Run, video: Video, results: Results, folder: pathlib.Path, *, smooth: str = ''
) -> None:
    """All files of one video. smooth: a kind of `smoothing`, or none."""
    parts = clips_of(run, video, results['before'])
    if not parts:
        logging.warning('%s: nobody in it could be predicted', video.paths[0])
        return
    folder.mkdir(parents=True, exist_ok=True)
    people = {phase: found_people(run, parts, adapted) for phase, adapted in results.items()}
    write_keypoints(run, video, people, folder, smooth=smooth)
    *_, last = people
    shown = {'before': people['before']} | ({'after': people[last]} if last != 'before' else {})
    total = 1 + max(int(person.frames[-1]) for person in people['before'])
    overlay.write(
        folder / 'before_after.mp4',
        progress.watched(video.frames(seconds=run.config.data.seconds), 'write', total),
        shown,
        skeleton=run.data.skeleton,
        rate=video.rate,
    )
    page.write(
        folder / 'report.html',
        stories(run, parts, people, results),
        title=video.paths[0].name,
        skeleton=run.data.skeleton,
        seconds={phase: run.seconds[phase] for phase in results},
        warnings=warnings(run, results['before']),
        video=folder / 'before_after.mp4',
        files=sorted(f.name for f in folder.iterdir() if f.suffix in ('.csv', '.json', '.h5')),
    )


def found_people(run: Run, parts: Parts, adapted: Sequence[Adapted]) -> list[Found]:
    """Everyone in a video, with the parts that they were found in joined."""
    clips = filmed(run)
    return keypoints.joined(
        [found(clips[index], adapted[index]) for indices in parts.values() for index in indices]
    )


def found(clip: FilmedClip, result: Adapted) -> Found:
    """One clip's keypoints in pixels of its video."""
    return Found(
        clip.track.person,
        clip.track.frames,
        clip.times,
        clip.track.boxes,
        clip.place.to_video(result.joints),
        result.scores,
        np.full(len(clip.times), result.status == PERSONALIZED),
    )


def write_keypoints(
    run: Run,
    video: Video,
    people: Mapping[str, Sequence[Found]],
    folder: pathlib.Path,
    *,
    smooth: str = '',
) -> None:
    """The last phase's keypoints for every program, and other phases' as tables."""
    *others, last = people
    names, final = run.data.skeleton.joints, people[last]
    for phase in others:
        keypoints.write_table(folder / f'keypoints_{phase}.csv', people[phase], joints=names)
    keypoints.write_table(folder / 'keypoints.csv', final, joints=names)
    if smooth:
        smoothed = [smoothing.smoothed(person, smooth) for person in final]
        keypoints.write_table(folder / 'keypoints_smoothed.csv', smoothed, joints=names)
    coco.write(
        folder / 'coco.json', final, skeleton=run.data.skeleton, video=video.name, size=video.size
    )
    deeplabcut.write_csv(folder / 'deeplabcut.csv', final, joints=names)
    if deeplabcut.writes_hdf5():
        deeplabcut.write_hdf5(folder / 'deeplabcut.h5', final, joints=names)


def stories(
    run: Run, parts: Parts, people: Mapping[str, Sequence[Found]], results: Results
) -> list[page.Story]:
    """What the page tells of each person."""
    *_, last = people
    seen, clips = gallery.seen_people(run, results), filmed(run)
    told = []
    for row, before in enumerate(people['before']):
        after = people[last][row] if last != 'before' else None
        own = parts[before.person]
        drawn = next((index for index in own if index in seen), None)
        told.append(
            page.Story(
                before,
                after,
                np.concatenate([results[last][index].losses.ravel() for index in own]),
                [] if after is None else stills([clips[index] for index in own], before, after),
                None if drawn is None else seen[drawn],
                None if drawn is None else gallery.predictions(run, drawn, results),
                '' if after is None else verdict(results[last][index] for index in own),
            )
        )
    return told


def filmed(run: Run) -> list[FilmedClip]:
    """Everyone's clips, as what they are."""
    return [clip for clip in run.people if isinstance(clip, FilmedClip)]


def clips_of(run: Run, video: Video, before: Sequence[Adapted]) -> Parts:
    """Everyone in a video, with those of their clips that could be predicted."""
    people: dict[str, list[int]] = {}
    for index, clip in enumerate(filmed(run)):
        if clip.video.name == video.name and before[index].predicted:
            people.setdefault(clip.track.person, []).append(index)
    return people


def stills(parts: Sequence[FilmedClip], before: Found, after: Found) -> list[page.Still]:
    """The frames in which personalization moved the joints most, as their clips show them."""
    pictures: list[page.Still] = []
    for row in charts.most_changed(before, after, count=STILLS):
        frame = int(before.frames[row])
        clip = next(clip for clip in parts if frame in clip.track.frames)
        here = frame - int(clip.track.frames[0])
        joints = (clip.place.to_clip(each.joints[row]) for each in (before, after))
        image = np.asarray(clip.frames[here])
        time = float(before.times[row])
        pictures.append(page.Still(frame, time, image, clip.boxes[here], *joints))
    return pictures


def verdict(parts) -> str:
    """Whether personalization counts for the person, in words."""
    left = [part for part in parts if part.status != PERSONALIZED]
    if not left:
        return ''
    reasons = '; '.join(dict.fromkeys(f'{part.status}: {part.reason}' for part in left))
    return f'Not personalized in {len(left)} of their clips ({reasons}).'


def warnings(run: Run, before: Sequence[Adapted]) -> list[str]:
    """What the page's reader should know."""
    failed = dict(run.refused) | {
        clip.id: result.reason
        for clip, result in zip(run.people, before, strict=True)
        if not result.predicted
    }
    told = [] if run.config.data.boxes else [NO_BOXES[0].upper() + NO_BOXES[1:] + '.']
    return told + [f'{name} is left out: {reason}' for name, reason in failed.items()]


def summary(run: Run, results: Results, workdir: pathlib.Path) -> str:
    """What to tell the user at the end."""
    frames = sum(len(clip.frames) for clip in run.people)
    people = len({(clip.video.name, clip.track.person) for clip in filmed(run)})
    lines = [f'{people} people, {frames} frames.' if people > 1 else f'1 person, {frames} frames.']
    for phase in results:
        rate = frames / max(run.seconds[phase], 1e-9)
        lines.append(f'{phase:<8} {run.seconds[phase]:6.1f} s, {rate:.1f} frames/s')
    return '\n'.join([*lines, '', f'Report: {workdir / "report.html"}'])
