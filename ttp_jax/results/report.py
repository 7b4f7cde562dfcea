"""What a run found, for people and programs: the table, `report.json` and `report.md`.

Contract: a phase is when predictions were made: `before` personalization, `online`, `offline`.
Predictions are one `[frames, joints, 2]` array per clip, `(x, y)` in image pixels of the data set's
labels. A report is a dict of plain Python values, ready for JSON; scores are percent, and None
where nothing could be scored. Its keys:
  metric    'mPCK@0.2': the name of the score
  frames    how many frames the people have
  mpck      {phase: percent}, over the frames of all people together, as in the paper's tables
  joints    {phase: {group: percent}}, likewise
  people    [{'id': clip, phase: percent, ...}], in the order of the clips; with `source`, the
            recording that a clip was cut from, where it is known
  beside    {phase: {name: value}}, of data without a metric of their own: `metrics.beside`
  compared  {phase: {improved, hurt, unchanged: people, mean_gain, interval: points}} to `before`,
            every person counting once; the interval is over people, or over sources
To these the caller may add `failed` ({id: why}), `not_personalized` ({phase: {id: why}}),
`estimated_gain` ({phase: {people: {id: points}, error: their deviation from true gains}}),
`command`, `config`, `seed`, `git`, `seconds` ({phase: seconds}) and `made` ({phase: how many
frames were predicted in these seconds}, where an earlier run had predicted the others).
"""

import functools
import json
import os
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ttp_jax import places
from ttp_jax.data.clips import Clip, Labels
from ttp_jax.data.skeletons import Skeleton
from ttp_jax.files import whole_file
from ttp_jax.results import metrics

# More groups than these make lines too long to be read; report.json has all of them.
_GROUPS = 10

# A picture's caption is that of the first name its file name starts with.
_CAPTIONS = {
    'people': (
        'People of the data set, each with frames evenly spread over the clip: as they are, and'
        ' below with the labelled joints, or the predicted ones where there are no labels. Left'
        ' limbs are amber, right limbs blue, joints labelled as not visible hollow.'
    ),
    'losses': (
        'Losses while training, and while personalizing: the mean over people and, shaded, the'
        ' middle half of them.'
    ),
    'person': (
        'One frame of one person through the model, before and after personalization: the source'
        ' that lends its appearance, the target, the target rebuilt, the self-supervised keypoints,'
        ' the joints with lines to the keypoints they are read from (the wider, the more weight),'
        ' and the joints against the truth, wrong ones in red.'
    ),
    'gain': 'What personalization changed for each person. Those it hurt are in orange.',
    'before_after': (
        'The same frame before and after personalization, with the score of the whole clip.'
    ),
}


# --- numbers ---------------------------------------------------------------------------------


def summarise(
    clips: Sequence[Clip],
    predictions: Mapping[str, Sequence[np.ndarray | None]],
    *,
    skeleton: Skeleton,
) -> dict[str, Any]:
    """Scores of every phase, for all people together and for each of them (paper section 4.1).

    Args:
      clips: the people; those without labels have no score.
      predictions: phase to one `[frames, joints, 2]` array per clip, image pixels; `before` first,
        then any others. None of a person who could not be predicted: they have no score at all.
      skeleton: the data set's joints.

    Returns:
      The part of a report that follows from predictions, as described above.

    Raises:
      ValueError: `before` is not the first phase, or a prediction is missing, not finite or has
        the wrong shape: the message names the phase and the clip.
    """
    _check(clips, predictions, skeleton)
    missing = [any(joints is None for joints in own) for own in zip(*predictions.values())]
    labels = [
        _unseen(clip, skeleton) if lacking else _labels(clip, skeleton)
        for clip, lacking in zip(clips, missing, strict=True)
    ]
    known = {phase: _filled(found, labels) for phase, found in predictions.items()}
    joints, visibility = zip(*labels, strict=True)
    score = functools.partial(
        metrics.pooled_pck, joints=joints, visibility=visibility, skeleton=skeleton
    )
    pooled = {phase: score(found) for phase, found in known.items()}
    people = {
        phase: metrics.people_pck(found, joints, visibility, skeleton=skeleton)
        for phase, found in known.items()
    }
    also = functools.partial(
        metrics.beside, joints=joints, visibility=visibility, skeleton=skeleton
    )
    report = {
        'metric': f'mPCK@{skeleton.threshold:g}{_unit(skeleton)}',
        'frames': sum(len(clip.frames) for clip in clips),
        'mpck': {phase: scores.pop('mPCK') for phase, scores in pooled.items()},
        'joints': pooled,
        'beside': {phase: found for phase, p in known.items() if (found := also(p))},
        'people': _per_person(clips, people),
        'compared': _compare_phases(people, [clip.source or clip.id for clip in clips]),
    }
    return _plain(report)


def _unit(skeleton: Skeleton) -> str:
    if skeleton.by_box:
        return ' box'
    return 'px' if skeleton.torso is None else ''


def _labels(clip: Clip, skeleton: Skeleton) -> Labels:
    """The clip's labels; of a clip without any, joints that nobody sees: they are not scored."""
    return _unseen(clip, skeleton) if clip.labels is None else clip.labels


def _unseen(clip: Clip, skeleton: Skeleton) -> Labels:
    frames, joints = len(clip.frames), len(skeleton.joints)
    return Labels(np.zeros((frames, joints, 2)), np.zeros((frames, joints)))


def _filled(found: Sequence[np.ndarray | None], labels: Sequence[Labels]) -> list[np.ndarray]:
    """Predictions, with those that are missing anywhere: nobody sees their joints."""
    return [
        np.zeros_like(own.joints) if joints is None else joints
        for joints, own in zip(found, labels, strict=True)
    ]


def _check(
    clips: Sequence[Clip],
    predictions: Mapping[str, Sequence[np.ndarray | None]],
    skeleton: Skeleton,
) -> None:
    """Raises ValueError as `summarise` says."""
    phases = list(predictions)
    if not clips:
        raise ValueError('no clips to report on, expected at least one')
    if phases[:1] != ['before']:
        raise ValueError(f"predictions are of {phases}, expected 'before' to come first")
    for phase, found in predictions.items():
        if len(found) != len(clips):
            raise ValueError(
                f'{phase}: found predictions of {len(found)} people, expected {len(clips)}'
            )
        for clip, joints in zip(clips, found, strict=True):
            if joints is not None:
                _check_clip(f'{phase}: predictions of clip {clip.id}', clip, joints, skeleton)


def _check_clip(name: str, clip: Clip, joints: np.ndarray, skeleton: Skeleton) -> None:
    expected = (len(clip.frames), len(skeleton.joints), 2)
    if np.shape(joints) != expected:
        raise ValueError(f'{name} have shape {np.shape(joints)}, expected {expected}')
    if not np.isfinite(joints).all():
        raise ValueError(f'{name} are not all finite')


def _per_person(clips: Sequence[Clip], people: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    scores = zip(*people.values(), strict=True)
    return [
        {'id': clip.id} | _source(clip) | dict(zip(people, own, strict=True))
        for clip, own in zip(clips, scores, strict=True)
    ]


def _source(clip: Clip) -> dict[str, str]:
    return {'source': clip.source} if clip.source else {}


def _compare_phases(people: Mapping[str, np.ndarray], sources: Sequence[str]) -> dict[str, Any]:
    """What each phase changed, to `before`."""
    return {
        phase: _compare(people['before'], after, sources)
        for phase, after in people.items()
        if phase != 'before'
    }


def _compare(before: np.ndarray, after: np.ndarray, sources: Sequence[str]) -> dict[str, Any]:
    """What one phase changed; without a score to compare nobody has gained or lost."""
    if not np.isfinite(before).any():
        nobody = dict.fromkeys(('improved', 'hurt', 'unchanged'), 0)
        return nobody | {'mean_gain': None, 'interval': None}
    result = metrics.compare_people(before, after, sources=sources)._asdict()
    del result['people']
    return result


def _plain(value: Any) -> Any:
    """The same with plain Python values only, and None for every number that is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


# --- text ------------------------------------------------------------------------------------


def table(report: Mapping[str, Any]) -> str:
    """Scores of each phase, what they gained, and the time they took: a terminal's and markdown's.

    Args:
      report: as `summarise` makes it; with `seconds`, a second table is added.
    """
    compared = report['compared']
    groups = list(report['joints']['before'])
    groups = groups if len(groups) <= _GROUPS else []
    gains = ['gain', 'better', 'worse'] if compared else []
    rows = [
        [phase, _number(score), *(_number(report['joints'][phase][group]) for group in groups)]
        + (_gain_cells(compared.get(phase)) if compared else [])
        for phase, score in report['mpck'].items()
    ]
    parts = [_rows(['', report['metric'], *groups, *gains], rows), *_beside(report)]
    parts.append(_counted(report))
    if report.get('seconds'):
        parts += [_seconds(report), 'Wall clock, compilation included.']
    return '\n\n'.join(parts) + '\n'


def _beside(report: Mapping[str, Any]) -> list[str]:
    """The scores of other metrics, a row per phase."""
    if not report.get('beside'):
        return []
    names = list(report['beside']['before'])
    rows = [
        [phase, *(_number(scores[name]) for name in names)]
        for phase, scores in report['beside'].items()
    ]
    return [_rows(['', *names], rows)]


def _gain_cells(compared: Mapping[str, Any] | None) -> list[str]:
    if compared is None:
        return ['', '', '']
    return [_gain(compared), str(compared['improved']), str(compared['hurt'])]


def _gain(compared: Mapping[str, Any]) -> str:
    if compared['mean_gain'] is None:
        return _number(None)
    low, high = compared['interval']
    return f'{compared["mean_gain"]:+.1f} [{low:+.1f}, {high:+.1f}]'


def _number(value: float | None, sign: str = '') -> str:
    return '–' if value is None else f'{value:{sign}.1f}'


def _rows(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table, padded to line up in a terminal too: first column left, others right."""
    widths = [max(3, *map(len, column)) for column in zip(titles, *rows, strict=True)]
    rule = ['-' * width if i == 0 else '-' * (width - 1) + ':' for i, width in enumerate(widths)]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        return '| ' + ' | '.join([cells[0].ljust(widths[0]), *padded[1:]]) + ' |'

    return '\n'.join([line(titles), line(rule), *map(line, rows)])


def _counted(report: Mapping[str, Any]) -> str:
    people, failed = report['people'], report.get('failed', {})
    unscored = sum(person['before'] is None and person['id'] not in failed for person in people)
    text = f'{_count(len(people), "person", "people")}, {_count(report["frames"], "frame")}.'
    text += ' Scores are percent, over all frames together.'
    if report['compared']:
        text += f' Gains are points per person, mean [95 % interval over {_independent(people)}].'
    if unscored:
        text += f' People without a visible joint, hence without a score: {unscored}.'
    if failed:
        text += f' Failed: {_count(len(failed), "person", "people")}.'
    return text


def _independent(people: Sequence[Mapping[str, Any]]) -> str:
    """What an interval's draws are of."""
    known = {person['source'] for person in people if 'source' in person}
    return f'the {_count(len(known), "recording")} they were cut from' if known else 'people'


def _count(number: int, one: str, many: str = '') -> str:
    return f'{number:,} {one if number == 1 else many or one + "s"}'


def _seconds(report: Mapping[str, Any]) -> str:
    seconds = {name: taken for name, taken in report['seconds'].items() if name != 'total'}
    rows = [[name, _number(taken), _speed(report, name, taken)] for name, taken in seconds.items()]
    total = report['seconds'].get('total', sum(taken or 0.0 for taken in seconds.values()))
    return _rows(['', 'seconds', 'frames/s'], [*rows, ['total', _number(total), '']])


def _speed(report: Mapping[str, Any], name: str, taken: float | None) -> str:
    frames = report.get('made', {}).get(name, report['frames'])
    return f'{frames / taken:.1f}' if taken and name in report['mpck'] else ''


# --- files -----------------------------------------------------------------------------------


def write_report(
    workdir: str | os.PathLike, report: Mapping[str, Any], *, pictures: Sequence[str] = ()
) -> None:
    """Writes `report.json`, strict JSON, and `report.md`; each replaces the last one at once.

    Args:
      workdir: the folder, made if missing.
      report: as `summarise` makes it, with any more keys whose values JSON knows.
      pictures: what `report.md` shows: absolute paths, or relative to `workdir`. Captions follow
        from the start of file names: people, losses, gain, person, hero.
    """
    workdir = places.place(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    report = _plain(report)
    data = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + '\n'
    for name, text in (('report.json', data), ('report.md', _markdown(report, workdir, pictures))):
        with whole_file.replacing(workdir / name) as path:
            path.write_text(text, encoding='utf-8')


def _markdown(report: Mapping[str, Any], workdir: pathlib.Path, pictures: Sequence[str]) -> str:
    sections = [
        '# Test-time personalization: report',
        _origin(report),
        '## Scores',
        table(report).strip(),
        '## People',
        _people(report),
        _kept(report),
        _failed(report),
    ]
    if pictures:
        sections += ['## Pictures', *(_picture(workdir, picture) for picture in pictures)]
    if report.get('config'):
        config = json.dumps(report['config'], indent=2, ensure_ascii=False)
        sections += ['## Configuration', f'```json\n{config}\n```']
    return '\n\n'.join(section for section in sections if section) + '\n'


def _origin(report: Mapping[str, Any]) -> str:
    known = [key for key in ('command', 'seed', 'git') if report.get(key) is not None]
    return '\n'.join(f'- {key}: `{report[key]}`' for key in known)


def _people(report: Mapping[str, Any]) -> str:
    """Everyone, the largest gain of the last phase first; those hurt are in bold, at the end."""
    *_, last = report['mpck']
    if last == 'before':
        rows = [[person['id'], _number(person['before'])] for person in report['people']]
        return _rows(['person', 'before'], rows)
    told = report.get('estimated_gain', {}).get(last)
    guessed = (
        {name: _guessed(gain, told['error']) for name, gain in told['people'].items()}
        if told
        else {}
    )
    gains = [_gain_of(person, last) for person in report['people']]
    order = sorted(range(len(gains)), key=lambda i: (gains[i] is None, -(gains[i] or 0.0)))
    rows = []
    for person, gain in ((report['people'][i], gains[i]) for i in order):
        scores = (_number(person[phase]) for phase in report['mpck'])
        estimated = [guessed.get(person['id'], '–')] if guessed else []
        rows.append([person['id'], *scores, _marked(gain), *estimated])
    estimated = ['estimated without labels'] if guessed else []
    return _rows(['person', *report['mpck'], f'gain {last}', *estimated], rows)


def _kept(report: Mapping[str, Any]) -> str:
    """Who has the shared network's predictions although nothing failed, when, and why."""
    lines = [
        f'- `{name}`, {phase}: {why}'
        for phase, people in report.get('not_personalized', {}).items()
        for name, why in people.items()
        if name not in report.get('failed', {})
    ]
    return _listed('Not personalized', lines)


def _failed(report: Mapping[str, Any]) -> str:
    """Who failed, and why."""
    lines = [f'- `{name}`: {reason}' for name, reason in report.get('failed', {}).items()]
    return _listed('Failed', lines)


def _listed(heading: str, lines: Sequence[str]) -> str:
    return '\n'.join([f'### {heading}\n', *lines]) if lines else ''


def _gain_of(person: Mapping[str, Any], phase: str) -> float | None:
    scored = person['before'] is not None and person[phase] is not None
    return person[phase] - person['before'] if scored else None


def _guessed(gain: float | None, error: float) -> str:
    return '–' if gain is None else f'{gain:+.1f} ± {error:.1f}'


def _marked(gain: float | None) -> str:
    return f'**{gain:+.1f}**' if gain is not None and gain < 0 else _number(gain, '+')


def _picture(workdir: pathlib.Path, picture: str) -> str:
    path = pathlib.Path(picture)
    relative = pathlib.Path(os.path.relpath(workdir / path, workdir)).as_posix()
    name = path.stem.replace('_', ' ')
    caption = next((text for key, text in _CAPTIONS.items() if path.stem.startswith(key)), name)
    return f'![{name}]({urllib.parse.quote(relative)})\n\n{caption}'
