"""Whom personalization helped and whom it hurt."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ttp_jax.results.pictures import canvas, curves
from ttp_jax.results.pictures.canvas import FAINT, HURT, INK, OTHER_PHASE, PHASES

People = Sequence[Mapping[str, Any]]  # as in a report: {'id': clip, phase: percent, ...}

_MARGINS, _PERSON, _LABEL = 110, 24, 17  # heights in pixels: outside of the bars, a bar, its label


def gain_chart(path: str | os.PathLike, report: Mapping[str, Any]) -> None:
    """Points each person gained or lost over `before`: a panel per phase, sorted by the last phase.

    Args:
      report: as `report.summarise` makes it. People without a score are left out; without any phase
        after `before`, the picture says so.
    """
    phases = [phase for phase in report['mpck'] if phase != 'before']
    people = _sorted_people(report)
    columns = max(1, len(phases))
    height = float(np.clip(_MARGINS + _PERSON * len(people), 240, 1400))
    figure = canvas.new_figure(150 + 450 * columns, height, layout='constrained')
    panels = figure.subplots(1, columns, sharex=True, sharey=True, squeeze=False)[0]
    for axes, phase in zip(panels, phases, strict=False):
        _draw_panel(axes, people, phase, report['compared'][phase])
    if phases:
        _name_people(panels[0], people, most=int((height - _MARGINS) / _LABEL))
    else:
        curves.plain_axes(panels[0])
        curves.say(panels[0], 'nobody was personalized')
    canvas.save(figure, path)


def _sorted_people(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those with a score in every phase, the largest gain of the last phase at the end."""
    *_, last = report['mpck']
    scored = [p for p in report['people'] if all(p[phase] is not None for phase in report['mpck'])]
    return sorted(scored, key=lambda person: person[last] - person['before'])


def _draw_panel(axes: Axes, people: People, phase: str, compared: Mapping[str, Any]) -> None:
    gains = np.array([person[phase] - person['before'] for person in people])
    title = f'{phase}\n{compared["improved"]} better, {compared["hurt"]} worse'
    curves.plain_axes(axes, xlabel='gain in mPCK, points', title=title)
    axes.tick_params(axis='y', length=0)
    axes.grid(visible=False, axis='y')
    colour = PHASES.get(phase, OTHER_PHASE)
    axes.barh(np.arange(len(gains)), gains, height=0.72, color=np.where(gains < 0, HURT, colour))
    axes.axvline(0, color=INK, linewidth=0.8)
    if compared['mean_gain'] is not None:
        _draw_mean(axes, compared['mean_gain'], compared['interval'], colour)


def _draw_mean(axes: Axes, mean: float, interval: tuple[float, float], colour: str) -> None:
    low, high = interval
    axes.axvspan(low, high, color=colour, alpha=0.15, linewidth=0, zorder=0)
    axes.axvline(mean, color=INK, linewidth=1, linestyle=(0, (4, 2)))
    words = f'mean {mean:+.1f}\n95 % interval {low:+.1f} to {high:+.1f}'
    axes.set_title(words, loc='right', color=FAINT, fontsize=9)


def _name_people(axes: Axes, people: People, *, most: int) -> None:
    """Everyone's name beside their bar; of more than `most` people only how many they are."""
    axes.set_ylim(-0.7, max(len(people), 1) - 0.3)
    if 0 < len(people) <= most:
        axes.set_yticks(range(len(people)), [person['id'] for person in people])
        return
    axes.set_yticks([])
    axes.set_ylabel(f'{len(people)} people', color=FAINT)
