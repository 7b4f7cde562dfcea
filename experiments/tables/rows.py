"""Every row of every table, declared: which network is trained, and how people are adapted with it.

Contract: a `Network` is what is trained, a `Row` what is done with it. Rows that differ in
personalization alone have equal networks, which are trained once. Changes are config keys and their
values. Nothing is run here, and no file is looked at.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ttp_jax.objectives.objective import LABELLED_HEAD, NORMS
from ttp_jax.run.defaults import FOLLOWED

Changes = tuple[tuple[str, Any], ...]

SEEDS = (0, 1, 2, 3, 4)  # of the main rows
# Of the neighbours. Whoever wants more seeds of a data set adds them here; a row with one seed is a
# hint, and the tables say how many seeds each has.
NEIGHBOUR_SEEDS = {'drawn': SEEDS[:2], 'motion': SEEDS[:1], 'real': SEEDS[:1]}
CLAIMED_SEEDS = SEEDS[:2]  # of schedules, of which more is claimed than that one thing matters

DATA = {
    'drawn': 'drawn people',
    'motion': "people drawn with Penn Action's motion",
    'real': "real clips after people drawn with Penn Action's motion",
}
SYSTEMS = {
    'baseline': 'baseline',
    'shared_rotation': 'feature-shared (rotation)',
    'shared_keypoint': 'feature-shared (keypoint)',
    'transformer': 'ours',
}
OFFLINE = ('before', 'offline')
TABLES = ('main', 'neighbours', 'ablations')


class Network(NamedTuple):
    """What is trained. system: a variant of the model; data: of `DATA`."""

    system: str
    data: str
    seed: int
    changes: Changes = ()
    parent: 'Network | None' = None  # where training starts from


class Row(NamedTuple):
    """A row of a table, of one seed. changes: of personalization, and of whom it is done to.

    program: 'personalize'; 'regression' for keypoints that are scored by a linear regression, or
    'carried on' for people who are adapted to one after another.
    """

    table: str
    name: str
    network: Network
    changes: Changes = ()
    modes: tuple[str, ...] = ('before', 'online', 'offline')
    program: str = 'personalize'

    @property
    def title(self) -> str:
        """The row's name for people who choose rows: 'main/ours/drawn/0'."""
        return '/'.join((self.table, self.name, self.network.data, str(self.network.seed)))


def all_rows() -> list[Row]:
    """Every row; those to be made first come first, and real clips, which take longest, last."""
    found = [*main_rows(), *neighbours(), *ablations()]
    return sorted(found, key=lambda row: row.network.data == 'real')


def network(system: str, data: str, seed: int, **changes: Any) -> Network:
    """The network of a system for a data set; changes: config keys, with `__` for a point."""
    all_changes = without_features(system) + keys(changes)
    parent = Network(system, 'motion', seed, all_changes) if data == 'real' else None
    return Network(system, data, seed, all_changes, parent)


def without_features(system: str) -> Changes:
    """A system that rebuilds nothing needs no perceptual features."""
    return () if system in ('shared_keypoint', 'transformer') else (('perceptual.kind', 'none'),)


def keys(changes: Mapping[str, Any]) -> Changes:
    """Keyword arguments as config keys: `model__width` is 'model.width'."""
    return tuple((key.replace('__', '.'), value) for key, value in changes.items())


def steps(**changes: Any) -> Changes:
    """The same change of both schedules."""
    return tuple(
        (f'personalize.{schedule}.{key}', value)
        for schedule in ('online', 'offline')
        for key, value in changes.items()
    )


# Nothing is rebuilt, so there are no image networks that could learn first.
AT_ONCE = steps(images_first=0)


def main_rows() -> Iterator[Row]:
    """The paper's table (section 4.2) on three data sets."""
    for data in DATA:
        for seed in SEEDS:
            for system, name in SYSTEMS.items():
                modes = ('before',) if system == 'baseline' else ('before', 'online', 'offline')
                changes = AT_ONCE if system == 'shared_rotation' else ()
                yield Row('main', name, network(system, data, seed), changes, modes)


def neighbours() -> Iterator[Row]:
    """Other objectives through the same loop, on the network that the paper's joint training gave.

    Rotation is a network of its own: it is a row of the main table.
    """
    objectives = {
        'entropy, norms alone (TENT)': 'entropy',
        'entropy, of what we move': 'entropy_all',
        'confident pseudo-labels': 'pseudo_labels',
        'confident pseudo-labels and rebuilding': 'self_training',
        'flip consistency': 'flips',
        'joints look alike over time': 'temporal',
        'features aligned to training': 'alignment',
        'followed predictions': 'followed',
        'followed predictions and rebuilding': 'followed_training',
    }
    for data in DATA:
        for seed in NEIGHBOUR_SEEDS[data]:
            ours = network('transformer', data, seed)
            for name, objective in objectives.items():
                changes = (('personalize.objective', objective), *AT_ONCE)
                yield Row('neighbours', name, ours, changes)
                if (data, seed) == ('drawn', 0):  # steps that suit ours need not suit others
                    gently = (changes[0], *GENTLE, *AT_ONCE)
                    yield Row('neighbours', f'{name}, gentle steps', ours, gently, OFFLINE)
            # So large a weight that labels have no say in what the encoder learns.
            alone = network('transformer', data, seed, train__reconstruction_weight=1e6)
            yield Row(
                'neighbours', 'IMM, keypoints regressed', alone, (), ('before',), 'regression'
            )
            yield Row('neighbours', 'our keypoints, regressed', ours, (), ('before',), 'regression')


def ablations() -> Iterator[Row]:
    """One thing changed at a time, on drawn people, adapted offline."""
    ablation = functools.partial(Row, 'ablations', modes=OFFLINE)
    ours = network('transformer', 'drawn', 0)
    # The main row is made once and kept; this one is of the network that the rows below are of.
    yield ablation('nothing changed', ours)
    for name, changes in ADAPTED_OTHERWISE.items():
        yield ablation(name, ours, changes)
    yield ablation('carried on from person to person', ours, program='carried on')
    for name, settings in TRAINED_OTHERWISE.items():
        yield ablation(name, network('transformer', 'drawn', 0, **settings))
    for count in PEOPLE:
        trained = network('transformer', 'drawn', 0, data__train_people=count)
        yield ablation(f'{count} training people', trained)
        yield ablation(f'{count} training people, gentle steps', trained, GENTLE)
    for seed in CLAIMED_SEEDS:
        yield from one_schedule(seed)


def one_schedule(seed: int) -> Iterator[Row]:
    """The same steps for weak and strong networks."""
    ablation = functools.partial(Row, 'ablations', modes=OFFLINE)
    for name, changes in SCHEDULES.items():
        if changes:
            yield ablation(name, network('transformer', 'drawn', seed), changes)
        yield ablation(
            f'strong network, {name}', network('transformer', 'drawn', seed, **STRONG), changes
        )


# A good network has little to gain; steps that a poorer one needs would tear it apart.
GENTLE = steps(epochs=2, images_first=16, learning_rate=5e-5, image_learning_rate=3e-4)
PEOPLE = (4, 32, 128, 1024)  # training people, besides the main row's own number
TRAINED_OTHERWISE: dict[str, dict[str, Any]] = (
    {f'{k} self-supervised keypoints': {'model__keypoints': k} for k in (15, 30, 60)}
    | {f'{n} Transformer layers': {'model__layers': n} for n in (2, 3)}
    | {f'{h} attention heads': {'model__heads': h} for h in (1, 8)}
    | {
        f'reconstruction weight {weight:g}': {'train__reconstruction_weight': weight}
        for weight in (0.0, 1e-4, 1e-2)
    }
    | {
        'pixels alone compared': {'perceptual__kind': 'none'},
        'SqueezeNet features compared': {'perceptual__kind': 'squeezenet'},
    }
)

# One schedule for weak and strong networks is wanted: each is tried on both.
STRONG = {'data__train_people': 1024, 'train__steps': 6000}
SCHEDULES: dict[str, Changes] = {
    'as the others': (),
    'gentle steps': GENTLE,
    'warm-up': steps(warmup=64),
    'warm-up, half the rates': steps(warmup=64, learning_rate=1e-4, image_learning_rate=5e-4),
    'warm-up, a quarter of the rates': steps(
        warmup=64, learning_rate=5e-5, image_learning_rate=2.5e-4
    ),
    'followed predictions, 2 steps a frame': (
        ('personalize.objective', 'followed'),
        # Online no end is known that rates could fall to, and this row is of both schedules.
        *steps(**{key: value for key, value in FOLLOWED['offline'].items() if key != 'falls'}),
    ),
    'followed predictions and rebuilding, warm-up, half the rates': (
        ('personalize.objective', 'followed_training'),
        *steps(warmup=64, learning_rate=1e-4, image_learning_rate=5e-4),
    ),
}

IMAGE_NETWORKS = r'(appearance_encoder|pose_encoder|renderer)/.*'
ADAPTED_OTHERWISE: dict[str, Changes] = (
    {f'rate of the encoder {rate:g}': steps(learning_rate=rate) for rate in (5e-5, 5e-4, 1e-3)}
    | {f'rate of images {rate:g}': steps(image_learning_rate=rate) for rate in (1e-4, 2e-3)}
    | {f'{epochs} steps a frame': steps(epochs=epochs) for epochs in (1, 2, 8)}
    | {f'batches of {batch}': (('personalize.batch', batch),) for batch in (2, 16)}
    | {'nobody waits': AT_ONCE}
    | {
        "the paper's rates and steps": steps(
            epochs=1, images_first=0, learning_rate=1e-4, image_learning_rate=1e-4
        )
    }
    | {
        name: (('personalize.frozen', (NORMS, LABELLED_HEAD, *more)),)
        for name, more in {
            'encoder frozen': ('encoder/.*',),
            'ResNet frozen': ('encoder/resnet/.*',),
            'self-supervised head frozen': ('self_supervised_head/.*',),
        }.items()
    }
    | {
        'image networks frozen': (
            ('personalize.frozen', (NORMS, LABELLED_HEAD, IMAGE_NETWORKS)),
            *AT_ONCE,
        ),
        'norms move too': (('personalize.frozen', (LABELLED_HEAD,)),),
        'labelled head moves too': (('personalize.frozen', (NORMS,)),),
    }
    | {f'{frames} frames seen': (('data.frames', frames),) for frames in (6, 12, 48)}
    | {
        f'boxes jittered by {100 * share:g} %': (('data.box_jitter', share),)
        for share in (0.05, 0.1)
    }
)
