"""What a report and its pictures are about, whoever has made the results."""

import pathlib
from typing import Protocol

from ml_collections import ConfigDict

from ttp_jax.data.clips import Clip
from ttp_jax.data.pairs import CropSpec
from ttp_jax.data.sets import DataSet
from ttp_jax.personalize.guard import Rule
from ttp_jax.run.store import Store


class Subject(Protocol):
    """What a report is about: a `build.Run`, or `collect.Finished`."""

    config: ConfigDict
    workdir: pathlib.Path
    data: DataSet
    people: list[Clip]
    refused: dict[str, str]
    rules: dict[str, Rule]  # the guard's, by phase
    spec: CropSpec
    seconds: dict[str, float]

    def store(self, phase: str) -> Store:
        """Where the results of a phase are."""
        ...
