"""The data sets as TFDS builders that write ArrayRecord, without TensorFlow.

    python -m ttp_jax.data.prepare penn_action --manual_dir=FOLDER --data_dir=FOLDER

Contract: a builder writes the `Clip`s that the data set's own reader makes of `manual_dir`, as two
configs whose records are in the clips' order:
  frames  one record per frame: the image as it was encoded, its labels, and where its clip is; so
          any two frames of a clip can be read without the others
  clips   one record per clip: all its labels, and where its frames are in `frames`
`prepared` makes clips of them again. Coordinates and boxes are those of the clips.
"""

import abc
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from ttp_jax.data import bbc_pose, human36m, images, penn_action
from ttp_jax.data.clips import SPLITS, Clip, Labels, Unreadable
from ttp_jax.data.skeletons import BBC_POSE, HUMAN36M, PENN_ACTION, Skeleton

CONFIGS = FRAMES, CLIPS = 'frames', 'clips'

Example = dict[str, Any]


class ClipsBuilder(  # type: ignore[call-arg]  # TFDS has no types
    tfds.core.GeneratorBasedBuilder, skip_registration=True
):
    """The base of all builders; each of them adds a reader, joints and a docstring.

    A builder's docstring tells its user which files belong where; TFDS shows it when they are
    missing.
    """

    VERSION = tfds.core.Version('1.0.0')
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=FRAMES, description='One record per frame.'),
        tfds.core.BuilderConfig(name=CLIPS, description="One record per clip: its frames' labels."),
    ]
    HOMEPAGE: str
    SKELETON: Skeleton
    url_infos = None  # nothing is downloaded; TFDS would look for checksums beside this file

    def __init_subclass__(cls, **kwargs):
        cls.MANUAL_DOWNLOAD_INSTRUCTIONS = cls.__doc__
        super().__init_subclass__(**kwargs)

    def __init__(self, *, file_format: str = 'array_record', **kwargs):
        super().__init__(file_format=file_format, **kwargs)

    @abc.abstractmethod
    def read(self, root: pathlib.Path, split: str) -> list[Clip]:
        """The clips of one split in the folder `root`.

        Raises:
          ValueError: for what is missing.
        """

    def _info(self) -> tfds.core.DatasetInfo:
        joints = len(self.SKELETON.joints)
        features = {FRAMES: _frame_features, CLIPS: _clip_features}[self.builder_config.name]
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            homepage=self.HOMEPAGE,
            features=tfds.features.FeaturesDict(features(joints)),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(joints=self.SKELETON.joints),
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator[tuple[int, Example]]]:
        try:
            root = pathlib.Path(dl_manager.manual_dir)
        except AssertionError as error:  # TFDS's own: the folder, and the instructions for it
            raise ValueError(' '.join(str(error).split())) from None
        return {split: self._generate_examples(self.read(root, split)) for split in SPLITS}

    def _generate_examples(self, clips: list[Clip]) -> Iterator[tuple[int, Example]]:
        examples = {FRAMES: frame_examples, CLIPS: clip_examples}[self.builder_config.name]
        return enumerate(examples(clips))

    def _generate_splits(self, dl_manager, download_config) -> list[tfds.core.SplitInfo]:
        # TFDS's own writer collects a split before it writes it, and beyond 1 GB it does so in
        # files that it needs TensorFlow for. Records that come in order can be written at once.
        most = download_config.max_examples_per_split
        return [
            self._write(split, itertools.islice(examples, most))
            for split, examples in self._split_generators(dl_manager).items()
        ]

    def _write(self, split: str, examples: Iterable[tuple[int, Example]]) -> tfds.core.SplitInfo:
        template, sizes = self._get_filename_template(split), []

        def records():
            for key, example in examples:
                record = self.info.features.serialize_example(example)
                sizes.append(len(record))
                yield key, record

        path = template.sharded_filepath(shard_index=0, num_shards=1)
        self._example_writer().write(path, records())
        return tfds.core.SplitInfo(
            name=split, shard_lengths=[len(sizes)], num_bytes=sum(sizes), filename_template=template
        )


def _frame_features(joints: int) -> dict[str, Any]:
    return {
        'image': tfds.features.Image(encoding_format='jpeg'),
        'joints': tfds.features.Tensor(shape=(joints, 2), dtype=np.float32),
        'visibility': tfds.features.Tensor(shape=(joints,), dtype=np.float32),
        'box': tfds.features.Tensor(shape=(4,), dtype=np.float32),
        'clip': tfds.features.Text(),
        'clip_start': np.int64,  # the number of the record of the clip's first frame
        'clip_length': np.int64,
    }


def _clip_features(joints: int) -> dict[str, Any]:
    return {
        'clip': tfds.features.Text(),
        'clip_start': np.int64,  # the number in `frames` of the record of its first frame
        'joints': tfds.features.Tensor(shape=(None, joints, 2), dtype=np.float32),
        'visibility': tfds.features.Tensor(shape=(None, joints), dtype=np.float32),
        'boxes': tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
        # (height, width) that its frames are padded to with zeros; 0, 0: they are not padded.
        'size': tfds.features.Tensor(shape=(2,), dtype=np.int32),
    }


def frame_examples(clips: Iterable[Clip]) -> Iterator[Example]:
    """One example per frame.

    Raises:
      ValueError: for a frame that does not decode, naming it.
    """
    start = 0
    for clip in clips:
        frames, labels = _stored(clip)
        for t in range(len(frames)):
            yield {
                'image': images.check(frames.encoded(t), frames.items[t]),
                'joints': labels.joints[t],
                'visibility': labels.visibility[t],
                'box': clip.boxes[t],
                'clip': clip.id,
                'clip_start': start,
                'clip_length': len(frames),
            }
        start += len(frames)


def clip_examples(clips: Iterable[Clip]) -> Iterator[Example]:
    """One example per clip."""
    start = 0
    for clip in clips:
        frames, labels = _stored(clip)
        yield {
            'clip': clip.id,
            'clip_start': start,
            'joints': labels.joints,
            'visibility': labels.visibility,
            'boxes': clip.boxes,
            'size': np.array(frames.size or (0, 0), np.int32),
        }
        start += len(frames)


def _stored(clip: Clip) -> tuple[images.Frames, Labels]:
    """A clip's frames, still encoded, and its labels; a reader's clips have both."""
    if isinstance(clip.frames, Unreadable):
        raise ValueError(clip.frames.reason)
    assert isinstance(clip.frames, images.Frames) and clip.labels is not None, clip.id
    return clip.frames, clip.labels


class PennAction(ClipsBuilder):
    """Penn Action: 2,326 videos of 15 actions, 13 joints (Zhang, Zhu and Derpanis 2013).

    The manual folder is Penn_Action.tar.gz unpacked: `labels/0001.mat` to `labels/2326.mat`, and
    `frames/0001/000001.jpg` and so on. See `ttp_jax.data.penn_action`.
    """

    HOMEPAGE = 'http://dreamdragon.github.io/PennAction/'
    SKELETON = PENN_ACTION

    def read(self, root: pathlib.Path, split: str) -> list[Clip]:
        """As `penn_action_clips`."""
        return penn_action.penn_action_clips(root, split=split)


class Human36m(ClipsBuilder):
    """Human3.6M: two test subjects, five to train on, 16 joints (Ionescu et al. 2014).

    The manual folder holds `HM36Vid_trainfull_all_cache` and `HM36Vid_validfull_all_cache`, each
    with its `HM36Vid_..._all_w128xh128_keypoint_db_sample-1.pkl`, and beside them the `images` that
    these labels name. See `ttp_jax.data.human36m` for what is in a label file.
    """

    HOMEPAGE = 'http://vision.imar.ro/human3.6m/'
    SKELETON = HUMAN36M

    def read(self, root: pathlib.Path, split: str) -> list[Clip]:
        """As `human36m_clips`."""
        return human36m.human36m_clips(root, split=split)


class BbcPose(ClipsBuilder):
    """BBC Pose: 20 videos of sign language interpreters, 7 joints (Charles et al. 2013).

    The manual folder holds `bbcpose.mat` and the folders `1` to `20` of the videos' frames,
    `1/1.jpg` and so on. See `ttp_jax.data.bbc_pose`.
    """

    HOMEPAGE = 'https://www.robots.ox.ac.uk/~vgg/data/pose/'
    SKELETON = BBC_POSE

    def read(self, root: pathlib.Path, split: str) -> list[Clip]:
        """As `bbc_pose_clips`."""
        return bbc_pose.bbc_pose_clips(root, split=split)


BUILDERS = {builder.name: builder for builder in (PennAction, Human36m, BbcPose)}


def create(name: str, config: str, data_dir: str | os.PathLike) -> ClipsBuilder:
    """The builder of the data set `name`.

    Raises:
      ValueError: for an unknown name.
    """
    if name not in BUILDERS:
        raise ValueError(f'no data set {name!r}; known: {", ".join(BUILDERS)}')
    return BUILDERS[name](config=config, data_dir=pathlib.Path(data_dir).absolute())
