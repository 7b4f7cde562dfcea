"""Clips: what is refused, and how many of them become one bank."""

import dataclasses

import numpy as np
import pytest

from ttp_jax.data import clips


def make_clip(
    length=3, height=6, width=8, *, seed=0, joints=None, visibility=None, **changes
) -> clips.Clip:
    rng = np.random.default_rng(seed)
    frames = rng.integers(1, 256, (length, height, width, 3), dtype=np.uint8)
    drawn = rng.uniform(0, 8, (length, 13, 2)).astype(np.float32)
    joints = drawn if joints is None else joints
    visibility = np.ones((length, 13), np.float32) if visibility is None else visibility
    clip = clips.Clip(
        id='0042',
        frames=frames,
        boxes=np.tile(np.float32([1, 1, 5, 4]), (length, 1)),
        labels=clips.Labels(joints, visibility),
    )
    return dataclasses.replace(clip, **changes)


def check(clip):
    """What is checked of a clip before anything else is decoded."""
    assert clips.fit_in([clip], gib=1)


def test_one_pixel_box_is_valid():
    check(make_clip(boxes=np.full((3, 4), 2, np.float32)))


def test_a_clip_needs_no_labels():
    check(make_clip(labels=None))


def test_a_visibility_may_be_a_weight():
    check(make_clip(visibility=np.full((3, 13), 0.5)))


def test_clips_without_labels_join_others_with_joints_that_nobody_sees():
    bank = clips.stack_clips([make_clip(labels=None), make_clip(2)])
    assert bank.joints.shape == (5, 13, 2)
    assert not bank.visibility[:3].any() and bank.visibility[3:].all()
    with pytest.raises(ValueError, match='none of 1 clips has labels'):
        clips.stack_clips([make_clip(labels=None)])


@pytest.mark.parametrize(
    'name', ['../up', 'a/b', '', '.hidden', '-rf', 'line\nbreak', 'nul\0', 'a' * 201, 'back\\slash']
)
def test_an_id_that_is_not_a_file_name_is_refused(name):
    with pytest.raises(ValueError, match='clip id .*: expected letters, digits') as error:
        clips.check_ids([make_clip(id=name)])
    assert '\n' not in str(error.value)


def test_ids_are_unique():
    clips.check_ids([make_clip(id='0042'), make_clip(id='S9_Walking 1.60457274')])
    with pytest.raises(ValueError, match="clip id '0042': found twice"):
        clips.check_ids([make_clip(), make_clip()])


NAN = np.full((3, 13, 2), np.nan, np.float32)


@pytest.mark.parametrize(
    ('clip', 'message'),
    [
        (make_clip(length=1), r'found 1 frame\(s\), expected at least 2'),
        (make_clip(joints=np.zeros((2, 13, 2))), r'joints have shape \(2, 13, 2\), expected \(3'),
        (make_clip(joints=np.zeros((3, 13))), r'joints have shape \(3, 13\), expected \(3, '),
        (make_clip(visibility=np.ones((3, 12))), r'visibility have shape \(3, 12\)'),
        (make_clip(boxes=np.zeros((3, 2))), r'boxes have shape \(3, 2\), expected \(3, 4\)'),
        (make_clip(joints=NAN), 'joints of frame 0 are not finite'),
        (make_clip(visibility=np.full((3, 13), 1.5)), r'values outside of 0 \.\.\. 1'),
        (make_clip(boxes=np.float32([[1, 1, 5, 4]] * 2 + [[5, 1, 1, 4]])), 'box of frame 2'),
        (make_clip(frames=np.zeros((3, 6, 8, 3), np.float32)), 'frame 0 is float32'),
        (make_clip(frames=np.zeros((3, 6, 8), np.uint8)), r'frame 0 is uint8 \(6, 8\)'),
    ],
)
def test_bad_clip_is_named_in_one_line(clip, message):
    with pytest.raises(ValueError, match=message) as error:
        check(clip)
    assert 'clip 0042' in str(error.value) and '\n' not in str(error.value)


def test_validation_decodes_only_the_first_frame():
    class Frames(list):
        def __getitem__(self, index):
            assert index == 0
            return super().__getitem__(index)

    check(make_clip(frames=Frames(make_clip().frames)))


def test_stack_clip_refuses_frames_of_different_sizes():
    frames = list(make_clip(length=2).frames) + [np.zeros((5, 8, 3), np.uint8)]
    with pytest.raises(ValueError, match=r'clip 0042: frame 2 has shape \(5, 8, 3\)'):
        clips.stack_clip(make_clip(frames=frames))


def test_bank_holds_every_frame_where_its_clip_starts():
    parts = [make_clip(3, 6, 8), make_clip(2, 9, 4, seed=1), make_clip(4, 6, 8, seed=2)]
    bank = clips.stack_clips(parts)
    assert bank.frames.shape == (9, 9, 8, 3) and bank.frames.dtype == np.uint8
    np.testing.assert_array_equal(bank.clip_start, [0, 0, 0, 3, 3, 5, 5, 5, 5])
    np.testing.assert_array_equal(bank.clip_length, [3, 3, 3, 2, 2, 4, 4, 4, 4])
    for clip, start in zip(parts, (0, 3, 5), strict=True):
        for index in range(len(clip.frames)):
            row = start + index
            height, width = bank.sizes[row]
            np.testing.assert_array_equal(bank.frames[row, :height, :width], clip.frames[index])
            np.testing.assert_array_equal(bank.joints[row], clip.labels.joints[index])
            np.testing.assert_array_equal(bank.visibility[row], clip.labels.visibility[index])
            np.testing.assert_array_equal(bank.boxes[row], clip.boxes[index])


class Counted(list):
    """Frames that know how often each of them was decoded."""

    def __init__(self, frames):
        super().__init__(frames)
        self.decoded = [0] * len(frames)

    def __getitem__(self, index):
        self.decoded[index] += 1
        return super().__getitem__(index)


def test_every_frame_is_decoded_once():
    parts = [make_clip(frames=Counted(make_clip().frames)) for _ in range(2)]
    clips.stack_clips(parts)
    assert [clip.frames.decoded for clip in parts] == [[1, 1, 1]] * 2
    clips.decoded(parts[0])
    assert parts[0].frames.decoded == [2, 2, 2]


def test_clips_fit_in_what_their_bank_takes():
    parts = [make_clip(3, 6, 8), make_clip(2, 9, 4, frames=Counted(make_clip(2, 9, 4).frames))]
    gib = clips.stack_clips(parts).frames.nbytes / 2**30
    assert clips.fit_in(parts, gib=gib) and not clips.fit_in(parts, gib=0.999 * gib)
    assert parts[1].frames.decoded == [3, 1]
    with pytest.raises(ValueError, match='clip 0042: found 1 frame'):
        clips.fit_in([make_clip(), make_clip(length=1)], gib=0.0)


def test_bank_is_padded_with_zeros():
    bank = clips.stack_clips([make_clip(3, 6, 8), make_clip(2, 9, 4)])
    assert not bank.frames[:3, 6:].any() and not bank.frames[3:, :, 4:].any()


def test_bank_checks_its_clips():
    with pytest.raises(ValueError, match='clip 0042: found 1 frame'):
        clips.stack_clips([make_clip(), make_clip(length=1)])
    with pytest.raises(ValueError, match='no clips'):
        clips.stack_clips([])
    other = make_clip(id='0043', joints=np.zeros((3, 7, 2)), visibility=np.ones((3, 7)))
    with pytest.raises(ValueError, match='clip 0043: has 7 joints, expected the 13 of clip 0042'):
        clips.stack_clips([make_clip(), other])
