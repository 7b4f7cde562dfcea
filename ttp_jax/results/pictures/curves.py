"""Curves of losses: while training, and while personalizing."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ttp_jax.results.pictures import canvas
from ttp_jax.results.pictures.canvas import FAINT, INK, OTHER_PHASE, PHASES, SHADE

Rows = Sequence[Mapping[str, float | None]]  # of metrics.jsonl

_TERMS = ('loss', 'supervised', 'reconstruction', 'pixels', 'rotation', 'entropy')
_COLOURS = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#8A8F98')


def loss_curves(
    path: str | os.PathLike, rows: Rows, personalization: Mapping[str, Sequence[np.ndarray]]
) -> None:
    """Training losses, and the loss of each step of personalization.

    Args:
      path: of the PNG.
      rows: of `metrics.jsonl`: `step` and any of the losses' terms and `learning_rate`. May be
        empty, and rows may lack keys.
      personalization: phase to `[people, steps]`, NaN behind a person's end, or to one `[steps]` or
        `[frames, epochs]` array per person; shown for as many steps as half of them have.
    """
    figure = canvas.new_figure(1100, 440, layout='constrained')
    grid = figure.add_gridspec(2, 2, height_ratios=(3.2, 1))
    rates = any(_known(row, 'learning_rate') for row in rows)
    train = figure.add_subplot(grid[0 if rates else slice(None), 0])
    _draw_training(train, rows, labelled=not rates)
    if rates:
        _draw_rates(figure.add_subplot(grid[1, 0], sharex=train), rows)
        train.tick_params(labelbottom=False)
    _draw_personalization(figure.add_subplot(grid[:, 1]), personalization)
    canvas.save(figure, path)


def _draw_training(axes: Axes, rows: Rows, *, labelled: bool) -> None:
    """A curve per term of the loss; labelled: the axis of steps."""
    plain_axes(axes, xlabel='step' if labelled else '', ylabel='loss', title='training')
    terms = [key for key in _TERMS if any(_known(row, key) for row in rows)]
    for term, colour in zip(terms, _COLOURS, strict=False):
        _draw_curve(axes, rows, term, colour)
    _finish(axes, bool(terms))


def _draw_rates(axes: Axes, rows: Rows) -> None:
    plain_axes(axes, xlabel='step', ylabel='learning\nrate')
    _draw_curve(axes, rows, 'learning_rate', FAINT, smooth=False)
    axes.set_ylim(bottom=0)


def _draw_personalization(axes: Axes, losses: Mapping[str, Sequence[np.ndarray]]) -> None:
    plain_axes(axes, xlabel='step', ylabel='loss', title='personalization')
    drawn = [_draw_spread(axes, phase, people) for phase, people in losses.items()]
    _finish(axes, any(drawn))


def _known(row: Mapping[str, float | None], key: str) -> bool:
    """Whether a row has a number for this key."""
    return all((value := row.get(k)) is not None and np.isfinite(value) for k in ('step', key))


def _draw_curve(axes: Axes, rows: Rows, key: str, colour: str, *, smooth: bool = True) -> None:
    """The values; where there are many, the running mean over a fiftieth of them stands out."""
    steps, values = np.array([(row['step'], row[key]) for row in rows if _known(row, key)]).T
    window = len(values) // 50
    if window < 2 or not smooth:
        axes.plot(steps, values, color=colour, label=key, marker='o' if len(values) < 3 else None)
        return
    axes.plot(steps, values, color=colour, alpha=0.2, linewidth=0.8)
    mean = np.convolve(values, np.full(window, 1 / window), 'valid')
    axes.plot(steps[window - 1 :], mean, color=colour, label=key)


def _draw_spread(axes: Axes, phase: str, losses: Sequence[np.ndarray]) -> bool:
    """Mean over people and the middle half of them; whether there was anything to draw."""
    padded = _padded(losses)
    present = np.isfinite(padded).sum(axis=0)
    steps = np.flatnonzero((present > 0) & (2 * present >= len(padded)))
    if not steps.size:
        return False
    mean = np.nanmean(padded[:, steps], axis=0)
    low, high = np.nanpercentile(padded[:, steps], (25, 75), axis=0)
    colour, marker = PHASES.get(phase, OTHER_PHASE), 'o' if steps.size < 3 else None
    axes.fill_between(steps + 1, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps + 1, mean, color=colour, linewidth=1.8, label=phase, marker=marker)
    return True


def _padded(losses: Sequence[np.ndarray]) -> np.ndarray:
    """`[people, most steps]`, NaN behind each person's end."""
    people = [np.asarray(person, np.float64).ravel() for person in losses]
    padded = np.full((len(people), max(map(len, people), default=0)), np.nan)
    for row, person in zip(padded, people, strict=True):
        row[: len(person)] = person
    return padded


def _finish(axes: Axes, drawn: bool) -> None:
    """A legend, and a scale that suits the values; where there is nothing, words to say so."""
    if not drawn:
        say(axes, 'nothing recorded')
        return
    values = np.concatenate([np.asarray(line.get_ydata()) for line in axes.lines])
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale('log')
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)


def plain_axes(axes: Axes, *, xlabel: str = '', ylabel: str = '', title: str = '') -> None:
    """The appearance that all curves and bars share."""
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(FAINT)
    axes.tick_params(which='both', colors=FAINT, labelsize=9)
    axes.grid(color=SHADE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(xlabel, color=FAINT)
    axes.set_ylabel(ylabel, color=FAINT)
    axes.set_title(title, loc='left', color=INK, fontsize=11, weight='bold')


def say(axes: Axes, text: str) -> None:
    """Words in place of curves that there are not."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, color=FAINT, ha='center')
    axes.set(xticks=[], yticks=[])
