"""How small can personal weights be? mPCK against bytes per person, for kinds, ranks and layers.

    python experiments/personal_weights.py WORKDIR [WORKDIR ...] [--people=12] [--learned=FOLDER]
    python experiments/personal_weights.py --paper

Each WORKDIR is a finished run. Its test people are personalized anew once; everyone's final weights
are then saved in each way, loaded again, and predict every frame without adapting. With --learned
the final weights stay in a folder, and are taken from there the next time.

`MB at the paper's size` is a file of the same kind made of random differences (normal, as nobody
has trained that network here) in the shapes of the paper's model: 38.7 M trained parameters.
"""

import argparse
import functools
import math
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from adaptation import finished_run, scores

from ttp_jax import train
from ttp_jax.files import personal, predictions
from ttp_jax.networks import perceptual
from ttp_jax.personalize import many_people, partition
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.run import adaptation, build, check_config, defaults

EVERYTHING, LAST, HEAD = ('.*',), ('last',), ('head',)
Form = personal.Form
ROWS = {
    'bfloat16, everything': Form('bfloat16', 0, EVERYTHING),
    'int8, everything': Form('int8', 0, EVERYTHING),
    'bfloat16': Form('bfloat16', 0),
    'int8': Form('int8', 0),
    'int4': Form('int4', 0),
    'int8, rank 32': Form('int8', 32),
    'int8, rank 16': Form('int8', 16),
    'int4, rank 64': Form('int4', 64),
    'int4, rank 32': Form('int4', 32),
    'int4, rank 24': Form('int4', 24),
    'int4, rank 16': Form('int4', 16),
    'int4, rank 8': Form('int4', 8),
    'int4, rank 4': Form('int4', 4),
    'int4, rank 1': Form('int4', 1),
    'int8, last layers': Form('int8', 0, LAST),
    'int4, last layers, rank 32': Form('int4', 32, LAST),
    'int8, head': Form('int8', 0, HEAD),
}


# --- people ----------------------------------------------------------------------------------


def learned(run: build.Run, schedule: str, folder: pathlib.Path) -> dict[int, partition.Flat]:
    """Everyone's weights after all of their steps, by index; kept in a folder."""
    paths = {index: folder / f'{index}.npz' for index in range(len(run.people))}
    if not all(path.is_file() for path in paths.values()):
        run.config.personalize.save_weights = 'int8'  # any kind: the weights are wanted
        for index, result in adaptation.personalize(run, schedule):
            predictions.save_arrays(paths[index], result.learned or {}, mark='')
    return {index: _leaves(path) for index, path in paths.items()}


def _leaves(path: pathlib.Path) -> partition.Flat:
    return {name: leaf for name, leaf in predictions.read_arrays(path).items() if name != 'mark'}


def predict(
    run: build.Run, runner: many_people.Runner, index: int, trained: partition.Flat
) -> Adapted:
    """One person predicted with weights of their own, without adapting."""
    chunk = next(chunk for chunk in run.placement.chunks() if index in chunk.members)
    alone = chunk._replace(members=(index,) * len(chunk.members))
    [(_, result)] = many_people.predict_people(
        run.people,
        [alone],
        runner=runner,
        params=partition.merge(trained, run.shared.frozen),
        batch_stats=run.state.batch_stats,
    )
    return result


def reloaded(
    trained: partition.Flat, base: partition.Flat, form: Form
) -> tuple[partition.Flat, int]:
    """(leaves that were saved and loaded again, bytes of the file)."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / 'person.npz'
        personal.save(path, trained, base, digest='base', form=form)
        return personal.load(path, base, digest='base'), path.stat().st_size


def row(
    run: build.Run, runner: many_people.Runner, people: Mapping[int, partition.Flat], form: Form
) -> tuple[np.ndarray, float]:
    """(mPCK of each person, mean bytes of a person's file) of one way to save."""
    results, sizes = [], []
    for index, trained in people.items():
        leaves, size = reloaded(trained, run.shared.trainable, form)
        results.append((index, predict(run, runner, index, leaves)))
        sizes.append(size)
    return scores(run, iter(results))[1], float(np.mean(sizes))


def of_run(
    workdir: pathlib.Path, *, people: int, schedule: str, folder: pathlib.Path
) -> dict[str, tuple[np.ndarray, float]]:
    """Every row of one run: mPCK of each person, and bytes."""
    run = finished_run(workdir, people=people)
    weights, runner = learned(run, schedule, folder), run.runner('online')
    whole = ((index, predict(run, runner, index, leaves)) for index, leaves in weights.items())
    count = sum(leaf.size for leaf in run.shared.trainable.values())
    found = {
        'shared': (scores(run, adaptation.predict(run))[1], 0.0),
        'float32': (scores(run, whole)[1], 4.0 * count),
    }
    return found | {name: row(run, runner, weights, form) for name, form in ROWS.items()}


def show(runs: Sequence[Mapping[str, tuple[np.ndarray, float]]]) -> None:
    """Prints the table over all runs; lost: with a 95 % interval over people."""
    exact = np.concatenate([found['float32'][0] for found in runs])
    print('what is saved | mPCK | lost [95 %] | bytes a person', flush=True)
    for name in runs[0]:
        each = np.concatenate([found[name][0] for found in runs])
        lost = exact - each
        reach = 1.96 * lost.std(ddof=1) / math.sqrt(len(lost))
        size = round(float(np.mean([found[name][1] for found in runs])))
        print(
            f'{name:<28} | {each.mean():5.1f} | {lost.mean():+.2f} '
            f'[{lost.mean() - reach:+.2f}, {lost.mean() + reach:+.2f}] | {size:12,}',
            flush=True,
        )


# --- the paper's size ------------------------------------------------------------------------


def paper_shapes() -> dict[str, tuple[int, ...]]:
    """The shape of each leaf that is trained at the paper's size; nothing is computed."""
    config = defaults.paper('penn_action', file='paper')
    model = check_config.model_of(config)
    state = jax.eval_shape(
        functools.partial(
            train.initial_state,
            model=model,
            tx=train.optimizer(learning_rate=1e-3, steps=1),
            perceptual=perceptual.load('random', seed=0),
            size=config.crop.size,
        ),
        jax.random.key(0),
    )
    objective = check_config.adapting_objective(config, model)
    trainable, _ = partition.split(state.params, frozen=objective.frozen)
    return {name: leaf.shape for name, leaf in trainable.items()}


def paper_bytes(form: Form) -> int:
    """Bytes of a file of random differences in the paper's shapes."""
    rng, shapes = np.random.default_rng(0), paper_shapes()
    base = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    change = {name: 1e-3 * rng.standard_normal(s, np.float32) for name, s in shapes.items()}
    return reloaded(change, base, form)[1]


def show_paper() -> None:
    """Prints how many bytes each row takes at the paper's size."""
    count = sum(math.prod(shape) for shape in paper_shapes().values())
    print(f"{count:,} trained parameters at the paper's size", flush=True)
    for name, form in ROWS.items():
        print(f'{name:<28} | {paper_bytes(form) / 1e6:8.2f} MB', flush=True)


def study() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('workdirs', type=pathlib.Path, nargs='*')
    parser.add_argument('--people', type=int, default=12)
    parser.add_argument('--schedule', default='offline')
    parser.add_argument('--learned', type=pathlib.Path)
    parser.add_argument('--paper', action='store_true')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kept = arguments.learned or pathlib.Path(folder)
        runs = [
            of_run(
                workdir,
                people=arguments.people,
                schedule=arguments.schedule,
                folder=kept / workdir.name,
            )
            for workdir in arguments.workdirs
        ]
    if runs:
        show(runs)
    if arguments.paper:
        show_paper()


if __name__ == '__main__':
    study()
