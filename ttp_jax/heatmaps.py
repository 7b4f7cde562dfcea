"""Heatmaps and keypoints: the coordinate contract of the whole package.

A heatmap is `[height, width]`; a keypoint is `(x, y)` in heatmap cells, with cell centres at the
integers `0 … width - 1`. A crop of side `size` pixels and its heatmap of side `cells` differ by
`stride = size / cells`, and `x_crop = stride * x_cells`: both grids come from the same affine map,
drawn at two resolutions (see `geometry.crop_affine`). Every function is written for one heatmap;
lift it with `jax.vmap`.
"""

import functools

import chex
import jax
import jax.numpy as jnp
from jax import lax


def soft_argmax(heatmap: jax.Array) -> jax.Array:
    """Expected `(x, y)` in cells under the softmax of each marginal (paper section 3.1).

    The raw map is summed over one axis *before* the softmax over the other, so this is not the
    expectation under a 2-D softmax.

    Args:
      heatmap: `[height, width]`, any real values.

    Returns:
      `[2]`, `(x, y)` in heatmap cells, each within `[0, side - 1]`.
    """
    chex.assert_rank(heatmap, 2)
    return jnp.stack([_expectation(heatmap.sum(axis=0)), _expectation(heatmap.sum(axis=1))])


def _expectation(logits: jax.Array) -> jax.Array:
    # Not a matmul: accelerators would round the cells' coordinates.
    return jnp.sum(jax.nn.softmax(logits) * jnp.arange(logits.size))


def gaussian_map(center: jax.Array, *, size: tuple[int, int], sigma: float) -> jax.Array:
    """`exp(-d² / 2σ²)` around `center`, with peak 1.

    Args:
      center: `[2]`, `(x, y)` in heatmap cells; need not lie on the map.
      size: `(height, width)` of the map.
      sigma: standard deviation in cells.

    Returns:
      `[height, width]`.
    """
    # The Gaussian is separable: height + width exponentials instead of height * width.
    x = _gaussian(size[1], center[0], sigma)
    y = _gaussian(size[0], center[1], sigma)
    return y[:, None] * x[None, :]


def _gaussian(length: int, center: jax.Array, sigma: float) -> jax.Array:
    return jnp.exp(-((jnp.arange(length) - center) ** 2) / (2 * sigma**2))


def target_heatmap(
    joint: jax.Array,
    visible: jax.Array,
    *,
    size: tuple[int, int],
    stride: float,
    sigma: float = 2.0,
) -> tuple[jax.Array, jax.Array]:
    """A labelled joint's heatmap and its weight in the loss (paper section 3.1).

    The Gaussian sits on the joint's cell, `x / stride + 0.5` rounded towards zero as the release
    does (so joints left of or above the map go to the cell on their inner side), and is cut to the
    `(6σ + 1)`-wide square around it.

    Args:
      joint: `[2]`, `(x, y)` in crop pixels.
      visible: `[]`, 1 where the joint is labelled visible, else 0; between them, or more: what its
        label weighs.
      size: `(height, width)` of the heatmap.
      stride: crop pixels per heatmap cell.
      sigma: standard deviation in cells.

    Returns:
      heatmap `[height, width]`, all zeros for an invisible joint, and weight `[]`: `visible`, or 0
      where the square misses the map.
    """
    height, width = size
    radius = 3 * sigma
    cell = jnp.trunc(joint / stride + 0.5)
    # The release's square ends one cell late, so a joint that misses the map by one cell on the
    # left keeps its weight, with an empty target.
    on_map = jnp.all((cell + radius + 1 >= 0) & (cell - radius < jnp.array([width, height])))
    weight = jnp.where(on_map, visible, 0).astype(cell.dtype)
    inside_x = jnp.abs(jnp.arange(width) - cell[0]) <= radius
    inside_y = jnp.abs(jnp.arange(height) - cell[1]) <= radius
    inside = inside_y[:, None] & inside_x[None, :] & (weight > 0)
    return jnp.where(inside, gaussian_map(cell, size=size, sigma=sigma), 0.0), weight


def decode(heatmap: jax.Array, *, decoding: str = 'quarter') -> tuple[jax.Array, jax.Array]:
    """The keypoint of a predicted heatmap (paper section 4.2).

    The arg-max cell, moved inside it as `decoding` says. `(0, 0)` where no value is positive. Where
    any value is NaN so are keypoint and score: a broken network must not look like one that points
    at a corner.

    Args:
      heatmap: `[height, width]`.
      decoding: of `DECODINGS`; the paper's is `quarter`.

    Returns:
      `[2]`, `(x, y)` in heatmap cells, and the score `[]`: the heatmap's maximum.
    """
    chex.assert_rank(heatmap, 2)
    heatmap = jnp.asarray(heatmap)
    cell = jnp.argmax(heatmap)  # NaN counts as the largest
    return _placed(heatmap, cell, decoding=decoding)


def peaks(
    heatmap: jax.Array, *, count: int, decoding: str = 'quarter'
) -> tuple[jax.Array, jax.Array]:
    """The highest cells that no neighbour exceeds, the highest first, which is what `decode` gives.

    Args:
      heatmap: `[height, width]`.
      count: how many are wanted.
      decoding: as for `decode`.

    Returns:
      `[count, 2]`, `(x, y)` in heatmap cells, each as `decode` would place it, and heights
      `[count]`: -inf where there are fewer.
    """
    chex.assert_rank(heatmap, 2)
    around = lax.reduce_window(heatmap, -jnp.inf, lax.max, (3, 3), (1, 1), 'SAME')
    # Not `>=`, which is false for NaN: those have to be found.
    heights = jnp.where(heatmap < around, -jnp.inf, heatmap).ravel()
    highest, cells = lax.top_k(heights, count)
    place = functools.partial(_placed, decoding=decoding)
    points, _ = jax.vmap(place, (None, 0))(heatmap, cells)
    return points, highest


def zoomed(heatmaps: jax.Array, *, scale: float) -> jax.Array:
    """What a crop `scale` times as wide shows, in the cells of the crop itself.

    heatmaps `[height, width, J]` of crops about the same centre, `(width / 2, height / 2)`; the
    result is 0 where a narrower crop shows nothing.
    """
    if scale == 1:
        return heatmaps
    height, width, _ = heatmaps.shape
    # Cell c lies at c' = middle + (c - middle) / scale of the other crop; JAX counts from edges.
    shift = jnp.array([(0.5 + side / 2) * (1 - scale) for side in (height, width)])
    return jax.image.scale_and_translate(
        heatmaps, heatmaps.shape, (0, 1), jnp.full(2, scale), shift, 'linear', antialias=False
    )


def _placed(heatmap: jax.Array, cell: jax.Array, *, decoding: str) -> tuple[jax.Array, jax.Array]:
    """The keypoint of the cell with this flat index, and its height."""
    y, x = jnp.unravel_index(cell, heatmap.shape)
    score = heatmap[y, x]
    point = jnp.stack([x, y]).astype(heatmap.dtype) + DECODINGS[decoding](heatmap, x, y)
    return jnp.where(jnp.isnan(score), score, jnp.where(score > 0, point, 0.0)), score


def quarter(heatmap: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """How far a joint lies from its cell, `[2]`, as the release has it (paper section 4.2).

    A quarter of a cell along each axis towards the larger of the cell's two neighbours, where the
    cell is strictly inside `1 < p < side - 1` on both axes.
    """
    height, width = heatmap.shape
    # At the border these indices reach other cells than the neighbours; `inside` discards them.
    slope = jnp.stack(
        [heatmap[y, x + 1] - heatmap[y, x - 1], heatmap[y + 1, x] - heatmap[y - 1, x]]
    )
    inside = (1 < x) & (x < width - 1) & (1 < y) & (y < height - 1)
    return jnp.where(inside, 0.25 * jnp.sign(slope), 0.0)


def taylor(heatmap: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """How far a joint lies from its cell, `[2]`: to the top of the Gaussian through its neighbours.

    One Newton step on the heatmap's logarithm, exact for a Gaussian (Zhang et al., CVPR 2020, whose
    blur beforehand brings nothing here). Where the nine cells are no top of a hill, or not all
    positive, or not all there, it is `quarter`.
    """
    corner = jnp.clip(jnp.stack([y, x]) - 1, 0, jnp.array(heatmap.shape) - 3)
    nine = lax.dynamic_slice(heatmap, corner, (3, 3))
    log = jnp.log(jnp.where(nine > 0, nine, 1.0))
    across, down = log[1], log[:, 1]
    slope = jnp.stack([across[2] - across[0], down[2] - down[0]]) / 2
    bend_x, bend_y = (line[2] - 2 * line[1] + line[0] for line in (across, down))
    twist = (log[2, 2] - log[2, 0] - log[0, 2] + log[0, 0]) / 4
    area = bend_x * bend_y - twist**2
    hill = (nine > 0).all() & (bend_x < 0) & (area > 0) & (corner == jnp.stack([y, x]) - 1).all()
    step = jnp.stack([bend_y * slope[0] - twist * slope[1], bend_x * slope[1] - twist * slope[0]])
    step = -step / jnp.where(hill, area, 1.0)
    return jnp.where(hill, jnp.clip(step, -1.0, 1.0), quarter(heatmap, x, y))


# How a joint's place inside its cell is found.
DECODINGS = {'quarter': quarter, 'taylor': taylor}
