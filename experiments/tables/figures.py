"""Figures of the tables: PCK over thresholds, gain over frames, gains of everyone, training people.

Contract: each function takes groups of records and writes one PNG, in the style of the report's
pictures; those that have nothing to show write nothing and return False.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from experiments.tables import groups, strangers
from experiments.tables.groups import ADAPTED, Group
from experiments.tables.rows import DATA
from ttp_jax.results.pictures import canvas, curves

WIDEST = 1200  # pixels of a picture that is kept
COLOURS = ('#8A8F98', '#E69F00', '#009E73', '#0072B2', '#CC79A7', '#56B4E9')


def draw_all(folder: pathlib.Path, name: str, found: Sequence[Group]) -> list[str]:
    """Every figure of one size and data set, as `<name>_<figure>.png`; the files that are there."""
    ours = groups.find(found, 'main', 'ours')
    drawn: dict[str, Callable[[pathlib.Path], bool]] = {
        'pck': lambda path: pck_curves(path, [g for g in found if g.table == 'main']),
        'frames': lambda path: ours is not None and gain_by_frame(path, ours),
        'gains': lambda path: ours is not None and gains_of_everyone(path, ours),
        'training_people': lambda path: gain_by_training_people(path, found),
    }
    files = {f'{name}_{figure}.png': draw for figure, draw in drawn.items()}
    return [file for file, draw in files.items() if draw(folder / file)]


def keep_pictures(workdir: pathlib.Path, folder: pathlib.Path, name: str) -> None:
    """A run's pictures of people as `<name>_seen_*.jpg`: rebuilt, before and after, affinities.

    Smaller than the run has them, as they are kept with the code.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for picture in (*workdir.glob('person_*.png'), *workdir.glob('before_after.png')):
        image = cv2.imread(str(picture))
        assert image is not None  # the report's own
        share = min(1.0, WIDEST / image.shape[1])
        small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        kept = folder / f'{name}_seen_{picture.stem}.jpg'
        cv2.imwrite(str(kept), small, [cv2.IMWRITE_JPEG_QUALITY, 85])
    affinities(folder / f'{name}_seen_affinity.png', workdir)


def kept_pictures(folder: pathlib.Path, name: str) -> list[str]:
    """The files that `keep_pictures` has left, the overview first."""
    return sorted(path.name for path in folder.glob(f'{name}_seen_*') if path.suffix != '.json')


def affinities(path: pathlib.Path, workdir: pathlib.Path) -> bool:
    """The affinity matrix of a run's first drawn person: a panel for each phase, joints as rows."""
    found = {}
    for phase in ('before', *ADAPTED):
        for file in sorted((workdir / 'views' / phase).glob('*.npz'))[:1]:
            with np.load(file) as arrays:
                found[phase] = arrays['affinity'] if 'affinity' in arrays else None
            with np.load(workdir / 'predictions' / phase / file.name) as arrays:
                joints = [str(name) for name in arrays['names']]
    panels = {phase: matrix for phase, matrix in found.items() if matrix is not None}
    if not panels:
        return False
    figure = canvas.new_figure(120 + 320 * len(panels), 320, layout='constrained')
    drawn = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (phase, matrix) in zip(drawn, panels.items(), strict=True):
        shown = axes.imshow(matrix, cmap='magma', vmin=0, vmax=1, aspect='auto')
        axes.set_title(phase, loc='left', fontsize=11, fontweight='bold', color=canvas.INK)
        axes.set_xlabel('self-supervised keypoint', color=canvas.FAINT)
        axes.set_yticks(range(len(joints)), joints, fontsize=8)
    figure.colorbar(shown, ax=drawn, label='affinity')
    canvas.save(figure, path)
    return True


def pck_curves(path: pathlib.Path, systems: Sequence[Group]) -> bool:
    """Right joints by threshold, means over seeds: a panel per mode, a line per system."""
    modes = [m for m in ('before', *ADAPTED) if any(g.modes.get(m) for g in systems)]
    if not modes:
        return False
    figure = canvas.new_figure(400 * len(modes), 380, layout='constrained')
    panels = figure.subplots(1, len(modes), sharey=True, squeeze=False)[0]
    for axes, mode in zip(panels, modes, strict=True):
        curves.plain_axes(axes, xlabel='threshold, torsos', ylabel='right, %', title=mode)
        for group, colour in zip(systems, COLOURS, strict=False):
            if records := group.modes.get(mode):
                shares = list(next(iter(records.values()))['curve'])
                mean = np.mean([[r['curve'][s] for s in shares] for r in records.values()], axis=0)
                axes.plot([float(s) for s in shares], mean, color=colour, label=group.system)
        axes.legend(frameon=False, fontsize=9)
    canvas.save(figure, path)
    return True


def gain_by_frame(path: pathlib.Path, group: Group) -> bool:
    """Points over before by index of the frame: mean over seeds, and their range."""
    modes = [mode for mode in ADAPTED if group.gains(mode)]
    if not modes:
        return False
    figure, axes = _axes('frame', 'gain, points', 'gain by frame')
    for mode in modes:
        rows = [
            frame_gains(group.modes['before'][seed], group.modes[mode][seed])
            for seed in group.gains(mode)
        ]
        table = np.stack([row[: min(map(len, rows))] for row in rows])
        known = np.flatnonzero(np.isfinite(table).all(axis=0))
        colour = canvas.PHASES[mode]
        axes.plot(known, table[:, known].mean(0), color=colour, label=mode)
        axes.fill_between(
            known, table[:, known].min(0), table[:, known].max(0), color=colour, alpha=0.15
        )
    axes.axhline(0, color=canvas.INK, linewidth=0.8)
    axes.legend(frameon=False, fontsize=9)
    canvas.save(figure, path)
    return True


def frame_gains(before: dict[str, Any], after: dict[str, Any]) -> np.ndarray:
    """Points gained in everybody's first, second, ... frame, `[frames]`; NaN where nobody is."""
    return np.array(after['frames'], np.float64) - np.array(before['frames'], np.float64)


def gains_of_everyone(path: pathlib.Path, group: Group) -> bool:
    """Everyone's gain, sorted, those hurt in orange: a panel for each mode."""
    modes = [mode for mode in ADAPTED if group.gains(mode)]
    if not modes:
        return False
    figure = canvas.new_figure(480 * len(modes), 340, layout='constrained')
    panels = figure.subplots(1, len(modes), sharey=True, squeeze=False)[0]
    for axes, mode in zip(panels, modes, strict=True):
        points = [p for people in group.gains(mode).values() for p in people.values()]
        values = np.sort([p for p in points if np.isfinite(p)])
        curves.plain_axes(axes, xlabel='people, sorted', ylabel='gain, points', title=mode)
        colours = np.where(values < 0, canvas.HURT, canvas.PHASES[mode])
        axes.bar(np.arange(len(values)), values, color=colours, width=0.9)
        axes.axhline(0, color=canvas.INK, linewidth=0.8)
    canvas.save(figure, path)
    return True


def gain_by_training_people(path: pathlib.Path, found: Sequence[Group]) -> bool:
    """Gain by the number of people the network was trained on, and its score before with each."""
    trained, gently = by_training_people(found), by_training_people(found, gently=True)
    if len(trained) < 2:
        return False
    figure, axes = _axes(
        'training people, and the score before', 'points', 'gain by number of training people'
    )
    for mode, aside in zip(ADAPTED, (0.95, 1.0), strict=True):
        _errorbars(axes, trained, mode, aside=aside, color=canvas.PHASES[mode], label=mode)
    label = 'offline, gentle steps'
    _errorbars(axes, gently, 'offline', aside=1.05, color=canvas.OTHER_PHASE, label=label)
    axes.axhline(0, color=canvas.INK, linewidth=0.8)
    axes.set_xscale('log', base=2)
    labels = [f'{n}\n{np.mean(group.scores("before")):.0f} %' for n, group in trained.items()]
    axes.set_xticks(list(trained), labels)
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=9)
    canvas.save(figure, path)
    return True


def draw_of_networks(folder: pathlib.Path, name: str, among: Sequence[Group]) -> list[str]:
    """Figures over the networks of all data sets, as `<name>_<figure>.png`; those there are."""
    file = f'{name}_networks.png'
    return [file] if gain_by_gap(folder / file, among) else []


def gain_by_gap(path: pathlib.Path, among: Sequence[Group]) -> bool:
    """A network's gain by how much worse it rebuilds strangers: a point per network."""
    networks = strangers.networks(among)
    if not networks:
        return False
    figure, axes = _axes(
        "strangers' loss before any step, in training people's",
        'gain offline, points',
        'which networks gain',
    )
    for data, colour in zip(DATA, COLOURS[1:4], strict=True):
        here = [network for network in networks if network.data == data]
        if here:
            x, y = [n.gap for n in here], [n.gain for n in here]
            axes.scatter(x, y, color=colour, s=28, label=DATA[data])
    axes.axhline(0, color=canvas.INK, linewidth=0.8)
    axes.axvline(1, color=canvas.FAINT, linewidth=0.8, linestyle=':')
    axes.legend(frameon=False, fontsize=9)
    canvas.save(figure, path)
    return True


def _errorbars(axes, trained: dict[int, Group], mode: str, *, aside: float, **how: str) -> None:
    """A mode's gains and their intervals; aside: counts are multiplied by it, to be seen."""
    known = [(n, e) for n, group in trained.items() if (e := groups.gain(group, mode))]
    if known:
        mean = np.array([e.mean for _, e in known])
        spread = np.array([[e.mean - e.low, e.high - e.mean] for _, e in known]).T
        axes.errorbar([n * aside for n, _ in known], mean, np.maximum(spread, 0), capsize=3, **how)


def by_training_people(found: Sequence[Group], *, gently: bool = False) -> dict[int, Group]:
    """The groups that differ in nothing but how many people the network was trained on.

    gently: those that are adapted with gentle steps.
    """
    steps = ', gentle steps' if gently else ''
    of_main = ('ablations', 'gentle steps') if gently else ('main', 'ours')
    chosen = [
        group
        for group in found
        if (group.table, group.system) == of_main
        or group.system.endswith(f' training people{steps}')
    ]
    counted = {}
    for group in chosen:
        records = next(iter(group.modes.values()))
        counted[next(iter(records.values()))['train_people']] = group
    return dict(sorted(counted.items()))


def _axes(xlabel: str, ylabel: str, title: str):
    figure = canvas.new_figure(640, 380, layout='constrained')
    axes = figure.subplots()
    curves.plain_axes(axes, xlabel=xlabel, ylabel=ylabel, title=title)
    return figure, axes
