"""Training pairs read by Grain while training runs, for data sets that memory does not hold.

Contract: the batch of step i is the one that `pairs.batches` gives with every frame in memory: a
function of the clips, the step and the seed alone. Frames are decoded in threads or in worker
processes, ahead of the step that needs them, and arrive on the host as numpy arrays, uint8,
zero-padded on the right and below to one size.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import grain
import numpy as np
from absl import flags

from ttp_jax.data import pairs
from ttp_jax.data.clips import Clip, FrameBank, label_bank, largest_frame


@dataclasses.dataclass(frozen=True, eq=False)
class PairReader:
    """Reads the batch of a step from clips whose frames decode on access. Can be pickled."""

    clips: Sequence[Clip]
    batch: int
    seed: int
    size: tuple[int, int]  # (height, width) to pad frames to
    labels: FrameBank  # of all frames; without the frames
    clip_index: np.ndarray  # [total], the clip of each frame
    part: tuple[int, int] = (0, 1)  # of each batch, as `pairs.rows_of` takes it

    @classmethod
    def of(
        cls, clips: Sequence[Clip], *, batch: int, seed: int, part: tuple[int, int] = (0, 1)
    ) -> 'PairReader':
        """A reader of `clips`; decodes the first frame of each, to know their sizes."""
        lengths = [len(clip.frames) for clip in clips]
        return cls(
            clips,
            batch,
            seed,
            largest_frame(clips),
            label_bank(clips),
            np.repeat(np.arange(len(clips)), lengths),
            part,
        )

    def __call__(self, step: int) -> pairs.Pairs:
        """This part of the batch of training step `step`, leaves `[B, ...]`.

        Raises:
          ValueError: for a frame that does not decode or is larger than all first frames, naming
            it.
        """
        labels, rows = self.labels, pairs.rows_of(self.part, self.batch)
        drawn = pairs.draw_indices(labels, step=int(step), batch=self.batch, seed=self.seed)
        target, source = (indices[rows] for indices in drawn)
        images, sizes = self._frames(target)
        return pairs.Pairs(
            images,
            self._frames(source)[0],
            sizes,
            labels.boxes[target],
            labels.joints[target],
            labels.visibility[target],
        )

    def _frames(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Padded frames `[B, height, width, 3]` and their own (height, width), `[B, 2]`."""
        padded = np.zeros((len(indices), *self.size, 3), np.uint8)
        sizes = np.empty((len(indices), 2), np.int32)
        for row, index in enumerate(indices):
            clip, t = self.clips[self.clip_index[index]], index - self.labels.clip_start[index]
            image = clip.frames[t]
            if np.any(image.shape[:2] > np.array(self.size)):
                raise ValueError(
                    f'clip {clip.id}: frame {t} has shape {image.shape}, expected at '
                    f'most that of the largest first frame, {self.size}'
                )
            sizes[row] = image.shape[:2]
            padded[row, : sizes[row, 0], : sizes[row, 1]] = image
        return padded, sizes


def batches(
    clips: Sequence[Clip],
    *,
    first: int,
    steps: int,
    batch: int,
    seed: int,
    part: tuple[int, int] = (0, 1),
    workers: int = 0,
    ahead: int = 4,
) -> Iterator[pairs.Pairs]:
    """The batches of the steps from `first` to before `steps`, in order.

    Args:
      clips: of a folder's reader, or of `prepared`.
      first: the step to start with, for a run that is resumed.
      steps: the step to end before.
      batch: pairs per step.
      seed: what is drawn follows from it and the step.
      part: which rows of each batch are read, as `pairs.rows_of` takes it.
      workers: how many processes decode; 0: threads of this process do.
      ahead: how many batches each process keeps ready.

    Raises:
      ValueError: while iterating, for a frame that does not decode, naming it.
    """
    if first >= steps:
        return iter(())
    reader = PairReader.of(clips, batch=batch, seed=seed, part=part)
    options = grain.ReadOptions(num_threads=1 if workers else ahead, prefetch_buffer_size=ahead)
    data = grain.MapDataset.range(first, steps).map(reader).to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():  # Grain's workers refuse to start with unparsed flags
            flags.FLAGS.mark_as_parsed()
        data = data.mp_prefetch(
            grain.multiprocessing.MultiprocessingOptions(
                num_workers=min(workers, steps - first), per_worker_buffer_size=ahead
            )
        )
    return iter(data)
