"""How to personalize: rates, steps, batches and trained parts, compared on one trained network.

    python experiments/adaptation.py WORKDIR [--people=12] \
        [--rows='online batch 16,offline batch 16']

WORKDIR is a finished run. Each row personalizes its test people anew with a few values changed; the
table gives pooled mPCK@0.2 before and after, and how many people got better and worse.
"""

import argparse
import json
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ttp_jax import main
from ttp_jax.personalize import capacity, partition
from ttp_jax.results import metrics
from ttp_jax.run import adaptation, build, defaults
from ttp_jax.run.keys import flat

PAPER = {'epochs': 1, 'images_first': 0, 'learning_rate': 1e-4, 'image_learning_rate': 1e-4}

ROWS = {
    f'{schedule} {name}': {'schedule': schedule} | changes
    for schedule in ('online', 'offline')
    for name, changes in {
        'as configured': {},
        "the paper's": {'steps': PAPER},
        'nobody waits': {'steps': {'images_first': 0}},
        'encoder 1e-4': {'steps': {'learning_rate': 1e-4}},
        'encoder 3e-4': {'steps': {'learning_rate': 3e-4}},
        'images 5e-4': {'steps': {'image_learning_rate': 5e-4}},
        '2 steps a frame': {'steps': {'epochs': 2}},
        '4 steps a frame': {'steps': {'epochs': 4}},
        'batch 16': {'batch': 16},
        'bfloat16': {'dtype': 'bfloat16'},
        "the paper's in bfloat16": {'steps': PAPER, 'dtype': 'bfloat16'},
        'rounded otherwise': {'lowering': 'matmul'},  # how far rounding alone goes
        'image networks frozen': {
            'freeze': (partition.IMAGE_NETWORKS,),
            'steps': {'images_first': 0},
        },
    }.items()
}


def finished_run(workdir: pathlib.Path, *, people: int) -> build.Run:
    """A finished run, as its workdir describes it, with so many test people."""
    main.keep_compiled_programs()
    capacity.one_device_per_core()
    config = defaults.small()  # of an earlier commit's run some keys may be missing
    config.update_from_flattened_dict(
        {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in flat(json.loads((workdir / 'config.json').read_text())).items()
        }
    )
    config.data.test_people = people
    return build.Run(config, workdir)


def scores(run: build.Run, results: adaptation.Results) -> tuple[float, np.ndarray]:
    """(pooled mPCK, mPCK of each person)."""
    predictions = [adapted.joints for adapted in adaptation.in_order(dict(results))]
    truth = (
        [clip.labels.joints for clip in run.people],
        [clip.labels.visibility for clip in run.people],
    )
    return (
        metrics.pooled_pck(predictions, *truth, skeleton=run.data.skeleton)['mPCK'],
        metrics.people_pck(predictions, *truth, skeleton=run.data.skeleton),
    )


def row(
    run: build.Run,
    config: ConfigDict,
    *,
    schedule: str,
    steps: Mapping[str, Any] = MappingProxyType({}),
    freeze: tuple[str, ...] = (),
    **changes,
):
    """Scores after adapting with a changed `config.personalize`.

    steps: changes to `config.personalize.<schedule>`; changes: to `config.personalize` itself;
    freeze: patterns of parameters to freeze besides the objective's own.
    """
    run.config = config.copy_and_resolve_references()
    run.config.personalize.update(changes)
    run.config.personalize[schedule].update(steps)
    run.config.personalize.frozen = run.adapts_by.frozen + freeze if freeze else ()
    vars(run).pop('placement', None)  # it follows from the config
    return scores(run, adaptation.personalize(run, schedule))


def study() -> None:
    """Prints the table, a row after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('workdir', type=pathlib.Path)
    parser.add_argument('--people', type=int, default=12)
    parser.add_argument('--rows', type=lambda names: names.split(','), default=list(ROWS))
    arguments = parser.parse_args()
    run = finished_run(arguments.workdir, people=arguments.people)
    config = run.config
    before, each_before = scores(run, adaptation.predict(run))
    print(f'{"before":<32} {before:6.1f}', flush=True)
    for name in arguments.rows:
        after, each = row(run, config, **ROWS[name])
        print(
            f'{name:<32} {after:6.1f} {after - before:+6.1f}  better {(each > each_before).sum():3}'
            f'  worse {(each < each_before).sum():3}',
            flush=True,
        )


if __name__ == '__main__':
    study()
