"""What is shown of one frame: what a model sees in it, what was predicted, and what is true.

Contract: everything is in the pixels of the unaugmented crop, images are `[S, S, 3]` uint8 RGB.
Predictions are those that were stored and scored, mapped to the crop; whether a joint is wrong is
decided by `metrics.right_joints` in image pixels, as for the scores.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np

from ttp_jax import geometry
from ttp_jax.data import pairs
from ttp_jax.data.clips import Clip
from ttp_jax.data.skeletons import Skeleton
from ttp_jax.networks.model import PoseModel
from ttp_jax.results import metrics


class View(NamedTuple):
    """What a model sees in one frame of one person."""

    source: np.ndarray  # [S, S, 3]
    target: np.ndarray  # [S, S, 3]
    reconstruction: np.ndarray | None  # [S, S, 3]; None: the variant does not reconstruct
    self_supervised: np.ndarray | None  # [K, 2] keypoints
    affinity: np.ndarray | None  # [J, K] weight of each keypoint in each joint


class Prediction(NamedTuple):
    """The joints that were predicted in one frame, and which of them count as wrong."""

    joints: np.ndarray  # [J, 2]
    wrong: np.ndarray  # [J] bool: visible and not right; nothing is wrong without labels


class Truth(NamedTuple):
    """The labels of one frame."""

    joints: np.ndarray  # [J, 2]
    visible: np.ndarray  # [J] bool


def view(
    params,
    batch_stats,
    clip: Clip,
    *,
    target: int,
    source: int,
    model: PoseModel,
    spec: pairs.CropSpec,
) -> View:
    """What these weights see in frame `target` of a clip, rebuilt with frame `source`'s appearance.

    For a phase that changes weights from frame to frame, `params` are those that predicted
    `target`.
    """
    crop = functools.partial(_crop, clip, box=clip.boxes[target], spec=spec)
    target_crop, source_crop = crop(target), crop(source)
    maps, rebuilt = _apply(params, batch_stats, target_crop[None], source_crop[None], model=model)
    image = functools.partial(_image, bgr=spec.bgr)
    return View(
        source=image(source_crop),
        target=image(target_crop),
        reconstruction=None if rebuilt is None else image(_enlarged(rebuilt.image[0], spec.size)),
        self_supervised=None if rebuilt is None else np.asarray(rebuilt.keypoints[0]) * spec.stride,
        affinity=None if maps.affinity is None else np.asarray(maps.affinity[0]),
    )


def prediction(
    clip: Clip, frame: int, joints: np.ndarray, *, skeleton: Skeleton, spec: pairs.CropSpec
) -> Prediction:
    """A frame's stored prediction on its crop.

    Args:
      clip: the person.
      frame: its index in the clip.
      joints: `[J, 2]`, (x, y) image pixels, as they were scored.
      skeleton: the data set's joints.
      spec: how the crop is made.
    """
    wrong = np.zeros(len(joints), bool)
    if clip.labels is not None:
        labels = clip.labels.joints[frame], clip.labels.visibility[frame]
        true, seen = labels[0][None], labels[1][None]
        right = metrics.right_joints(joints[None], true, skeleton=skeleton, visibility=seen)
        wrong = (~right & (metrics.scored(true, seen, skeleton=skeleton) > 0))[0]
    return Prediction(to_crop(joints, clip.boxes[frame], spec=spec), wrong)


def truth(clip: Clip, frame: int, *, spec: pairs.CropSpec) -> Truth | None:
    """The labels of a frame on its crop; None for a frame without any."""
    if clip.labels is None or not (clip.labels.visibility[frame] > 0).any():
        return None
    joints = to_crop(clip.labels.joints[frame], clip.boxes[frame], spec=spec)
    return Truth(joints, clip.labels.visibility[frame] > 0)


def to_crop(points: np.ndarray, box: np.ndarray, *, spec: pairs.CropSpec) -> np.ndarray:
    """Points `[..., 2]` in image pixels, mapped to the pixels of the crop around `box` `[4]`."""
    affine = geometry.augmented_affine(
        box, geometry.Augmentation(), size=spec.size, subtract_one=spec.subtract_one
    )
    return np.asarray(geometry.transform_points(affine, points))


def _crop(clip: Clip, frame: int, *, box: np.ndarray, spec: pairs.CropSpec) -> jax.Array:
    image = clip.frames[frame]
    return pairs.crop_frame(image, box, spec=spec, valid=np.array(image.shape[:2]))


@functools.partial(jax.jit, static_argnames='model')
def _apply(params, batch_stats, target, source, *, model: PoseModel):
    return model.apply({'params': params, 'batch_stats': batch_stats}, target, source)


def _enlarged(image: jax.Array, size: int) -> jax.Array:
    """An image that was rebuilt at a part of the crop's size, each pixel repeated."""
    times = size // image.shape[0]
    return image.repeat(times, axis=0).repeat(times, axis=1)


def _image(normalised: jax.Array, *, bgr: bool) -> np.ndarray:
    """A normalised crop as pixels."""
    pixels = np.asarray(geometry.denormalise(normalised))
    pixels = pixels[..., ::-1] if bgr else pixels
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)
