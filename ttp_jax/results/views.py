"""What one model sees in one frame, as pictures and points: for people to look at.

Contract: everything is in the pixels of the unaugmented crop, images are `[S, S, 3]` uint8 RGB.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttp_jax import geometry, heatmaps
from ttp_jax.data import pairs
from ttp_jax.data.clips import Clip
from ttp_jax.networks.model import PoseModel
from ttp_jax.results.report import View


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
    """Frame `target` of a clip, rebuilt with the looks of frame `source`."""
    box, size = clip.boxes[target], np.array(clip.frames[target].shape[:2])
    crop = functools.partial(pairs.crop_frame, box=box, spec=spec, valid=size)
    seen, looks = crop(clip.frames[target]), crop(clip.frames[source])
    maps, rebuilt = _apply(params, batch_stats, seen[None], looks[None], model=model)
    joints, scores = jax.vmap(heatmaps.decode, in_axes=-1)(maps.supervised[0])
    image = functools.partial(_image, bgr=spec.bgr)
    return View(
        source=image(looks),
        target=image(seen),
        reconstruction=None if rebuilt is None else image(_enlarged(rebuilt.image[0], spec.size)),
        self_supervised=None if rebuilt is None else np.asarray(rebuilt.keypoints[0]) * spec.stride,
        affinity=None if maps.affinity is None else np.asarray(maps.affinity[0]),
        joints=np.asarray(joints) * spec.stride,
        scores=np.asarray(scores),
    )


def truth(clip: Clip, frame: int, *, spec: pairs.CropSpec) -> np.ndarray:
    """Labelled joints of a frame in crop pixels, `[J, 2]`."""
    affine = geometry.augmented_affine(
        clip.boxes[frame], geometry.Augmentation(), size=spec.size, subtract_one=spec.subtract_one
    )
    return np.asarray(geometry.transform_points(affine, jnp.asarray(clip.labels.joints[frame])))


@functools.partial(jax.jit, static_argnames='model')
def _apply(params, batch_stats, target, source, *, model: PoseModel):
    return model.apply({'params': params, 'batch_stats': batch_stats}, target, source)


def _enlarged(image: jax.Array, size: int) -> jax.Array:
    """An image that was rebuilt at a part of the crop's size, each pixel repeated."""
    times = size // image.shape[0]
    return image.repeat(times, axis=0).repeat(times, axis=1)


def _image(normalised: jax.Array, *, bgr: bool) -> np.ndarray:
    pixels = np.asarray(geometry.denormalise(normalised))
    pixels = pixels[..., ::-1] if bgr else pixels
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)
