"""How do scores fall from people a network was trained on to people and videos it never met?

    python experiments/held_out.py WORKDIR [--parts=train,validation,test] [--clips=40]

WORKDIR is a run of configs/real.py, finished or not: its newest checkpoint is taken. Nobody is
personalized. Prints mPCK@0.2 of each part of the first folder (sources trained on, sources held
out, test clips; of each at most so many, spread evenly), as predicted and with the mirror image's
heatmaps averaged in, and the score of each action.
"""

import argparse
import collections
import functools
import json
import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ttp_jax import geometry, heatmaps, main
from ttp_jax.data import clips, mixed, pairs, penn_action, sets, skeletons
from ttp_jax.files import checkpoint
from ttp_jax.networks.model import PoseModel
from ttp_jax.results import metrics

SKELETON = skeletons.PENN_ACTION
BATCH = 16
Variables = dict


def trained(workdir: pathlib.Path) -> tuple[dict, PoseModel, Variables]:
    """(config, model, variables) of a run's newest checkpoint."""
    config = json.loads((workdir / 'config.json').read_text())
    model = PoseModel(joints=len(SKELETON.joints), **config['model'])
    image = jax.ShapeDtypeStruct(
        (1, config['crop']['size'], config['crop']['size'], 3), jnp.float32
    )
    like = jax.eval_shape(model.init, jax.random.key(0), image, image)
    return config, model, checkpoint.read(workdir, like)


@functools.partial(jax.jit, static_argnames=('model', 'spec', 'decoding', 'mirror'))
def predict(
    variables: Variables,
    frames: jax.Array,
    sizes: jax.Array,
    boxes: jax.Array,
    *,
    model: PoseModel,
    spec: pairs.CropSpec,
    decoding: str,
    mirror: bool,
) -> jax.Array:
    """Joints `[N, J, 2]` in image pixels of frames `[N, H, W, 3]` in `boxes` `[N, 4]`."""
    counted = dict(subtract_one=spec.subtract_one)

    def seen(flip):
        def crop(frame, size, box):
            flipped = geometry.Augmentation(flip=flip)
            affine = geometry.augmented_affine(box, flipped, size=spec.size, **counted)
            return pairs.crop(frame, affine, spec=spec, valid=size)

        return model.apply(variables, jax.vmap(crop)(frames, sizes, boxes), method='heatmaps')

    maps = seen(False).supervised
    if mirror:
        # A flip takes cell x to cells - x: the first column has no counterpart.
        other = jnp.roll(seen(True).supervised[:, :, ::-1], 1, axis=2)
        maps = (maps + other[..., jnp.array(SKELETON.mirror)]) / 2
    decode = functools.partial(heatmaps.decode, decoding=decoding)
    cells, _ = jax.vmap(jax.vmap(decode, in_axes=-1))(maps)
    to_image = functools.partial(geometry.heatmap_to_image, size=spec.cells, **counted)
    return jax.vmap(to_image)(cells, boxes)


def predict_people(bank: clips.FrameBank, variables: Variables, **how) -> list[np.ndarray]:
    """Joints `[T, J, 2]` of every clip of a bank."""
    found = []
    for start in range(0, len(bank.boxes), BATCH):
        index = np.minimum(np.arange(start, start + BATCH), len(bank.boxes) - 1)
        found.append(np.asarray(predict(variables, *_of(bank, index), **how)))
    joints = np.concatenate(found)[: len(bank.boxes)]
    return np.split(joints, np.unique(bank.clip_start)[1:])


def _of(bank: clips.FrameBank, index: np.ndarray) -> Iterator[np.ndarray]:
    return (values[index] for values in (bank.frames, bank.sizes, bank.boxes))


def actions(root: str, people: list[clips.Clip]) -> list[str]:
    """What each clip's label says that the person does."""
    labels = pathlib.Path(root) / 'labels'
    return [penn_action.read_labels(labels / f'{clip.id}.mat').action for clip in people]


def row(name: str, found, people: list[clips.Clip]) -> None:
    """Prints one line: all joints, then each group."""
    labels = [clip.labels.joints for clip in people], [clip.labels.visibility for clip in people]
    scores = metrics.pooled_pck(found, *labels, skeleton=SKELETON)
    groups = ' '.join(f'{scores[group]:5.1f}' for group, _ in SKELETON.groups)
    print(f'{name:<28} {len(people):3} clips  {scores["mPCK"]:5.1f}  {groups}', flush=True)


def study(root: str, part: str, *, validation: float, limit: int, variables, **how) -> None:
    """The rows of one part of a folder."""
    people = mixed.part(root, part, validation=validation)
    people = people[:: max(1, len(people) // limit)][:limit] if limit else people
    bank = clips.stack_clips(people)
    for mirror in (False, True):
        found = predict_people(bank, variables=variables, mirror=mirror, **how)
        row(part + ' and mirrored' * mirror, found, people)
    groups = collections.defaultdict(list)
    for joints, clip, action in zip(found, people, actions(root, people), strict=True):
        groups[action].append((joints, clip))
    for action, members in sorted(groups.items()):
        row(f'  {action} (mirrored)', *map(list, zip(*members, strict=True)))


def command() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('workdir', type=pathlib.Path)
    parser.add_argument('--parts', default='train,validation,test')
    parser.add_argument('--clips', type=int, default=0, help='of each part at most; 0: all')
    arguments = parser.parse_args()
    main.keep_compiled_programs()
    config, model, variables = trained(arguments.workdir)
    size = config['crop']['size']
    for part in arguments.parts.split(','):
        study(
            config['data']['roots'][0],
            part,
            validation=config['data']['validation'],
            limit=arguments.clips,
            variables=variables,
            model=model.clone(lowering='blocked'),
            spec=pairs.CropSpec(size, model.cells(size), subtract_one=sets.labels('mixed')[1]),
            decoding=config['personalize'].get('decoding', 'quarter'),
        )


if __name__ == '__main__':
    command()
