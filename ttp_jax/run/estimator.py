"""The door for programs: a trained model that predicts and personalizes arrays, without a config.

Contract: frames are `[T, height, width, 3]` uint8 RGB, or any sequence of such images of one size;
boxes are `[T, 4]`, or `[4]` for all of them, `x1, y1, x2, y2` in pixels from (0, 0), ending on
their last pixel; none means the whole picture. Joints come back as (x, y) in pixels of the frames.

An `Estimator` is a value: personalizing gives another one and leaves the first as it is.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from ttp_jax import train
from ttp_jax.data.clips import Clip
from ttp_jax.data.people import cut_out, tracks
from ttp_jax.data.skeletons import Skeleton
from ttp_jax.files import checkpoint, digest, personal
from ttp_jax.networks import layers, perceptual
from ttp_jax.networks.model import PoseModel
from ttp_jax.personalize import inner_loop, many_people, partition, verdict
from ttp_jax.personalize.chunks import Chunk
from ttp_jax.personalize.schedules import SCHEDULES
from ttp_jax.run import check_config, defaults, method
from ttp_jax.run.keys import flat

_DETAIL = 1.5  # pixels kept of a frame for each one of a crop
_FRAMES, _PIXELS = 32, 64  # lengths and sizes are rounded up to these, so that few are compiled


class Keypoints(NamedTuple):
    """What was found in a clip of T frames; names: of the J joints.

    losses: of the steps of personalization, `[T, epochs]`. status, reason: 'personalized', or what
    went wrong, in which case joints are those of the shared weights.
    """

    joints: np.ndarray  # [T, J, 2]
    scores: np.ndarray  # [T, J] heights of the joints' heatmaps
    names: tuple[str, ...]
    losses: np.ndarray
    status: str = ''
    reason: str = ''


@dataclasses.dataclass(frozen=True, eq=False)
class Estimator:
    """A model with its weights: `load` makes one."""

    config: ConfigDict
    params: Mapping[str, Any]
    batch_stats: Mapping[str, Any]
    loss_means: jax.Array

    def predict(self, frames: Sequence[np.ndarray], boxes=None) -> Keypoints:
        """The joints in every frame. Raises ValueError for frames or boxes that are none."""
        clip, where, chunk = _prepared(frames, boxes, side=self.side)
        results = many_people.predict_people(
            [clip],
            [chunk],
            runner=self.runner('offline'),
            params=self.params,
            batch_stats=self.batch_stats,
        )
        return self._keypoints(next(results)[1], where)

    def personalize(
        self, frames: Sequence[np.ndarray], boxes=None, *, mode: str = 'offline', seed: int = 0
    ) -> tuple['Estimator', Keypoints]:
        """(an estimator for the person in these frames, their joints in them).

        Args:
          frames: at least two.
          boxes: as the contract says.
          mode: 'offline' learns from all frames before it predicts them, 'online' predicts each
            frame after learning from it and those before alone.
          seed: of what is drawn while learning; the same gives the same result.

        Raises ValueError as `predict` does, for fewer than two frames, for an unknown mode and for
        a model that has no task to learn from.
        """
        if mode not in SCHEDULES:
            raise ValueError(f'mode is {mode!r}, expected one of {", ".join(SCHEDULES)}')
        clip, where, chunk = _prepared(frames, boxes, side=self.side)
        if len(clip.frames) < 2:
            raise ValueError(f'found {len(clip.frames)} frame(s) to personalize to, expected two')
        results = many_people.personalize_people(
            [clip],
            [chunk],
            runner=self.runner(mode),
            shared=self.shared,
            seed=seed,
            keep={0: len(clip.frames) - 1},
        )
        adapted = next(results)[1]
        judged = verdict.finite(adapted, adapted)
        if judged.status != verdict.PERSONALIZED or adapted.trainable is None:
            before = self.predict(frames, boxes)
            return self, before._replace(status=judged.status, reason=judged.reason)
        params = partition.merge(adapted.trainable, self.shared.frozen)
        found = self._keypoints(adapted, where)._replace(status=verdict.PERSONALIZED)
        return dataclasses.replace(self, params=params), found

    def save(
        self, path: str | pathlib.Path, base: 'Estimator', form: personal.Form = personal.USUAL
    ) -> None:
        """Writes what this estimator has learned on top of `base`; form: how much of it.

        In the usual form the file is small, and keypoints are as good; to go on adapting from
        where this estimator is, save `personal.Form('bfloat16', rank=0, layers=('.*',))`.
        """
        mine, theirs = (partition.flatten(each.params) for each in (self, base))
        learned = {path for path, leaf in mine.items() if np.any(leaf != theirs[path])}
        personal.save(
            pathlib.Path(path),
            {path: mine[path] for path in learned},
            {path: theirs[path] for path in learned},
            digest=base._digest,
            form=form,
        )

    def with_person(self, path: str | pathlib.Path) -> 'Estimator':
        """This estimator with what `save` wrote; raises ValueError unless it was the base then."""
        shared = partition.flatten(self.params)
        mine = personal.load(pathlib.Path(path), shared, digest=self._digest)
        return dataclasses.replace(self, params=partition.merge(mine, {}))

    @property
    def joints(self) -> tuple[str, ...]:
        """The names of the joints, in order."""
        return self.skeleton.joints

    @property
    def skeleton(self) -> Skeleton:
        """The joints, with bones to draw."""
        return check_config.labels_of(self.config)[0]

    @property
    def side(self) -> int:
        """Of what is kept of a frame for each crop, pixels at most."""
        return round(_DETAIL * self.config.crop.size)

    @functools.cached_property
    def _digest(self) -> str:
        return digest.of_tree((self.params, self.batch_stats))

    @functools.cached_property
    def _model(self) -> PoseModel:
        return check_config.model_of(self.config)

    @functools.cached_property
    def _perceptual(self) -> perceptual.Perceptual:
        return _perceptual_of(self.config)

    @functools.cached_property
    def shared(self) -> inner_loop.Shared:
        """What personalization starts from. Raises ValueError for a model without a task for it."""
        objective = check_config.adapting_objective(self.config, self._model)
        if objective is None:
            raise ValueError(
                f'a model of variant {self.config.model.variant!r} has no task of its own to learn '
                "from without labels; expected another objective, load(..., objective='followed')"
            )
        trainable, frozen = partition.split(
            self.params, frozen=self.config.personalize.frozen or objective.frozen
        )
        return inner_loop.Shared(
            trainable, frozen, self.batch_stats, self.loss_means, self._perceptual.weights
        )

    def runner(self, mode: str) -> many_people.Runner:
        """The compiled pieces of personalization for a schedule."""
        return _runner(self.config.to_json(), mode)

    def _keypoints(self, adapted: many_people.Adapted, where: cut_out.Placement) -> Keypoints:
        joints = where.to_video(adapted.joints).astype(np.float32)
        return Keypoints(joints, adapted.scores, self.joints, adapted.losses)


def load(
    path: str | pathlib.Path, *, flip_test: bool = True, follow: bool = False, objective: str = ''
) -> Estimator:
    """The model of a workdir, or of a file that `ttp_jax.files.pack` made.

    flip_test: whether to predict from the mean over an image and its mirror image. follow: whether
    frames are those of a video, one after the other, through which joints are to be followed.
    objective: what people are adapted by; '': what the model's own run used, with its steps.

    Raises ValueError, naming the path, where there is none, or it was made by another model.
    """
    config = defaults.completed(flat(checkpoint.config_beside(str(path))))
    config = defaults.adapted_by(config, objective)
    config.personalize.update(flip_test=flip_test, follow=follow)
    state = checkpoint.load_model(str(path), _first_state(config))
    return Estimator(config, state.params, state.batch_stats, state.loss_means)


def _first_state(config: ConfigDict) -> train.TrainState:
    return train.create_state(
        jax.random.key(0),
        model=check_config.model_of(config),
        tx=train.optimizer(learning_rate=0.0, steps=1),
        perceptual=_perceptual_of(config),
        size=config.crop.size,
    )


def _perceptual_of(config: ConfigDict) -> perceptual.Perceptual:
    kind = config.perceptual
    return perceptual.load(kind.kind, seed=kind.seed, weights=kind.weights or None)


@functools.lru_cache(maxsize=8)
def _runner(config_json: str, mode: str) -> many_people.Runner:
    """The compiled pieces, which personal estimators share with their base."""
    config = ConfigDict(json.loads(config_json))
    lowering = layers.suited_lowering('joint', platform=jax.local_devices()[0].platform)
    how = method.of(
        config,
        mode,
        perceptual=_perceptual_of(config)._replace(lowering=lowering),
        lowering=lowering,
        spec=check_config.crop_spec(config)._replace(subtract_one=False),
    )
    return many_people.make_runner(how, devices=jax.local_devices()[:1])


def _prepared(
    frames: Sequence[np.ndarray], boxes, *, side: int
) -> tuple[Clip, cut_out.Placement, Chunk]:
    """The part of the frames that crops can touch as a clip, where that lies, and a chunk of it."""
    if not len(frames):
        raise ValueError('no frames, expected at least one')
    size = np.shape(frames[0])[:2]
    for index in range(len(frames)):
        image = np.asarray(frames[index])
        if image.dtype != np.uint8 or image.shape != (*size, 3):
            raise ValueError(
                f'frame {index} is {image.dtype} {image.shape}, expected uint8 {(*size, 3)}'
            )
    track = tracks.whole_frame(len(frames), size)
    if boxes is not None:
        boxes = np.asarray(boxes, np.float32)
        if boxes.shape not in ((4,), (len(frames), 4)):
            raise ValueError(f'boxes have shape {boxes.shape}, expected {(len(frames), 4)} or (4,)')
        track = dataclasses.replace(track, boxes=np.broadcast_to(boxes, (len(frames), 4)))
        tracks.check(track, size)
    where = cut_out.place(track, size=size, side=side)
    parts = np.stack([where.cut(np.asarray(image)) for image in frames])
    chunk = Chunk((0,), _up(len(parts), _FRAMES), padded(parts.shape[1:3]))
    return Clip('person', parts, where.boxes(track.boxes)), where, chunk


def padded(size: Sequence[int]) -> tuple[int, int]:
    """(height, width) that frames are padded to, so that few sizes are compiled."""
    return _up(size[0], _PIXELS), _up(size[1], _PIXELS)


def _up(value: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-value // step) * step
