"""Online personalization to somebody who is being filmed: a frame in, their joints out.

Contract: frame t is learned from and then predicted, from the past alone, as the schedule `online`
does with a clip. Of the past only `remembered` frames are kept: the newest, and a sample of all
others in which each is as likely as any, from which sources are drawn. So memory does not grow, and
a source is uniform over the past, as in the paper.
"""

import collections
from typing import NamedTuple

import jax
import numpy as np

from ttp_jax.data.clips import Clip
from ttp_jax.data.people import cut_out, tracks
from ttp_jax.personalize import follow, many_people
from ttp_jax.personalize.inner_loop import Person, Progress
from ttp_jax.run.estimator import Estimator, padded


class Seen(NamedTuple):
    """One frame's joints `[J, 2]`, (x, y) in its pixels, and heatmaps' heights `[J]`.

    before_joints, before_scores: those of the shared weights; loss: of the steps on this frame.
    """

    joints: np.ndarray
    scores: np.ndarray
    before_joints: np.ndarray
    before_scores: np.ndarray
    loss: float


class Live:
    """A model that gets to know somebody while they are filmed.

    It holds the only state there is: what was learned, and the frames that are remembered.
    """

    def __init__(
        self,
        model: Estimator,
        size: tuple[int, int],
        box: np.ndarray | None = None,
        *,
        remembered: int = 64,
        seed: int = 0,
    ):
        """size: (height, width) of the frames. box: `[4]` around the person; None: all of them."""
        track = tracks.whole_frame(1, size)
        if box is not None:
            track = tracks.Track('1', np.arange(1), np.asarray(box, np.float32)[None])
            tracks.check(track, size)
        self.model, self.runner = model, model.runner('online')
        self.where = cut_out.place(track, size=size, side=model.side)
        self.count = 0
        self._rng = np.random.default_rng(seed)
        self._keys = many_people.person_keys([Clip('person', (), track.boxes)], seed)
        self._boxes = np.repeat(self.where.boxes(track.boxes), remembered, axis=0)
        self._frames: np.ndarray | None = None
        self._shared = self.runner.everywhere(model.shared)
        self._progress: Progress | None = None
        self._peaks: collections.deque = collections.deque(maxlen=remembered)
        self._labels: np.ndarray | None = None

    def see(self, image: np.ndarray) -> Seen:
        """Learns from one frame, `[height, width, 3]` uint8 RGB, and predicts it."""
        part = self.where.cut(image)
        slot = self._remember(part)
        person = self._taught(self._person(part.shape[:2]), slot)
        if self._progress is None:
            self._progress = self.runner.loop.start(self._shared, person)
        frames = np.array([slot])
        self._progress = self.runner.loop.learn(
            self._progress, self._shared, person, self._keys_now(), frames
        )
        before = self.runner.before(self.model.params, self.model.batch_stats, person, frames)
        self.count += 1
        predictions, losses = jax.device_get((self._progress.predictions, self._progress.losses))
        return Seen(
            self.where.to_video(predictions.joints[0, slot]),
            predictions.scores[0, slot],
            self.where.to_video(np.asarray(before.joints)[0, 0]),
            np.asarray(before.scores)[0, 0],
            float(losses[0, slot].mean()),
        )

    def _taught(self, person: Person, slot: int) -> Person:
        """The person with this frame's own labels, where an objective learns from any.

        They follow from this frame and the newest of those before it.
        """
        if not self.runner.teacher:
            return person
        seen = self.runner.teacher(
            self.model.params, self.model.batch_stats, person, np.array([slot])
        )
        points, heights = (np.asarray(each)[0, 0] for each in seen.peaks)
        self._peaks.append((points, heights, self._boxes[slot]))
        peaks = map(np.stack, zip(*self._peaks))
        found = follow.chosen(*peaks, mirror=self.runner.mirror, past_alone=True)
        newest = follow.labels(*found)[-1]
        if self._labels is None:
            self._labels = np.zeros((1, len(self._boxes), *newest.shape), np.float32)
        self._labels[0, slot] = newest
        return person._replace(taught=self._labels.copy())

    def _keys_now(self) -> jax.Array:
        """What this frame's steps draw from: of a clip's keys, until slots are used again."""
        if self.count < len(self._boxes):
            return self._keys
        return jax.vmap(jax.random.fold_in, (0, None))(self._keys, self.count)

    def _person(self, size: tuple[int, int]) -> Person:
        """Who is remembered, as a clip of one person, with a leading axis."""
        assert self._frames is not None
        length = np.int32(len(self._frames))
        clip = Person(self._frames, np.array(size, np.int32), self._boxes, length)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[None], clip)

    def _remember(self, part: np.ndarray) -> int:
        """Puts a frame into its slot, which is returned: behind all others, or else the last.

        When all slots are full, the frame that was the last takes the place of another one, or is
        forgotten, so that those before it are a fair sample of the past.
        """
        if self._frames is None:
            shape = (len(self._boxes), *padded(part.shape[:2]), 3)
            self._frames = np.zeros(shape, np.uint8)
        last = len(self._frames) - 1
        if self.count > last:
            place = self._rng.integers(0, self.count)
            if place < last:
                self._frames[place] = self._frames[last]
        slot = min(self.count, last)
        self._frames[slot, : part.shape[0], : part.shape[1]] = part
        return slot
