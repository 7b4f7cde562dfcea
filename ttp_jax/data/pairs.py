"""Pairs of frames, and how a pair becomes what the networks see.

Contract: a pair is a target frame, with box and joints in image pixels (x, y), and a source frame
of the same clip. Both get the same affine warp, computed from the target's box (paper section 4.2),
so that only the pose differs between them. Frames travel as uint8 and are cropped, rotated, scaled,
flipped and normalised on the device, once per sample. One pair has no leading axis; vmap lifts.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from chex import Array

from ttp_jax import geometry, heatmaps
from ttp_jax.data.clips import FrameBank


class Pairs(NamedTuple):
    """Target and source frames as they were stored; a leading batch axis on everything.

    target, source `[B, H, W, 3]` uint8; size `[B, 2]`, (height, width) without padding; box
    `[B, 4]`; joints `[B, J, 2]`; visibility `[B, J]`.
    """

    target: Array
    source: Array
    size: Array
    box: Array
    joints: Array
    visibility: Array


class CropSpec(NamedTuple):
    """How crops are made, the same for every sample; static under jit.

    size: side of the crop in pixels; cells: side of its heatmap. `bgr` swaps the channels, which is
    what the release's weights expect. `subtract_one` is the data set's box convention. `packed`:
    frames are sampled from `geometry.pack`'s numbers, as suits a TPU.
    """

    size: int
    cells: int
    bgr: bool = False
    subtract_one: bool = True
    sigma: float = 2.0
    packed: bool = False

    def suited_to(self, platform: str) -> 'CropSpec':
        """The same crops, made as suits devices of that platform (`jax.Device.platform`)."""
        return self._replace(packed=platform == 'tpu')

    @property
    def stride(self) -> float:
        """Crop pixels per heatmap cell."""
        return self.size / self.cells


@jax.jit
def take(bank: FrameBank, target: Array, source: Array) -> Pairs:
    """The pairs whose frames have these indices `[B]` in the bank. The bank stays on the device."""
    return Pairs(
        bank.frames[target],
        bank.frames[source],
        bank.sizes[target],
        bank.boxes[target],
        bank.joints[target],
        bank.visibility[target],
    )


def draw_indices(
    bank: FrameBank, *, step: int, batch: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frame indices (target `[B]`, source `[B]`) of training step `step`.

    Targets walk through a new permutation of all frames each epoch; the source is uniform over the
    target's clip. A function of the step alone, so that a resumed run sees what it would have seen.
    """
    total = len(bank.clip_start)
    position = np.arange(step * batch, (step + 1) * batch)
    target = np.array([_order(seed, int(p) // total, total)[p % total] for p in position])
    rng = np.random.default_rng([seed, 1, step])
    offset = rng.integers(0, bank.clip_length[target])
    return target, bank.clip_start[target] + offset


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, total: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(total)


def rows_of(part: tuple[int, int], batch: int) -> slice:
    """The rows of a batch that are the part's, where part is (index, how many share the batch)."""
    index, parts = part
    return slice(index * batch // parts, (index + 1) * batch // parts)


def batches(
    bank: FrameBank,
    *,
    first: int,
    steps: int,
    batch: int,
    seed: int,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Pairs]:
    """The batches of the steps from `first` to before `steps`, from frames kept on the device.

    part: which rows of each batch of size `batch` are wanted, as `rows_of` takes it.
    """
    resident = jax.device_put(bank._replace(clip_start=np.empty(0), clip_length=np.empty(0)))
    rows = rows_of(part, batch)
    for step in range(first, steps):
        drawn = draw_indices(bank, step=step, batch=batch, seed=seed)
        yield take(resident, *(indices[rows] for indices in drawn))


def laid_out(frames: Array, *, spec: CropSpec) -> Array:
    """Frames `[..., H, W, 3]` uint8 as they are sampled; to be called once for many crops."""
    return geometry.pack(frames) if spec.packed else frames


def crop(frame: Array, affine: jax.Array, *, spec: CropSpec, valid: Array) -> jax.Array:
    """A frame `[H, W, 3]` uint8, warped to the crop `[size, size, 3]` and normalised.

    The frame may be `laid_out` already.
    """
    with jax.named_scope('crop'):
        frame = laid_out(frame, spec=spec) if frame.ndim == 3 else frame
        image = geometry.warp(frame, affine, size=spec.size, valid=valid)
    return geometry.normalise(image[..., ::-1] if spec.bgr else image)


def crop_frame(
    frame: Array, box: Array, *, spec: CropSpec, valid: Array, scale: float = 1.0
) -> jax.Array:
    """A frame as prediction sees it: its box cropped, nothing augmented; `[size, size, 3]`.

    scale: of the side of what is cropped.
    """
    affine = geometry.augmented_affine(
        box, geometry.Augmentation(scale), size=spec.size, subtract_one=spec.subtract_one
    )
    return crop(frame, affine, spec=spec, valid=valid)


def crop_pair(
    target: jax.Array,
    source: jax.Array,
    box: jax.Array,
    augmentation: geometry.Augmentation,
    *,
    spec: CropSpec,
    valid: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(target crop, source crop, affine `[2, 3]`): one warp, from the target's box, for both."""
    affine = geometry.augmented_affine(
        box, augmentation, size=spec.size, subtract_one=spec.subtract_one
    )
    return (
        crop(target, affine, spec=spec, valid=valid),
        crop(source, affine, spec=spec, valid=valid),
        affine,
    )


def recolour(rng: jax.Array, *images: jax.Array, std: float) -> tuple[jax.Array, ...]:
    """Normalised images `[S, S, 3]` of one scene, all under one other light.

    std: of the logarithm of the contrast, of the brightness, and twice that of each channel's tint,
    in the units of `geometry.normalise`.
    """
    contrast, brightness, *tint = std * jax.random.normal(rng, (5,))
    offset = brightness + 0.5 * jnp.stack(tint)
    return tuple(jnp.exp(contrast) * image + offset for image in images)


def covered(rng: jax.Array, image: jax.Array, *, share: float) -> jax.Array:
    """A normalised image `[S, S, 3]`, before a part of which something of one colour may stand.

    What stands there is a rectangle, anywhere, with sides of a tenth to half of the image's (Zhong
    et al., AAAI 2020), so that a joint is looked for from what is around it too.

    Args:
      share: of the images in which something does.
    """
    happens, middle, side, colour = jax.random.split(rng, 4)
    half = image.shape[0] * jax.random.uniform(side, (2,), minval=0.05, maxval=0.25)
    middle = image.shape[0] * jax.random.uniform(middle, (2,))
    beside = jnp.abs(jnp.arange(image.shape[0])[:, None] - middle) < half  # [S, (y, x)]
    inside = beside[:, None, 0] & beside[None, :, 1]
    inside &= jax.random.bernoulli(happens, share)
    return jnp.where(inside[..., None], jax.random.normal(colour, (3,)), image)


def targets(
    joints: jax.Array,
    visibility: jax.Array,
    affine: jax.Array,
    flip: jax.Array | bool,
    *,
    spec: CropSpec,
    mirror: tuple[int, ...],
) -> tuple[jax.Array, jax.Array]:
    """Joints `[J, 2]` in image pixels to target heatmaps `[h, w, J]` and weights `[J]`.

    Args:
      mirror: for each joint the one it becomes in a flipped image.
    """
    joints = geometry.transform_points(affine, joints)
    joints = geometry.swap_left_right(joints, flip, permutation=mirror)
    visibility = geometry.swap_left_right(visibility, flip, permutation=mirror)
    one = functools.partial(
        heatmaps.target_heatmap, size=(spec.cells, spec.cells), stride=spec.stride, sigma=spec.sigma
    )
    maps, weights = jax.vmap(one)(joints, visibility)
    return jnp.moveaxis(maps, 0, -1), weights


def quarter_turn(rng: jax.Array, image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A square image `[S, S, 3]`, turned by a random number of quarter turns; the number `[]`."""
    turns = jax.random.randint(rng, (), 0, 4)
    choices = [functools.partial(jnp.rot90, k=k) for k in range(4)]
    return jax.lax.switch(turns, choices, image), turns
