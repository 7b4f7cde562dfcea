"""Boxes from files become tracks that can be cropped, and crops lie where the boxes say."""

import json
import types

import numpy as np
import pytest
import video_files

from ttp_jax.data import clips, video
from ttp_jax.data.people import box_files, cut_out, cuts, detect, footage, tracks


def track(frames, boxes=None, person='1'):
    boxes = [(10 + f, 20, 30 + f, 60) for f in frames] if boxes is None else boxes
    return tracks.Track(person, np.array(frames), np.array(boxes, np.float32))


def prepared(*people, **how):
    how = dict(frames=50, size=(100, 200), smooth=0) | how
    return tracks.prepared(people, **how)


# --- files -------------------------------------------------------------------------------------

CSV = 'frame,person,x1,y1,x2,y2\n0,ann,1,2,11,22\n2,ann,3,2,13,22\n0,bob,5,5,9,9\n1,bob,5,5,9,9\n'
SIZES = 'frame, x, y, width, height\n0,1,2,11,21\n2,3,2,11,21\n'
MOT = '1,7,2,3,11,21,1,-1,-1,-1\n3,7,4,3,11,21,1,-1,-1,-1\n2,7,9,9,9,9,0,-1,-1,-1\n'
COCO = {
    'images': [{'id': 70, 'frame_id': 2}, {'id': 9, 'frame_id': 0}, {'id': 8, 'frame_id': 1}],
    'annotations': [
        {'image_id': 9, 'bbox': [1, 2, 11, 21], 'category_id': 1},
        {'image_id': 70, 'bbox': [3, 2, 11, 21], 'category_id': 1},
        {'image_id': 8, 'bbox': [0, 0, 5, 5], 'category_id': 3},
    ],
}


@pytest.mark.parametrize('text', [CSV, SIZES, MOT, json.dumps(COCO)])
def test_every_kind_of_file_gives_the_same_boxes(tmp_path, text):
    (tmp_path / 'boxes').write_text(text)
    found = box_files.read(tmp_path / 'boxes', videos=['clip'])['clip']
    np.testing.assert_array_equal(found[0].frames, [0, 2])
    np.testing.assert_array_equal(found[0].boxes, [(1, 2, 11, 22), (3, 2, 13, 22)])


def test_people_and_videos_are_told_apart(tmp_path):
    (tmp_path / 'b.csv').write_text(
        'video,frame,person,x1,y1,x2,y2\nu,0,ann,1,2,3,4\nv,0,ann,5,6,7,8\nv,0,bob,5,6,7,8\n'
    )
    found = box_files.read(tmp_path / 'b.csv', videos=['u', 'v'])
    assert {name: [t.person for t in people] for name, people in found.items()} == {
        'u': ['ann'],
        'v': ['ann', 'bob'],
    }


def test_people_and_videos_may_be_called_anything(tmp_path):
    (tmp_path / 'b.csv').write_text(
        'video,frame,person,x1,y1,x2,y2\nmy clip,0,team/3,1,2,3,4\nb,0,#1,5,6,7,8\n'
    )
    found = box_files.read(tmp_path / 'b.csv', videos=['my_clip', 'b'])
    ((first,), (second,)) = found['my_clip'], found['b']
    assert (first.person, second.person) == ('team/3', '#1')
    assert (first.id, second.id) == ('team_3', '1')
    clips.check_ids([clips.Clip(each.id, (), each.boxes) for each in (first, second)])


def test_detections_are_linked_by_overlap(tmp_path):
    def detection(frame, x):
        return {'image_id': frame, 'bbox': [x, 0, 20, 40], 'score': 0.9}

    crossing = [detection(f, 10 + 2 * f) for f in range(9)]
    standing = [detection(f, 100) for f in range(5)]
    unsure = [detection(3, 150) | {'score': 0.1}]
    (tmp_path / 'b.json').write_text(json.dumps(standing + crossing + unsure))
    found = box_files.read(tmp_path / 'b.json', videos=['v'])['v']
    assert [len(t.frames) for t in found] == [9, 5]
    np.testing.assert_array_equal(found[0].boxes[:, 0], 10 + 2 * np.arange(9))


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'empty'),
        ('frame,person,left\n1,1,2\n', "no column 'x1'|no column 'x'"),
        (CSV + '3,ann,1,2,x,4\n', "line 6: x2 is 'x', expected a number"),
        (CSV + '2,ann,1,2,3,4\n', 'person ann: found two boxes in frame 2'),
        ('1,2,3\n', 'line 1 has 3 values'),
        ('{"images": []}', 'not COCO detections'),
        ('[{"image_id": 1}]', 'not COCO detections'),
        ('[]', 'holds no person'),
        ('video,frame,x1,y1,x2,y2\nw,0,1,2,3,4\n', "a video 'w', expected v"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    (tmp_path / 'b.txt').write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        box_files.read(tmp_path / 'b.txt', videos=['v'])
    assert 'b.txt' in str(caught.value) and '\n' not in str(caught.value)


def test_boxes_of_no_video_in_particular(tmp_path):
    (tmp_path / 'b.csv').write_text(CSV)
    with pytest.raises(ValueError, match='of which of 2 videos'):
        box_files.read(tmp_path / 'b.csv', videos=['u', 'v'])


# --- tracks ------------------------------------------------------------------------------------


def test_short_gaps_are_filled_and_long_ones_break_the_track():
    first, second = prepared(track([0, 1, 4, 5, 30, 31]), longest_gap=5)
    assert first.frames.tolist() == [0, 1, 2, 3, 4, 5] and second.frames.tolist() == [30, 31]
    np.testing.assert_allclose(first.boxes[:, 0], 10 + np.arange(6))
    assert (first.id, second.id) == ('1', '1.2')


def test_tracks_are_broken_at_cuts_and_long_ones_divided():
    parts = prepared(track(range(10)), cuts={4})
    assert [t.frames.tolist() for t in parts] == [list(range(4)), list(range(4, 10))]
    assert [len(t.frames) for t in prepared(track(range(10)), longest=4)] == [4, 3, 3]


def test_smoothing_takes_noise_out_of_boxes_and_keeps_their_place():
    rng = np.random.default_rng(0)
    truth = np.stack([[20 + t, 20, 60 + t, 80] for t in range(40)])
    noisy = truth + rng.normal(0, 3, truth.shape)
    (smooth,) = prepared(track(range(40), noisy), smooth=2)
    assert np.abs(smooth.boxes - truth)[5:-5].mean() < 0.6 * np.abs(noisy - truth).mean()


@pytest.mark.parametrize(
    'box, message',
    [
        ((500, 2, 510, 4), r'person 1: the box of frame 1 is \[500, 2, 510, 4\], expected a part'),
        ((30, 2, 10, 4), 'expected x1 <= x2'),
        ((np.nan, 2, 10, 4), 'expected finite numbers'),
    ],
)
def test_a_box_that_cannot_be_cropped_is_named(box, message):
    with pytest.raises(ValueError, match=message):
        prepared(track([0, 1], [(1, 2, 3, 4), box]))


def test_people_seen_once_are_left_out_and_nobody_is_an_error():
    assert [t.person for t in prepared(track([3], person='a'), track([1, 2], person='b'))] == ['b']
    with pytest.raises(ValueError, match='none of 1 people is seen in two frames of the 4'):
        prepared(track([3, 9]), frames=4)


# --- cuts and crops ----------------------------------------------------------------------------


def test_a_cut_is_found_and_movement_is_none():
    first, second = video_files.moving_square(8), 255 - video_files.moving_square(8)
    detector = cuts.CutDetector()
    assert [detector.begins_shot(image) for image in [*first, *second]] == [
        t == 8 for t in range(16)
    ]


@pytest.mark.parametrize('side', [1000, 16])
def test_a_persons_clip_shows_what_their_boxes_enclose(tmp_path, side):
    frames = video_files.moving_square(12, (120, 160))
    (film,) = video.open_videos(video_files.encode(tmp_path / 'v.mp4', frames))
    square = track(range(2, 12), [(3 * t, 10, 3 * t + 15, 25) for t in range(2, 12)])
    (clip,) = cut_out.cut_out(film, [square], film.frames(), file=tmp_path / 'jpegs', side=side)
    clip = clips.decoded(clip)
    assert clip.frames[0].size < frames[0].size  # only the part around the boxes
    np.testing.assert_allclose(clip.times, np.arange(2, 12) / 10, atol=1e-6)
    for image, box in zip(clip.frames, clip.boxes, strict=True):
        x1, y1, x2, y2 = np.round(box).astype(int)
        inside = image[y1 + 1 : y2, x1 + 1 : x2].astype(float)
        assert np.abs(inside - (220, 140, 60)).mean() < 14
    corners = square.boxes[:, :2]
    np.testing.assert_allclose(clip.place.to_video(clip.place.to_clip(corners)), corners, atol=1e-4)


def test_large_people_are_reduced_to_what_a_crop_needs():
    large = track([0, 1], [(100, 100, 899, 899)] * 2)
    where = cut_out.place(large, size=(1080, 1920), side=128)
    np.testing.assert_allclose(1.25 * 800 * where.scale, 128, rtol=0.01)


# --- whole videos ------------------------------------------------------------------------------


def two_shots(tmp_path):
    first, second = video_files.moving_square(8), 255 - video_files.moving_square(8)
    return video_files.encode(tmp_path / 'v.mp4', np.concatenate([first, second]))


def test_people_of_a_video_are_broken_at_its_cuts(tmp_path):
    path = two_shots(tmp_path)
    rows = ''.join(f'{f},ann,3,5,40,45\n' for f in range(1, 16))
    (tmp_path / 'b.csv').write_text('frame,person,x1,y1,x2,y2\n' + rows)
    people = footage.people(str(path), str(tmp_path / 'b.csv'), folder=tmp_path / 'cut')
    assert [(p.id, len(p.frames)) for p in people] == [('v-ann', 7), ('v-ann.2', 8)]


def test_without_boxes_the_whole_frame_is_the_person(tmp_path, caplog):
    (clip,) = footage.people(str(two_shots(tmp_path)), folder=tmp_path / 'cut', seconds=0.5)
    assert (clip.id, len(clip.frames)) == ('v-1', 5)
    np.testing.assert_allclose(clip.track.boxes[0], [0, 0, 63, 47])


@pytest.mark.parametrize(
    'path, boxes, message',
    [('no.mp4', '', 'no such file'), ('v.mp4', 'no.csv', r'no\.csv: no such file')],
)
def test_missing_files_are_named_at_once(tmp_path, path, boxes, message):
    two_shots(tmp_path)
    with pytest.raises(ValueError, match=message):
        footage.check(str(tmp_path / path), boxes and str(tmp_path / boxes))


# --- somebody found ----------------------------------------------------------------------------


class Landmarks:
    """What mediapipe's pose gives of one picture: points in parts of it."""

    def __init__(self, points):
        self.landmark = [types.SimpleNamespace(x=x, y=y) for x, y in points]


class FakePose:
    """Sees somebody in all frames but the second, at a fixed place."""

    def __init__(self):
        self.seen, self.resets = 0, 0

    def reset(self):
        self.resets += 1

    def process(self, image):
        self.seen += 1
        there = None if self.seen == 2 else Landmarks([(0.25, 0.25), (0.5, 0.75), (0.4, 0.5)])
        return types.SimpleNamespace(pose_landmarks=there)


def test_a_found_box_holds_the_points_with_a_margin_and_tracking_restarts_at_cuts(tmp_path):
    (film,) = video.open_videos(two_shots(tmp_path))
    pose = FakePose()
    found = detect.find(film, pose)
    assert [frame for frame, _ in found] == [t for t in range(16) if t != 1]
    assert pose.resets == 1
    # 24 pixels high in a picture of 64 x 48, so a margin of 2.4
    np.testing.assert_allclose(found[0][1], [13.6, 9.6, 33.4, 37.4])


def test_somebody_outside_of_the_picture_has_no_box():
    assert detect.around([(1.2, 0.5), (1.4, 0.9)], (48, 64)) is None
