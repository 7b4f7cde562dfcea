"""What is a look worth? How heatmaps are decoded, averaged and followed, on real clips.

    python -m experiments.looks MODEL ROOT [--part=validation] [--clips=0]

MODEL is a packed model of configs/real.py, ROOT a folder as ttp_jax/data/mixed.py says. Nobody is
personalized. Prints mPCK@0.2 of the part's clips, that of each kind of joint, and how many clips
are better and worse than by one look, for each way to read the same heatmaps; and how far joints
that are nearly right lie from their labels, which tells whether pixels are counted alike.
"""

import argparse
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttp_jax import geometry, heatmaps, main
from ttp_jax.data import clips, mixed, pairs, sets
from ttp_jax.data.skeletons import PENN_ACTION
from ttp_jax.files import packed
from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives import flips
from ttp_jax.personalize import follow, many_people
from ttp_jax.results import metrics

# Each crop, and its mirror image: those of a teacher first.
SCALES = (1.0, *many_people.TEACHER_SCALES, 0.75, 1.3)
LOOKS = {'one': 1, 'and the mirror image': 2, 'six': 6, 'ten': 10}
BATCH = 16
VALIDATION = 0.15  # of configs/real.py: the share of sources that its training leaves out
NEAR = 0.4  # torsos within which a joint is nearly right


class Network(NamedTuple):
    """A packed model: what it computes, with what, and of which crops."""

    model: PoseModel
    variables: Mapping[str, Any]
    spec: pairs.CropSpec


def read(model_file: str | pathlib.Path) -> Network:
    """Raises ValueError where the file is no packed model."""
    config = packed.read_config(model_file)
    model = PoseModel(joints=len(PENN_ACTION.joints), **config['model']).clone(lowering='blocked')
    side = config['crop']['size']
    _, subtract_one = sets.labels('mixed')
    spec = pairs.CropSpec(side, model.cells(side), subtract_one=subtract_one)
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    like = jax.eval_shape(model.init, jax.random.key(0), image, image)
    return Network(model, packed.read(model_file, like), spec)


class Study:
    """Clips, and what one network sees in them at crops of each scale and their mirror images."""

    def __init__(
        self, network: Network, people: Sequence[clips.Clip], scales: tuple[float, ...] = SCALES
    ):
        self.people, self.spec = people, network.spec
        self.bank = clips.stack_clips(people)
        look = jax.jit(functools.partial(looks, network=network, scales=scales))
        seen = [np.asarray(look(*batch)) for batch in self.batches()]
        self.maps = np.concatenate(seen, axis=1)[:, : len(self.bank.boxes)]

    def batches(self) -> Iterator[list[np.ndarray]]:
        """Frames, sizes and boxes, the last batch filled up with the last frame."""
        count = len(self.bank.boxes)
        for start in range(0, count, BATCH):
            index = np.minimum(np.arange(start, start + BATCH), count - 1)
            yield [part[index] for part in (self.bank.frames, self.bank.sizes, self.bank.boxes)]

    def peaks(self, count: int, decoding: str) -> tuple[np.ndarray, np.ndarray]:
        """Points `[N, J, K, 2]` and heights `[N, J, K]` of the means over the first looks."""
        mean = self.maps[:count].mean(axis=0, dtype=np.float32)
        points, heights = peaks_of(mean, self.bank.boxes, spec=self.spec, decoding=decoding)
        return np.asarray(points), np.asarray(heights)

    def each(self, values: np.ndarray) -> list[np.ndarray]:
        """Frames' values, clip by clip."""
        return np.split(values, np.unique(self.bank.clip_start)[1:])


def looks(frames, sizes, boxes, *, network: Network, scales: tuple[float, ...]) -> jax.Array:
    """`[L, N, h, w, J]`, what is seen at each scale and in its mirror image, in the usual cells."""

    def see(images):
        seen: Any = network.model.apply(network.variables, images, method='heatmaps')
        return seen.supervised

    def at(scale: float) -> list[jax.Array]:
        crop = functools.partial(pairs.crop_frame, spec=network.spec, scale=scale)
        images = jax.vmap(lambda frame, box, size: crop(frame, box, valid=size))(
            frames, boxes, sizes
        )
        mirrored = flips.unmirrored(see(flips.mirrored(images)), PENN_ACTION.mirror)
        zoom = jax.vmap(functools.partial(heatmaps.zoomed, scale=scale))
        return [zoom(see(images)), zoom(mirrored)]

    return jnp.stack([maps for scale in scales for maps in at(scale)]).astype(jnp.float16)


@functools.partial(jax.jit, static_argnames=('spec', 'decoding'))
def peaks_of(maps, boxes, *, spec: pairs.CropSpec, decoding: str) -> tuple[jax.Array, jax.Array]:
    """The highest peaks of heatmaps `[N, h, w, J]`, in image pixels, and their heights."""

    def one(heatmap, box):
        cells, heights = heatmaps.peaks(heatmap, count=follow.PEAKS, decoding=decoding)
        to_image = functools.partial(geometry.heatmap_to_image, subtract_one=spec.subtract_one)
        return to_image(cells, box, size=spec.cells), heights

    return jax.vmap(jax.vmap(one, (-1, None)))(maps, boxes)


def followed(study: Study, points: np.ndarray, heights: np.ndarray, **how) -> list[np.ndarray]:
    """Every clip's joints, followed; how: of `follow.path_of`."""
    each = zip(*map(study.each, (points, heights, study.bank.boxes)), strict=True)
    return [follow.chosen(*own, **how)[0] for own in each]


def scores_of(found: Sequence[np.ndarray], people: Sequence[clips.Clip]) -> tuple[float, str]:
    """mPCK of all frames of clips together, and that of each kind of joint as a line's middle."""
    labels = [[person.labels[k] for person in people] for k in (0, 1)]  # type: ignore[index]
    scores = metrics.pooled_pck(list(found), *labels, skeleton=PENN_ACTION)
    groups = ' '.join(f'{scores[group]:5.1f}' for group, _ in PENN_ACTION.groups)
    return scores['mPCK'], groups


def row(name: str, found: Sequence[np.ndarray], study: Study, usual: np.ndarray | None):
    """Prints one line; returns every clip's score."""
    score, groups = scores_of(found, study.people)
    each = np.array(
        [
            metrics.pck(joints, *person.labels, skeleton=PENN_ACTION)['mPCK']  # type: ignore[misc]
            for joints, person in zip(found, study.people, strict=True)
        ]
    )
    counts = '' if usual is None else f'{(each > usual).sum():3} / {(each < usual).sum()}'
    print(f'{name:<44} {score:6.2f}  {groups}  {counts}', flush=True)
    return each


def bias(found: Sequence[np.ndarray], study: Study) -> str:
    """The median error of joints that are nearly right, in image pixels."""
    errors = []
    for joints, person in zip(found, study.people, strict=True):
        true, seen = person.labels  # type: ignore[misc]
        near = metrics.right_joints(joints, true, skeleton=PENN_ACTION, threshold=NEAR)
        errors.append((joints - true)[near & (seen > 0)])
    x, y = np.median(np.concatenate(errors), axis=0)
    return (
        f'joints less than {NEAR} torsos wrong lie {x:+.2f}, {y:+.2f} pixels from labels (median)'
    )


def command() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model')
    parser.add_argument('root')
    parser.add_argument('--part', default='validation')
    parser.add_argument('--clips', type=int, default=0, help='at most; 0: all')
    asked = parser.parse_args()
    main.keep_compiled_programs()
    network = read(asked.model)
    people = mixed.part(asked.root, asked.part, validation=VALIDATION)
    study = Study(network, people[: asked.clips or None])
    quarter, one = (
        study.each(study.peaks(1, decoding)[0][:, :, 0]) for decoding in ('quarter', 'taylor')
    )
    usual = row('one', one, study, None)
    row('one, a quarter of a cell', quarter, study, usual)
    for name, count in LOOKS.items():
        points, heights = study.peaks(count, 'taylor')
        if count > 1:
            row(name, study.each(points[:, :, 0]), study, usual)
        for way, mirror in ((', followed', ()), (', left and right together', PENN_ACTION.mirror)):
            row(name + way, followed(study, points, heights, mirror=mirror), study, usual)
    print(bias(one, study))


if __name__ == '__main__':
    command()
