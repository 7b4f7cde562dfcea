"""Skeletons, keypoints and rings on a panel: how people are drawn in every picture."""

import matplotlib
import numpy as np

from ttp_jax.data.skeletons import Skeleton
from ttp_jax.results.pictures import canvas
from ttp_jax.results.pictures.canvas import MIDDLE, OUTLINE, POINT, SIDES, WRONG, Panel

SIDE_LEGEND = [(colour, f'{side} limbs') for side, colour in SIDES.items()] + [(MIDDLE, 'middle')]


def joint_colours(skeleton: Skeleton) -> list[str]:
    """One per joint, by the side of the body that it is on."""
    return [SIDES.get(side, MIDDLE) for side in skeleton.sides]


def draw_skeleton(
    panel: Panel,
    joints: np.ndarray,
    skeleton: Skeleton,
    *,
    visible: np.ndarray | None = None,
    width: float = 2.5,
) -> None:
    """Bones and joints `[J, 2]` in the colours of their sides.

    Joints that are not `visible` `[J]` are hollow, or left out where labels do not say where they
    are; without it all are solid.
    """
    colours, solid = joint_colours(skeleton), np.ones(len(joints), bool)
    solid = solid if visible is None else np.asarray(visible)
    shown = solid | skeleton.places_unseen
    bones = [bone for bone in skeleton.bone_ends.tolist() if shown[bone].all()]
    panel.lines(
        joints[np.array(bones, int).reshape(-1, 2)],
        colors=[_bone_colour(colours[first], colours[second]) for first, second in bones],
        linewidths=width * POINT,
        path_effects=canvas.outlined(width + 1.5),
        zorder=3,
    )
    panel.dots(
        joints[shown],
        2.4 * width,
        c=np.where(solid, colours, OUTLINE)[shown],
        edgecolors=np.where(solid, OUTLINE, colours)[shown],
        linewidths=0.8 * POINT,
        zorder=4,
    )


def _bone_colour(first: str, second: str) -> str:
    """The colour of the side that both ends are on, else the middle's."""
    return first if first == second else MIDDLE


def draw_keypoints(panel: Panel, keypoints: np.ndarray, size: float) -> None:
    """Dots; a keypoint has the same colour in every picture with as many of them."""
    colours = matplotlib.colormaps['turbo'](np.linspace(0.05, 0.95, len(keypoints)))
    panel.dots(keypoints, size, c=colours, edgecolors='white', linewidths=1.2 * POINT, zorder=5)


def ring(panel: Panel, joints: np.ndarray) -> None:
    """Red rings around joints that are wrong."""
    panel.dots(joints, 17, facecolors='none', edgecolors=WRONG, linewidths=2 * POINT, zorder=6)
