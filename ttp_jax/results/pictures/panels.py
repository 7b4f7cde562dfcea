"""The panels of a person's picture: one frame each, with something drawn on it.

Contract: everything is in the pixels of the crop. A panel draws with `show`, which puts an image
where a column meets a row of the picture and gives the `Panel` to draw on.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ttp_jax.data.skeletons import Skeleton
from ttp_jax.results.pictures import canvas, people
from ttp_jax.results.pictures.canvas import OUTLINE, POINT, WRONG, Panel
from ttp_jax.results.views import Prediction, Truth, View

TITLES = (
    'source',
    'target',
    'reconstruction',
    'self-supervised keypoints',
    'joints',
    'joints, and keypoints they come from',
    'joints against the truth',
)
Show = Callable[[np.ndarray], Panel]
Draw = Callable[[Show], Any]


def panels_of(
    view: View, prediction: Prediction, truth: Truth | None, skeleton: Skeleton
) -> dict[str, Draw]:
    """The title and the drawing of each panel that a phase can fill."""
    panels: dict[str, Draw] = {
        'source': lambda show: show(view.source),
        'target': lambda show: show(view.target),
    }
    image, joints, keypoints = view.target, prediction.joints, view.self_supervised
    if (rebuilt := view.reconstruction) is not None:
        panels['reconstruction'] = lambda show: show(rebuilt)
    if keypoints is not None:
        panels['self-supervised keypoints'] = lambda show: people.draw_keypoints(
            show(image), keypoints, size=10
        )
    if keypoints is None or view.affinity is None:
        panels['joints'] = lambda show: people.draw_skeleton(
            show(canvas.darkened(image, 0.3)), joints, skeleton
        )
    else:
        panels['joints, and keypoints they come from'] = functools.partial(
            _draw_linked_joints,
            image=image,
            joints=joints,
            skeleton=skeleton,
            keypoints=keypoints,
            affinity=view.affinity,
        )
    if truth is not None:
        panels['joints against the truth'] = functools.partial(
            _draw_errors, image=image, prediction=prediction, truth=truth, skeleton=skeleton
        )
    return panels


def _draw_linked_joints(
    show: Show,
    *,
    image: np.ndarray,
    joints: np.ndarray,
    skeleton: Skeleton,
    keypoints: np.ndarray,
    affinity: np.ndarray,
) -> None:
    """Joints and the self-supervised keypoints that they are read from."""
    panel, colours = show(canvas.darkened(image, 0.3)), np.array(people.joint_colours(skeleton))
    bones = joints[skeleton.bone_ends]
    panel.lines(bones, colors='white', alpha=0.6, linewidths=1.5 * POINT, zorder=2)
    _draw_affinity(panel, joints, keypoints, affinity, colours)
    panel.dots(joints, 9, c=colours, edgecolors=OUTLINE, linewidths=POINT, zorder=4)
    people.draw_keypoints(panel, keypoints, size=6)


def _draw_affinity(
    panel: Panel,
    joints: np.ndarray,
    keypoints: np.ndarray,
    affinity: np.ndarray,
    colours: np.ndarray,
    *,
    strongest: int = 3,
    least: float = 0.1,
) -> None:
    """Lines from each joint to its `strongest` keypoints, the wider the more weight they have."""
    joint = np.repeat(np.arange(len(joints)), strongest)
    keypoint = np.argsort(-affinity, axis=1)[:, :strongest].ravel()
    weight = affinity[joint, keypoint]
    joint, keypoint, weight = (x[weight > least] for x in (joint, keypoint, weight))
    panel.lines(
        np.stack([joints[joint], keypoints[keypoint]], axis=1),
        colors=[(colours[j], min(1.0, 0.4 + w)) for j, w in zip(joint, weight, strict=True)],
        linewidths=(1 + 3 * weight) * POINT,
        zorder=3,
    )


def _draw_errors(
    show: Show, *, image: np.ndarray, prediction: Prediction, truth: Truth, skeleton: Skeleton
) -> None:
    """The truth in white, predictions in colour, their errors as red lines."""
    panel = show(canvas.darkened(image, 0.45))
    (joints, wrong), (true, visible) = prediction, truth
    bones = np.array([bone for bone in skeleton.bones if visible[list(bone)].all()], int)
    panel.lines(true[bones.reshape(-1, 2)], colors='white', linewidths=2 * POINT, zorder=2)
    errors = np.stack([true, joints], axis=1)[visible]
    panel.lines(errors, colors=WRONG, linewidths=2 * POINT, zorder=3)
    panel.dots(true[visible], 5, c='white', zorder=4)
    colours = np.where(wrong, WRONG, people.joint_colours(skeleton))[visible]
    panel.dots(joints[visible], 9, c=colours, zorder=5, edgecolors=OUTLINE, linewidths=POINT)
    people.ring(panel, joints[wrong])
