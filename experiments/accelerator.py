"""How fast would it be on a TPU? What the TPU's compiler expects; nothing of it is measured.

    pip install -e '.[tpu]'                                      # the compiler comes with it
    python -m experiments.accelerator --list                     # names of rows
    python -m experiments.accelerator --rows='small .*people=1 .*' --json=FILE
    python -m experiments.accelerator --rows='' --json=FILE      # the table of what is in FILE

No TPU is needed: the compiler is asked for a topology by name. A row takes from one minute to half
an hour of one core; rows are processes of their own, one after another. `--json` keeps them, with
date and commit; a row that is there is not compiled again unless `--again`. The columns, all of
them estimated by the compiler:

    people        adapted at once on each chip; of joint training, samples on each chip
    M cycles      expected of one step (of one frame, personalized online: step and prediction)
    ... each      of one person, or of one sample
    of peak       the arithmetic that the mathematics needs (arithmetic.py), as a share of what the
                  chip could do in that many cycles, in bfloat16
    without, MB   results of instructions that the compiler expects no cycles of: what the sum of
                  cycles leaves out, above all the gradients of pools
    temporary, arguments  memory of a chip
    foreseen      how much more than that the package's own estimate (capacity.py) is
    fit           people (samples) that the chip's memory would hold, if each took as much as here;
                  of people who take turns, what a step holds is there once
    collectives   by kind: how many, and bytes that a chip gets from them

A third table tells of programs over several chips how long a step computes and how long its
collectives take, on a torus of the published bandwidth with a microsecond a hop, if none of them
runs while chips compute.

`personalization` is `many_people.make_runner(...).loop.learn` of a segment of 8 frames, for clips
of 32, and its cycles are an eighth of the call's; `joint` is `train.mapped_step`. What each is made
of comes from configs/, and how it is computed from the package's own choices for that target.
Weights and frames are shapes.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import re
import runpy
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments import compiled_text

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = {'small': ('joint.py', 'drawn'), 'paper': ('paper.py', 'penn_action')}
FRAMES = {'small': (112, 112), 'paper': (270, 480)}  # (height, width) in pixels
CLIP = 32  # frames
Row = dict[str, Any]


class Chip(NamedTuple):
    """A kind of TPU: bfloat16 FLOP/s, cycles a second, and bytes of memory, as published.

    links: bytes a second that an all-reduce moves out of a chip, as published of a whole pod.
    """

    flops: float
    clock: float
    memory: float
    links: float
    topologies: dict[int, str]  # by the number of chips

    @property
    def flops_per_cycle(self) -> float:
        """The most a chip can do in one cycle."""
        return self.flops / self.clock


CHIPS = {
    'v5e': Chip(
        197e12, 1.5e9, 16e9, 200e9, {1: 'v5e:2x2', 4: 'v5e:2x2', 16: 'v5e:4x4', 256: 'v5e:16x16'}
    ),
    'v6e': Chip(
        918e12, 1.75e9, 32e9, 400e9, {1: 'v6e:2x2', 4: 'v6e:2x2', 16: 'v6e:4x4', 256: 'v6e:16x16'}
    ),
}
HOP = 1e-6  # seconds from a chip to its neighbour, the usual guess; nobody publishes it
PARTS = {  # heading: names in the paths of the program, of the package's modules and scopes
    'crops': ('crop',),
    'resnet': ('resnet',),
    'rest of the encoder': ('encoder',),
    'heads': ('self_supervised_head', 'affinity_transformer', 'supervised_head'),
    'appearance': ('appearance_encoder',),
    'pose': ('pose_encoder',),
    'renderer': ('renderer',),
    'perceptual': ('perceptual',),
    'optimizer': ('optimizer',),
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One program. `people`: of each chip; of joint training the samples, 0 for the config's."""

    size: str
    task: str  # 'personalization', 'joint'
    chip: str = 'v5e'
    chips: int = 1
    people: int = 1
    dtype: str = 'float32'
    lowering: str = 'auto'
    schedule: str = 'online'
    parts: int = 1  # of a step's batch

    @property
    def name(self) -> str:
        """What `--rows` is matched against."""
        words = [self.size, self.task, f'{self.chips} x {self.chip}', f'people={self.people}']
        words += [self.dtype, self.lowering]
        words += ['offline'] * (self.schedule == 'offline')
        return ' '.join(words + [f'parts={self.parts}'] * (self.parts > 1))


def settings() -> list[Setting]:
    """Every row there is, the quick ones first."""
    small = Setting('small', 'personalization')
    paper = dataclasses.replace(small, size='paper', dtype='bfloat16')
    change = dataclasses.replace
    rows = [change(small, people=n, dtype=d) for d in ('float32', 'bfloat16') for n in (1, 4, 16)]
    rows += [change(small, people=n, lowering=how) for how in ('matmul', 'library') for n in (1, 4)]
    rows += [change(small, chips=n) for n in (16, 256)]
    rows += [change(small, people=n, schedule='offline') for n in (1, 4)]
    rows += [change(small, chip='v6e')]
    rows += [Setting('small', 'joint', chips=n, people=16) for n in (1, 16, 256)]
    rows += [change(paper, people=n) for n in (1, 4, 16)]
    rows += [change(paper, schedule='offline'), change(paper, parts=8)]
    rows += [change(paper, people=2, lowering=how) for how in ('matmul', 'library')]
    rows += [change(paper, chips=256), change(paper, chip='v6e', people=2)]
    joint = Setting('paper', 'joint', people=32, dtype='bfloat16')
    rows += [joint, change(joint, chips=256)] + [change(joint, people=n) for n in (16, 128)]
    return rows


# --- compiling -------------------------------------------------------------------------------


def pretend_to_be_on_a_tpu() -> None:
    """What the TPU's library wants to know of a machine that has none; before jax is imported."""
    os.environ.update(
        JAX_PLATFORMS='cpu',
        TPU_SKIP_MDS_QUERY='1',
        TPU_WORKER_HOSTNAMES='localhost',
        TPU_ACCELERATOR_TYPE='v5litepod-4',
    )


def chips_of(setting: Setting) -> list:
    """The devices to compile for."""
    from jax.experimental import topologies

    name = CHIPS[setting.chip].topologies[setting.chips]
    found = topologies.get_topology_desc(platform='tpu', topology_name=name).devices
    return list(found[: setting.chips])


class Problem:
    """The model of a config, as shapes, and what its steps depend on."""

    def __init__(self, setting: Setting):
        import jax
        import jax.numpy as jnp

        from ttp_jax.objectives import registry
        from ttp_jax.run import check_config, method

        file, variant = CONFIGS[setting.size]
        self.setting = setting
        self.config = runpy.run_path(str(ROOT / 'configs' / file))['get_config'](variant)
        self.skeleton, _ = check_config.labels_of(self.config)
        self.model = check_config.model_of(self.config)
        self.dtype = method.COMPUTE[setting.dtype]
        self.network = perceptual_of(self.config)
        self.objective = registry.choose(self.config.train.objective, self.model)
        self.spec = check_config.crop_spec(self.config)
        image = jax.ShapeDtypeStruct((1, self.spec.size, self.spec.size, 3), jnp.float32)
        self.variables = jax.eval_shape(self.model.init, jax.random.key(0), image, image)
        self.loss_means = jax.ShapeDtypeStruct((1 + self.network.terms,), jnp.float32)

    def flops(self) -> float:
        """What the mathematics of one person's frame, or one sample, needs; see arithmetic.py."""
        from experiments import arithmetic

        kind, batch = self.config.perceptual.kind, self.config.personalize.batch
        problem = arithmetic.Problem(
            self.model, self.variables, self.network, kind, self.spec.size, batch
        )
        found = arithmetic.flops_by_formula(problem)
        if self.setting.task == 'joint':
            return found['joint']
        return found['online' if self.setting.schedule == 'online' else 'step']


def perceptual_of(config):
    """The config's perceptual network; VGG's weights as shapes, as nobody needs their values."""
    import jax
    import jax.numpy as jnp

    from ttp_jax.networks import perceptual

    if config.perceptual.kind != 'vgg16':
        return perceptual.load(config.perceptual.kind)
    weights = {
        name: jax.ShapeDtypeStruct(shape, jnp.float32)
        for name, shape in perceptual.vgg16_shapes().items()
    }
    terms = len(perceptual.VGG16_SLICES)
    return perceptual.Perceptual(perceptual.vgg16_features, weights, terms, perceptual.VGG16_MEANS)


def lowered(setting: Setting) -> tuple[Any, int, Problem]:
    """(the lowered program, bytes that people or samples share, its problem)."""
    problem, devices = Problem(setting), chips_of(setting)
    build = {'personalization': personalization, 'joint': joint}[setting.task]
    return *build(problem, devices), problem


def personalization(problem: Problem, devices: Sequence) -> tuple[Any, int]:
    """`learn` of a segment, as `many_people` compiles it for these devices."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    from ttp_jax.personalize import many_people

    runner = many_people.make_runner(method_of(problem, devices), devices=devices)
    spread = NamedSharding(runner.mesh, PartitionSpec(many_people.PEOPLE))
    everywhere = NamedSharding(runner.mesh, PartitionSpec())
    together = problem.setting.people * len(devices)
    shared = placed(shared_of(problem), everywhere)
    people = placed(clips(problem, together), spread)
    progress = placed(jax.eval_shape(runner.loop.start, shared, people), spread)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), together))
    keys = placed(keys, spread)
    frames = placed(jax.ShapeDtypeStruct((runner.segment,), jnp.int32), everywhere)
    learn: Any = runner.loop.learn
    return learn.lower(progress, shared, people, keys, frames), bytes_of(shared)


def shared_of(problem: Problem):
    """The shapes of what people have in common."""
    from ttp_jax.personalize import inner_loop, partition

    return inner_loop.Shared(
        *partition.split(problem.variables['params'], frozen=problem.objective.frozen),
        problem.variables['batch_stats'],
        problem.loss_means,
        problem.network.weights,
    )


def foreseen(problem: Problem, devices: Sequence) -> Row:
    """The bytes that `capacity` takes a chip's people for, with all that `learn` is given."""
    from ttp_jax.personalize import capacity, liveness, many_people

    if problem.setting.task != 'personalization':
        return {}
    method, shared = method_of(problem, devices), shared_of(problem)
    needs = capacity.needs(
        shared, method=method, platform='tpu', at_once=many_people.at_once(method.model)
    ).with_clips(bytes_of(clips(problem, 1)))
    given = shared._replace(trainable={})  # which people have their own of
    taken = needs.bytes(problem.setting.people) + liveness.size_of(given, lanes=128)
    return {'foreseen_bytes': round(taken)}


def method_of(problem: Problem, devices: Sequence):
    """How people are adapted, one step a frame, as a run of the config would do it there."""
    from ttp_jax.personalize import placement
    from ttp_jax.run import method

    setting, platform = problem.setting, devices[0].platform
    lowering = lowering_of(setting, platform)
    config = problem.config.copy_and_resolve_references()
    config.personalize.update(dtype=setting.dtype, parts=setting.parts)
    shared = placement.shared_lowering(lowering, platform=platform)
    return method.of(
        config,
        setting.schedule,
        perceptual=problem.network._replace(lowering=shared),
        lowering=lowering,
        spec=problem.spec,
    )._replace(epochs=1)


def lowering_of(setting: Setting, platform: str) -> str:
    """How layers with private weights are computed."""
    from ttp_jax.personalize import placement

    if setting.lowering != 'auto':
        return setting.lowering
    together = setting.people * setting.chips
    return placement.private_lowering(together, devices=setting.chips, platform=platform)


def clips(problem: Problem, people: int):
    """The shapes of everyone's clips."""
    import jax
    import jax.numpy as jnp

    from ttp_jax.personalize import inner_loop

    shape = jax.ShapeDtypeStruct
    return inner_loop.Person(
        shape((people, CLIP, *FRAMES[problem.setting.size], 3), jnp.uint8),
        shape((people, 2), jnp.int32),
        shape((people, CLIP, 4), jnp.float32),
        shape((people,), jnp.int32),
    )


def joint(problem: Problem, devices: Sequence) -> tuple[Any, int]:
    """The training step as `train.pmap_step` has it compiled for these devices."""
    import jax
    import jax.numpy as jnp

    from ttp_jax import train
    from ttp_jax.networks import layers

    config, lowering = problem.config.train, problem.setting.lowering
    if lowering == 'auto':
        lowering = layers.suited_lowering('joint', platform=devices[0].platform)
    tx = train.optimizer(learning_rate=config.learning_rate, steps=config.steps)
    step = train.mapped_step(
        model=problem.model.clone(lowering=lowering, dtype=problem.dtype),
        perceptual=problem.network,
        tx=tx,
        spec=problem.spec,
        mirror=problem.skeleton.mirror,
        augment=config.augment.to_dict(),
        colour_std=config.colour_std,
        objective=problem.objective,
        reconstruction_weight=config.reconstruction_weight,
        rebuilt_every=config.rebuilt_every,
        covered=config.covered,
        axis_name='devices',
        devices=devices,
    )
    params = problem.variables['params']
    state = train.TrainState(
        jax.ShapeDtypeStruct((), jnp.int32),
        params,
        problem.variables['batch_stats'],
        jax.eval_shape(tx.init, params),
        problem.loss_means,
    )
    leading = (len(devices), problem.setting.people)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), leading))
    weights, key = problem.network.weights, jax.eval_shape(lambda: jax.random.key(0))
    program = step.lower(weights, state, batch_of(problem, leading), keys, key)
    return program, bytes_of((state, weights))


def batch_of(problem: Problem, leading: tuple[int, int]):
    """The shapes of a batch `[devices, samples, ...]`."""
    import jax
    import jax.numpy as jnp

    from ttp_jax.data import pairs

    frame, joints = (*FRAMES[problem.setting.size], 3), len(problem.skeleton.joints)
    kinds = {
        'target': (frame, jnp.uint8),
        'source': (frame, jnp.uint8),
        'size': ((2,), jnp.int32),
        'box': ((4,), jnp.float32),
        'joints': ((joints, 2), jnp.float32),
        'visibility': ((joints,), jnp.float32),
    }
    return pairs.Pairs(
        **{name: jax.ShapeDtypeStruct((*leading, *s), d) for name, (s, d) in kinds.items()}
    )


def placed(tree, sharding):
    """The tree's shapes, on these devices."""
    import jax

    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def bytes_of(tree) -> int:
    """What the tree's arrays take."""
    import jax

    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


# --- rows ------------------------------------------------------------------------------------


def compiled_row(setting: Setting, *, text_to: pathlib.Path | None = None) -> Row:
    """Compiles the program and reads what the compiler expects of it."""
    from ttp_jax.personalize import many_people

    start = time.monotonic()
    program, shared, problem = lowered(setting)
    compiled = program.compile()
    seconds, memory, text = time.monotonic() - start, compiled.memory_analysis(), compiled.as_text()
    if text_to:
        text_to.write_text(text)
    names = [name for group in PARTS.values() for name in group]
    steps = 1 if setting.task == 'joint' else many_people.SEGMENT
    cycles = {k: v // steps for k, v in compiled_text.cycles_by_part(text, names).items()}
    held = memory.temp_size_in_bytes + memory.argument_size_in_bytes
    held += memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        'name': setting.name,
        **dataclasses.asdict(setting),
        'estimated_by': 'the compiler, not measured',
        'cycles': sum(cycles.values()),
        'cycles_by_part': by_heading(cycles),
        'unestimated_bytes': sum(compiled_text.unestimated(text).values()) // steps,
        'flops': problem.flops() * setting.people,
        'temporary_bytes': memory.temp_size_in_bytes,
        'argument_bytes': memory.argument_size_in_bytes,
        'held_bytes': held,
        'shared_bytes': shared,
        **foreseen(problem, chips_of(setting)),
        'in_turn': setting.task == 'personalization' and takes_turns(setting, problem),
        'collectives': {k: v._asdict() for k, v in compiled_text.collectives(text).items()},
        'compile_seconds': round(seconds, 1),
        **provenance(),
    }


def takes_turns(setting: Setting, problem: Problem) -> bool:
    """Whether people of a chip wait for each other."""
    from ttp_jax.personalize import many_people

    model = problem.model.clone(lowering=lowering_of(setting, 'tpu'))
    return many_people.at_once(model) > 0


def by_heading(cycles: dict[str, int]) -> dict[str, int]:
    """Cycles by the headings of `PARTS`, the most first."""
    headings = {name: heading for heading, names in PARTS.items() for name in names}
    sums: dict[str, int] = {}
    for name, count in cycles.items():
        heading = headings.get(name, name)
        sums[heading] = sums.get(heading, 0) + count
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def provenance() -> Row:
    """When and by what a row was made."""
    import jax

    git = ['git', '-C', str(ROOT), 'describe', '--always', '--dirty']
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    return {
        'date': datetime.date.today().isoformat(),
        'commit': commit,
        'jax': jax.__version__,
        'libtpu': importlib.metadata.version('libtpu') if has_compiler() else None,
    }


def run(setting: Setting, *, limit: float, text_to: str = '') -> Row:
    """A row, from a process of its own; with only a note where it failed or met the limit."""
    command = [sys.executable, '-m', 'experiments.accelerator', '--only', setting.name]
    command += ['--text', text_to] if text_to else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return {'name': setting.name, 'note': f'not compiled within {limit:.0f} s'}
    if done.returncode:
        return {'name': setting.name, 'note': why(done.stderr, done.returncode)}
    return json.loads(done.stdout.splitlines()[-1])


def why(errors: str, status: int) -> str:
    """The line that says why a process ended; the compiler's own failed checks come first."""
    lines = errors.strip().splitlines() or [f'ended with status {status}']
    failed = [line for line in lines if 'Check failed' in line or 'Check failure' in line]
    return (failed or lines[-1:])[0][:200]


# --- tables ----------------------------------------------------------------------------------


def share_of_peak(row: Row) -> float:
    """Useful arithmetic over what the chip could do in the expected cycles."""
    return row['flops'] / row['cycles'] / CHIPS[row['chip']].flops_per_cycle


def that_fit(row: Row) -> int:
    """People (samples) in a chip's memory, if each takes as much as in this row."""
    once = row['shared_bytes'] + row.get('in_turn', False) * row['temporary_bytes']
    each = (row['held_bytes'] - once) / row['people']
    return int((CHIPS[row['chip']].memory - once) // each)


def seconds_computing(row: Row) -> float:
    """The expected cycles of a step, at the chip's clock."""
    return row['cycles'] / CHIPS[row['chip']].clock


def seconds_on_the_way(row: Row) -> float:
    """What a step's all-reduces take on a square torus, one after the other.

    Each is twice along both axes, as rings whose two directions meet half-way, and all but a chip's
    own share of the bytes leaves it twice.
    """
    chips, links = row['chips'], CHIPS[row['chip']].links
    hops = 2 * math.isqrt(chips)
    return sum(
        found['times'] * hops * HOP + 2 * found['bytes'] * (1 - 1 / chips) / links
        for found in row['collectives'].values()
    )


def traffic(row: Row) -> str:
    """Collectives in words."""
    found = row['collectives'].items()
    return ', '.join(f'{t["times"]} {kind}, {t["bytes"] / 1e6:.1f} MB' for kind, t in found) or '0'


def in_parts(row: Row) -> str:
    """The parts of a step's batch in words, where there are several."""
    parts = row.get('parts', 1)
    return f', batch in {parts}' if parts > 1 else ''


COLUMNS = {
    'size': lambda row: row['size'],
    'task': lambda row: row['task'] + ' offline' * (row['schedule'] == 'offline') + in_parts(row),
    'chips': lambda row: f'{row["chips"]} x {row["chip"]}',
    'people': lambda row: str(row['people']),
    'dtype': lambda row: row['dtype'],
    'lowering': lambda row: row['lowering'],
    'M cycles': lambda row: f'{row["cycles"] / 1e6:.1f}',
    '... each': lambda row: f'{row["cycles"] / row["people"] / 1e6:.2f}',
    'of peak': lambda row: f'{share_of_peak(row):.1%}',
    'without, MB': lambda row: (
        f'{row["unestimated_bytes"] / 1e6:.0f}' if 'unestimated_bytes' in row else ''
    ),
    'temporary GB': lambda row: f'{row["temporary_bytes"] / 1e9:.2f}',
    'arguments GB': lambda row: f'{row["argument_bytes"] / 1e9:.2f}',
    'foreseen': lambda row: (
        f'{row["foreseen_bytes"] / row["held_bytes"] - 1:+.1%}' if 'foreseen_bytes' in row else ''
    ),
    'fit': lambda row: str(that_fit(row)),
    'collectives': traffic,
    'compiled in s': lambda row: f'{row["compile_seconds"]:.0f}',
}


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown, then where their cycles go; all of it estimated by the compiler."""
    good = [row for row in rows if 'cycles' in row]
    lines = ['Estimated by the compiler, not measured:', '']
    lines += markdown(list(COLUMNS), [[show(row) for show in COLUMNS.values()] for row in good])
    parts = list(dict.fromkeys(part for row in good for part in row['cycles_by_part']))
    shares = [
        [row['name'], *(f'{row["cycles_by_part"].get(p, 0) / row["cycles"]:.0%}' for p in parts)]
        for row in good
    ]
    lines += ['', 'Share of these cycles:', '', *markdown(['row', *parts], shares)]
    lines += over_chips([row for row in good if row['chips'] > 1])
    lines += [f'{row["name"]}: {row["note"]}' for row in rows if 'note' in row]
    return '\n'.join(lines)


def over_chips(rows: Sequence[Row]) -> list[str]:
    """Lines of the table of programs that several chips share."""
    cells = []
    for row in rows:
        busy, waiting = seconds_computing(row), seconds_on_the_way(row)
        share = busy / (busy + waiting)
        cells.append([row['name'], f'{1e3 * busy:.2f}', f'{1e3 * waiting:.2f}', f'{share:.0%}'])
    headings = ['over several chips', 'ms computing', 'ms of collectives', 'of the time computing']
    return ['', *markdown(headings, cells)] if cells else []


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [headings, ['---'] * len(headings), *rows]
    return ['| ' + ' | '.join(cells) + ' |' for cells in lines]


# --- command line ----------------------------------------------------------------------------


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """All rows, a new one in the place of an old one of its name, in the order of `settings`."""
    rows = {row['name']: row for row in [*old, *new]}
    order = {setting.name: index for index, setting in enumerate(settings())}
    return sorted(rows.values(), key=lambda row: order.get(row['name'], len(order)))


def chosen(pattern: str) -> list[Setting]:
    """The settings whose names the pattern matches as a whole."""
    return [setting for setting in settings() if re.fullmatch(pattern, setting.name)]


def named(name: str) -> Setting:
    """The setting of that name."""
    return next(setting for setting in settings() if setting.name == name)


def flags(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's flags."""
    parser = argparse.ArgumentParser(prog='python -m experiments.accelerator')
    parser.add_argument('--rows', default='small .*', help='regular expression of whole names')
    parser.add_argument('--list', action='store_true', help='only print the names')
    parser.add_argument('--json', type=pathlib.Path, help='file that keeps the rows')
    parser.add_argument('--again', action='store_true', help='also rows that the file has')
    parser.add_argument('--limit', type=float, default=3600, help='seconds for a row')
    parser.add_argument('--text', default='', help='also write the (last) compiled program here')
    parser.add_argument('--only', default='', help=argparse.SUPPRESS)  # what a row's process does
    return parser.parse_args(arguments)


def has_compiler() -> bool:
    """Whether the TPU's compiler is installed."""
    return importlib.util.find_spec('libtpu') is not None


def check_compiler() -> None:
    """Raises SystemExit, in one line, where the TPU's compiler is missing."""
    if not has_compiler():
        raise SystemExit("no TPU compiler here: pip install -e '.[tpu]' brings it (no TPU needed)")


def main() -> None:
    """Compiles the rows that are missing, and prints the table."""
    arguments = flags()
    if arguments.list:
        print('\n'.join(setting.name for setting in settings()))
        return
    if arguments.only:
        pretend_to_be_on_a_tpu()
        text_to = pathlib.Path(arguments.text) if arguments.text else None
        print(json.dumps(compiled_row(named(arguments.only), text_to=text_to)))
        return
    file, wanted = arguments.json, chosen(arguments.rows)
    rows = json.loads(file.read_text()) if file and file.is_file() else []
    known = set() if arguments.again else {row['name'] for row in rows if 'cycles' in row}
    missing = [setting for setting in wanted if setting.name not in known]
    if missing:
        check_compiler()
    for setting in missing:
        print(f'compiling {setting.name}', file=sys.stderr, flush=True)
        found = run(setting, limit=arguments.limit, text_to=arguments.text)
        rows = merged(rows, [found])
        if file:
            file.write_text(json.dumps(rows, indent=1) + '\n')
    shown = {setting.name for setting in wanted}
    print(table([row for row in rows if row['name'] in shown or not wanted]))


if __name__ == '__main__':
    main()
