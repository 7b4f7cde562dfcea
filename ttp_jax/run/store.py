"""Where a phase's results are: everyone's predictions and, of those who are drawn, what was seen.

Contract: `predictions/<phase>/<id>.npz`, `views/<phase>/<id>.npz` and, where personal weights are
kept, `weights/<phase>/<id>.npz` in the workdir, whole or not there, each with the mark of what made
it (`marks`), that of weights with the form they are saved in. What an earlier start left is taken
up if its mark is that of now. Predictions are written last: whoever has them has the others.
"""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ttp_jax.files import personal, predictions
from ttp_jax.personalize import partition
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.personalize.verdict import PERSONALIZED
from ttp_jax.results.views import View


class Store(NamedTuple):
    """One phase's files.

    ids, marks `[people]`; names `[J]` of joints; drawn: who has a view too; weights: the form of
    personal weights, None: there are none.
    """

    workdir: pathlib.Path
    phase: str
    ids: Sequence[str]
    marks: Sequence[str]
    names: Sequence[str]
    drawn: Sequence[int]
    weights: personal.Form | None = None

    def path(self, kind: str, index: int) -> pathlib.Path:
        """A person's file; kind: 'predictions', 'views' or 'weights'."""
        return self.workdir / kind / self.phase / f'{self.ids[index]}.npz'

    def load(self) -> dict[int, Adapted]:
        """The results that are there and not stale, by index.

        Whose frames could not be read is tried again: they may be mended.

        Raises:
          ValueError: for a file that cannot be read, naming it.
        """
        found = {
            index: predictions.load(self.path('predictions', index), mark=mark)
            for index, mark in enumerate(self.marks)
        }
        return {
            index: adapted
            for index, adapted in found.items()
            if adapted is not None and not adapted.mendable and self._has_all(index, adapted)
        }

    def _has_all(self, index: int, adapted: Adapted) -> bool:
        """Whether what belongs to a person's predictions is there too."""
        viewed = not adapted.predicted or index not in self.drawn or self.view(index) is not None
        weighed = (
            not self.weights
            or adapted.status != PERSONALIZED
            or predictions.mark_of(self.path('weights', index)) == self._mark_of_weights(index)
        )
        return viewed and weighed

    def save(self, index: int, adapted: Adapted) -> None:
        """Writes one person's predictions."""
        predictions.save(
            self.path('predictions', index), adapted, names=self.names, mark=self.marks[index]
        )

    def save_weights(
        self, index: int, learned: partition.Flat, base: partition.Flat, *, digest: str
    ) -> None:
        """Writes what a person's weights differ in from the base's; digest: of the base."""
        path, mark = self.path('weights', index), self._mark_of_weights(index)
        form = self.weights or personal.USUAL
        personal.save(path, learned, base, form=form, digest=digest, mark=mark)

    def _mark_of_weights(self, index: int) -> str:
        return f'{self.marks[index]} {self.weights}'

    def save_view(self, index: int, view: View) -> None:
        """Writes what the network saw in a person's pictured frame."""
        arrays = {name: value for name, value in view._asdict().items() if value is not None}
        predictions.save_arrays(self.path('views', index), arrays, mark=self.marks[index])

    def view(self, index: int) -> View | None:
        """What `save_view` wrote, if it is there and not stale."""
        arrays = predictions.load_arrays(self.path('views', index), mark=self.marks[index])
        return None if arrays is None else _as_view(arrays)


def _as_view(arrays: dict[str, np.ndarray]) -> View:
    return View(*(arrays.get(name) for name in View._fields))  # type: ignore[arg-type]
