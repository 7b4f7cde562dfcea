"""IMM's protocol (Jakab et al., NeurIPS 2018): self-supervised keypoints, scored by a regression.

    python -m experiments.keypoint_regression NETWORK --workdir=WORKDIR

NETWORK is a run's workdir. A linear map from its self-supervised keypoints to the labelled joints
is fitted on the frames it was trained on, and scored on its test people, who are not adapted to. As
in the paper the map is linear and knows nothing but keypoints; here it has an intercept as well, as
crops have no natural origin, and a small ridge, for keypoints that always move together. WORKDIR
gets what a run leaves: `report.json`, `config.json` and `predictions/before`.

The keypoints are IMM's own where labels had no part in the encoder's training, as with
`--config.train.reconstruction_weight=1e6`, and ours otherwise.
"""

import argparse
import functools
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments import leave
from ttp_jax import geometry, main
from ttp_jax.data import clips, pairs, sets
from ttp_jax.files import checkpoint
from ttp_jax.networks import model as networks
from ttp_jax.run import check_config, defaults, keys

BATCH = 32
RIDGE = 1.0  # heatmap cells squared, summed over frames


def fit(
    keypoints: np.ndarray, joints: np.ndarray, weights: np.ndarray, *, ridge: float = RIDGE
) -> np.ndarray:
    """The linear map `[2 K + 1, J, 2]` from keypoints to joints, its last row the intercept.

    Args:
      keypoints: `[N, K, 2]`, (x, y) in heatmap cells.
      joints: `[N, J, 2]`, likewise.
      weights: `[N, J]` in 0 ... 1; where it is 0 the joint is not looked at.
      ridge: what every weight but the intercept costs, times its square.

    Raises:
      ValueError: for a joint that no frame shows, by its number.
    """
    seen = with_one(keypoints)
    cost = ridge * np.eye(seen.shape[1])
    cost[-1, -1] = 0.0
    maps = []
    for j in range(joints.shape[1]):
        if not weights[:, j].any():
            raise ValueError(f'joint {j} is in no frame, expected at least one that shows it')
        weighted = seen * weights[:, j, None]
        maps.append(np.linalg.solve(weighted.T @ seen + cost, weighted.T @ joints[:, j]))
    return np.stack(maps, axis=1)


def apply(linear: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Joints `[N, J, 2]` of keypoints `[N, K, 2]`, by a map of `fit`."""
    return np.einsum('nk,kjd->njd', with_one(keypoints), linear)


def with_one(keypoints: np.ndarray) -> np.ndarray:
    """Keypoints `[N, K, 2]` as rows `[N, 2 K + 1]` that end in a one."""
    rows = np.asarray(keypoints, np.float64).reshape(len(keypoints), -1)
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)


@functools.partial(jax.jit, static_argnames=('model', 'spec'))
def see(
    variables,
    frames: jax.Array,
    sizes: jax.Array,
    boxes: jax.Array,
    *,
    model: networks.PoseModel,
    spec: pairs.CropSpec,
) -> jax.Array:
    """Self-supervised keypoints `[N, K, 2]`, cells, of frames `[N, H, W, 3]` in boxes `[N, 4]`."""
    crop = functools.partial(pairs.crop_frame, spec=spec)
    crops = jax.vmap(lambda frame, box, size: crop(frame, box, valid=size))(frames, boxes, sizes)
    maps = model.apply(variables, crops, method='self_supervised_heatmaps')
    return networks.keypoint_bottleneck(maps)  # type: ignore[arg-type]


def keypoints_of(bank: clips.FrameBank, variables, **how) -> np.ndarray:
    """`[total, K, 2]` of all frames of a bank, a batch at a time; the last one is filled up."""
    total, found = len(bank.boxes), []
    for start in range(0, total, BATCH):
        index = np.minimum(np.arange(start, start + BATCH), total - 1)
        seen = see(variables, bank.frames[index], bank.sizes[index], bank.boxes[index], **how)
        found.append(np.asarray(seen)[: total - start])
    return np.concatenate(found)


def in_cells(points: np.ndarray, boxes: np.ndarray, *, spec: pairs.CropSpec) -> np.ndarray:
    """Points `[N, J, 2]` in image pixels as cells of the crops of boxes `[N, 4]`."""

    def one(point, box):
        affine = geometry.augmented_affine(
            box, geometry.Augmentation(), size=spec.cells, subtract_one=spec.subtract_one
        )
        return geometry.transform_points(affine, point)

    return np.asarray(jax.vmap(one)(points, boxes))


def in_image(cells: np.ndarray, boxes: np.ndarray, *, spec: pairs.CropSpec) -> np.ndarray:
    """The inverse of `in_cells`."""
    back = functools.partial(
        geometry.heatmap_to_image, size=spec.cells, subtract_one=spec.subtract_one
    )
    return np.asarray(jax.vmap(back)(jnp.asarray(cells), boxes))


def regress(config: ConfigDict, network: pathlib.Path) -> tuple[sets.DataSet, list[np.ndarray]]:
    """(the data, joints `[T, J, 2]` in image pixels of every test clip)."""
    check_config.check(config)
    data = sets.load(seed=config.seed, training=True, **check_config.data_options(config))
    model = check_config.model_of(config)
    spec = check_config.crop_spec(config)
    image = jax.ShapeDtypeStruct((1, spec.size, spec.size, 3), jnp.float32)
    like = jax.eval_shape(model.init, jax.random.key(0), image, image)
    look = functools.partial(
        keypoints_of, variables=checkpoint.read(network, like), model=model, spec=spec
    )
    bank = clips.stack_clips(data.train)
    linear = fit(look(bank), in_cells(bank.joints, bank.boxes, spec=spec), bank.visibility)
    bank = clips.stack_clips(data.test)
    joints = in_image(apply(linear, look(bank)), bank.boxes, spec=spec)
    ends = np.cumsum([len(clip.frames) for clip in data.test])
    return data, np.split(joints, ends[:-1])


def study() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('network', type=pathlib.Path)
    parser.add_argument('--workdir', type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    main.keep_compiled_programs()
    start, text = time.monotonic(), (arguments.network / 'config.json').read_text()
    config = defaults.completed(keys.flat(json.loads(text)))
    data, joints = regress(config, arguments.network)
    leave.write(
        arguments.workdir,
        arguments.network,
        data.test,
        {'before': [leave.shared_prediction(found) for found in joints]},
        skeleton=data.skeleton,
        program='experiments.keypoint_regression',
        seed=config.seed,
        seconds={'before': time.monotonic() - start},
    )


if __name__ == '__main__':
    study()
