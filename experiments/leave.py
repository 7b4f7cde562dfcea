"""What a run leaves in its workdir, for programs of experiments that are no run of the job.

Contract: `config.json` of the network's run, `report.json` with scores and origin, and
`predictions/<phase>/<id>.npz`; the table's rows are measured from these.
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from ttp_jax.data import clips, skeletons
from ttp_jax.files import predictions
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.results import report
from ttp_jax.run.summary import git_commit


def shared_prediction(joints: np.ndarray) -> Adapted:
    """Joints `[T, J, 2]` that nobody adapted for, as a run keeps them: sure, without losses."""
    return Adapted(joints, np.ones(joints.shape[:2]), np.zeros((0, 0)))


def write(
    workdir: pathlib.Path,
    network: pathlib.Path,
    people: Sequence[clips.Clip],
    phases: Mapping[str, Sequence[Adapted]],
    *,
    skeleton: skeletons.Skeleton,
    program: str,
    **origin,
) -> None:
    """Writes the config, predictions and the report, and prints its table.

    Args:
      network: the workdir of the run whose network it is.
      phases: everyone's results by phase, in the order of people.
      program: the module's name, for the command that is written down.
      origin: more keys of the report, such as `seconds`.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / 'config.json').write_bytes((network / 'config.json').read_bytes())
    for phase, results in phases.items():
        for clip, adapted in zip(people, results, strict=True):
            path = workdir / 'predictions' / phase / f'{clip.id}.npz'
            predictions.save(path, adapted, names=skeleton.joints, mark='')
    joints = {phase: [adapted.joints for adapted in found] for phase, found in phases.items()}
    summary = report.summarise(people, joints, skeleton=skeleton)
    command = ' '.join([f'python -m {program}', *sys.argv[1:]])
    report.write_report(workdir, summary | origin | {'command': command, 'git': git_commit()})
    print(report.table(summary))
