"""Keypoints without the jitter from frame to frame; what was found is kept beside it.

Contract: points `[N, ...]` over N moments; every coordinate is smoothed by itself, and never over a
gap. Online, a point may depend on what came before alone (One-Euro filter, Casiez et al. 2012);
offline also on what comes after (Savitzky-Golay).
"""

import numpy as np
from scipy import signal

from ttp_jax.results.exports.keypoints import Found, runs

KINDS = ('one_euro', 'savitzky_golay')


def smoothed(found: Found, kind: str, **how) -> Found:
    """A person's keypoints, smoothed. kind: one of `KINDS`; how: arguments of its function.

    Raises ValueError for an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f'no smoothing {kind!r}; known: {", ".join(KINDS)}')
    joints = np.array(found.joints, np.float64)
    side = float(np.median((found.boxes[:, 2:] - found.boxes[:, :2] + 1).max(axis=1)))
    for run in runs(found):
        if kind == 'one_euro':
            joints[run] = side * one_euro(joints[run] / side, found.times[run], **how)
        else:
            joints[run] = savitzky_golay(joints[run], **how)
    return found._replace(joints=joints.astype(np.float32))


def one_euro(
    points: np.ndarray,
    times: np.ndarray,
    *,
    least_cutoff: float = 1.0,
    speed_cutoff: float = 1.0,
    rate_cutoff: float = 1.0,
) -> np.ndarray:
    """A low-pass filter that lets more through the faster a point moves: steady, and hardly late.

    Args:
      points: `[N, ...]`, in sides of the person's box, so that no size is special.
      times: `[N]`, seconds.
      least_cutoff: Hz, of a point that stands still; lower is steadier.
      speed_cutoff: Hz per box a second; higher is less late.
      rate_cutoff: Hz, of the speed itself.
    """
    result = np.array(points, np.float64)
    speed = np.zeros_like(result[0])
    for t in range(1, len(result)):
        step = max(float(times[t] - times[t - 1]), 1e-6)
        share = _share(rate_cutoff, step)
        speed = speed + share * ((points[t] - result[t - 1]) / step - speed)
        share = _share(least_cutoff + speed_cutoff * np.abs(speed), step)
        result[t] = result[t - 1] + share * (points[t] - result[t - 1])
    return result


def _share(cutoff: np.ndarray | float, step: float) -> np.ndarray | float:
    """How much of a new value an exponential filter of that cutoff takes after `step` seconds."""
    turns = 2 * np.pi * cutoff * step
    return turns / (turns + 1)


def savitzky_golay(points: np.ndarray, *, window: int = 9, order: int = 2) -> np.ndarray:
    """Each point from the polynomial that fits best to the `window` frames around it."""
    window = min(window, len(points) - 1 + len(points) % 2)  # odd, and no longer than there is
    if window <= order:
        return np.array(points, np.float64)
    return signal.savgol_filter(np.asarray(points, np.float64), window, order, axis=0)
