"""Joints followed through a clip, and who learns from where they were."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from test_personalize import FRAMES, SEGMENT, shared  # noqa: F401  # the fixture

from ttp_jax.data import skeletons
from ttp_jax.objectives import registry
from ttp_jax.personalize import chunks, follow, inner_loop, many_people, partition

BOX = np.array([0.0, 0, 99, 99])


def drawn(frames, joints, peaks, seed=0):
    """Peaks anywhere in the box with heights in order, and boxes."""
    rng = np.random.default_rng(seed)
    heights = -np.sort(-rng.uniform(0.01, 1, (frames, joints, peaks)), axis=-1)
    return rng.uniform(0, 100, (frames, joints, peaks, 2)), heights, np.tile(BOX, (frames, 1))


def worth(points, heights, path):
    """What one joint's path is worth, written out."""
    total = sum(np.log(max(heights[t, k], follow.LOWEST)) for t, k in enumerate(path))
    for t in range(1, len(path)):
        apart = np.linalg.norm(points[t, path[t]] - points[t - 1, path[t - 1]])
        total -= follow.PER_SIDE * min(apart / 100, follow.FURTHEST)
    return total


def test_left_and_right_take_the_best_of_all_pairs_of_paths():
    points, heights, boxes = drawn(4, 3, 2)
    points[1, 2] = points[1, 1] + 1  # left and right at one place
    paths = follow.path_of(points, heights, boxes, mirror=(0, 2, 1))
    np.testing.assert_array_equal(paths[:, 0], follow.path_of(points, heights, boxes)[:, 0])

    def of_both(path):
        total = sum(worth(points[:, j], heights[:, j], p) for j, p in zip((1, 2), path))
        for t, (left, right) in enumerate(zip(*path)):
            gap = np.linalg.norm(points[t, 1, left] - points[t, 2, right]) / 100
            total -= follow.TOGETHER * (gap < follow.CLOSE)
        return total

    every = itertools.product(itertools.product(range(2), repeat=4), repeat=2)
    np.testing.assert_array_equal(paths[:, 1:].T, max(every, key=of_both))


@pytest.mark.parametrize('past_alone', [False, True])
def test_left_and_right_are_not_one_place_where_either_may_be_at_another(past_alone):
    """Both heatmaps are higher at the same ankle, the left one's less so."""
    points = np.tile([[20.0, 90.0], [60.0, 90.0]], (5, 2, 1, 1))
    heights = np.tile([[0.5, 0.4], [0.6, 0.3]], (5, 1, 1))
    boxes = np.tile(BOX, (5, 1))
    how = dict(past_alone=past_alone)
    assert not follow.path_of(points, heights, boxes, **how).any()
    paths = follow.path_of(points, heights, boxes, mirror=(1, 0), **how)
    np.testing.assert_array_equal(paths, np.tile([1, 0], (5, 1)))
    heights[..., 1] = 0.1  # as seen from the side: both really are there
    assert not follow.path_of(points, heights, boxes, mirror=(1, 0), **how).any()


def test_the_path_is_the_best_of_all_paths():
    points, heights, boxes = drawn(5, 3, 3)
    paths = follow.path_of(points, heights, boxes)
    for j in range(3):
        every = itertools.product(range(3), repeat=5)
        best = max(every, key=lambda path, j=j: worth(points[:, j], heights[:, j], path))
        np.testing.assert_array_equal(paths[:, j], best)


def test_a_joint_that_jumps_away_for_a_frame_stays_where_it_was():
    points = np.zeros((7, 1, 2, 2)) + [[10.0, 10], [80, 80]]
    heights = np.tile([0.6, 0.5], (7, 1, 1))
    points[3, 0] = points[3, 0, ::-1]  # there the other one is a little higher
    joints, scores = follow.chosen(points, heights, np.tile(BOX, (7, 1)))
    np.testing.assert_array_equal(joints[:, 0], np.tile([10.0, 10], (7, 1)))
    np.testing.assert_array_equal(scores[:, 0], [0.6] * 3 + [0.5] + [0.6] * 3)


def test_with_the_past_alone_nothing_depends_on_what_comes():
    points, heights, boxes = drawn(8, 3, 4)
    whole = follow.path_of(points, heights, boxes, past_alone=True)
    for t in range(8):
        so_far = (points[: t + 1], heights[: t + 1], boxes[: t + 1])
        np.testing.assert_array_equal(whole[t], follow.path_of(*so_far)[-1])
    assert (whole != follow.path_of(points, heights, boxes)).any()


def test_the_size_of_the_person_does_not_matter():
    points, heights, boxes = drawn(9, 2, 4)
    larger = boxes * 3 + np.array([0, 0, 2, 2])  # corners are pixels: a side of 100 becomes 300
    np.testing.assert_array_equal(
        follow.path_of(points, heights, boxes), follow.path_of(3 * points, heights, larger)
    )


def test_a_single_frame_and_a_lone_peak_give_what_is_highest():
    points, heights, boxes = drawn(1, 4, 3)
    joints, scores = follow.chosen(points, heights, boxes)
    np.testing.assert_array_equal(joints, points[:, :, 0])
    np.testing.assert_array_equal(scores, heights[:, :, 0])
    points, heights, boxes = drawn(6, 4, 3)
    heights[:, :, 1:] = -np.inf
    np.testing.assert_array_equal(follow.chosen(points, heights, boxes)[0], points[:, :, 0])


def test_nothing_is_followed_through_nan():
    points, heights, boxes = drawn(4, 2, 3)
    heights[2, 1, 0] = np.nan
    _, scores = follow.chosen(points, heights, boxes)
    assert np.isnan(scores).sum() == 1


def test_labels_weigh_alike_however_sure_the_teacher_is():
    """An ankle that looks like the other has a low heatmap, and is to be learned all the same."""
    joints, scores = np.full((2, 3, 2), 7.0), np.array([[0.9, 0.3, 0.0], [0.5, -0.1, 1e-12]])
    found = follow.labels(joints, scores)
    np.testing.assert_array_equal(found[..., :2], joints)
    np.testing.assert_array_equal(found[..., 2], 1)


def test_labels_of_a_broken_teacher_are_noticed():
    scores = np.ones((4, 3))
    scores[2, 1] = np.nan
    weights = follow.labels(np.zeros((4, 3, 2)), scores)[..., 2]
    np.testing.assert_array_equal(np.isnan(weights), np.isnan(scores))


def taught(setup):
    """The setup with people who learn from what is followed."""
    objective = registry.OBJECTIVES['followed']
    trainable, frozen = partition.split(setup.state.params, frozen=objective.frozen)
    method = setup.method._replace(objective=objective, mirror=skeletons.PENN_ACTION.mirror)
    return setup._replace(
        shared=setup.shared._replace(trainable=trainable, frozen=frozen), method=method
    )


def run(setup, clips, *, people_per_chunk, peaks=0, schedule='offline'):
    """(the runner, everyone's results)."""
    runner = many_people.make_runner(
        setup.method._replace(peaks=peaks, schedule=schedule),
        devices=jax.local_devices()[:people_per_chunk],
        segment=SEGMENT,
    )
    bucket = chunks.Bucket(tuple(range(len(clips))), FRAMES, (48, 48), people_per_chunk)
    return runner, dict(
        many_people.personalize_people(
            clips, chunks.chunks(bucket), runner=runner, shared=setup.shared, seed=0
        )
    )


@pytest.fixture(scope='module')
def both(shared, tiny_clips):  # noqa: F811
    """(the setup, two people's results, made together and one by one)."""
    setup, clips = taught(shared), [tiny_clips[0], shortened(tiny_clips[3], 4)]
    together = run(setup, clips, people_per_chunk=2, peaks=follow.PEAKS)[1]
    return setup, together, run(setup, clips, people_per_chunk=1, peaks=follow.PEAKS)[1]


def shortened(clip, frames):
    """The clip's first frames."""
    return dataclasses.replace(clip, frames=clip.frames[:frames], boxes=clip.boxes[:frames])


def test_who_else_is_there_and_how_long_they_are_does_not_matter(both):
    _, together, one_by_one = both
    assert [len(together[index].joints) for index in (0, 1)] == [6, 4]
    for index in together:
        np.testing.assert_allclose(
            together[index].losses, one_by_one[index].losses, rtol=1e-3, atol=1e-6
        )
        assert np.isfinite(together[index].joints).all()


def test_online_a_prediction_follows_from_the_past_alone(shared, tiny_clips):  # noqa: F811
    clip = tiny_clips[0]
    frames = np.array(clip.frames)
    frames[4:] = 255 - frames[4:]
    setup, other = taught(shared), dataclasses.replace(clip, frames=frames)
    (usual,), (changed,) = (
        run(setup, [c], people_per_chunk=1, peaks=follow.PEAKS, schedule='online')[1].values()
        for c in (clip, other)
    )
    np.testing.assert_array_equal(usual.joints[:4], changed.joints[:4])
    # So small a network's joints may stay where they are, whatever it sees; heights do not.
    for mine, theirs in ((usual.scores, changed.scores), (usual.losses, changed.losses)):
        np.testing.assert_array_equal(mine[:4], theirs[:4])
        assert (mine[4:] != theirs[4:]).any()


def test_people_learn_what_the_shared_weights_saw_and_nothing_else(both, tiny_clips):
    """The labels are the shared network's careful predictions, followed; the loss falls."""
    setup, together, _ = both
    clip = tiny_clips[0]
    runner, _ = run(setup, [], people_per_chunk=1)
    batch = chunks.stack_people([clip], frames=FRAMES, size=(48, 48))
    parts = chunks.segments(FRAMES, SEGMENT)
    chunk = chunks.Chunk((0,), FRAMES, (48, 48))
    person = many_people._taught(
        [clip], chunk, runner.spread(batch), parts, runner=runner, shared=setup.shared
    )
    n = len(clip.frames)
    seen = inner_loop.predict_frames(
        setup.state.params,
        setup.state.batch_stats,
        jax.tree.map(lambda x: np.asarray(x[0]), batch),
        np.arange(n),
        model=setup.method.model,
        spec=setup.method.spec,
        **many_people.careful(setup.method),
    )
    peaks = jax.tree.map(np.asarray, seen.peaks)
    expected = follow.chosen(*peaks, np.asarray(clip.boxes), mirror=setup.method.mirror)
    np.testing.assert_allclose(person.taught[0, :n], follow.labels(*expected), atol=1e-3)
    np.testing.assert_array_equal(person.taught[0, n:], 0)
    losses = together[0].losses[np.isfinite(together[0].losses)]
    assert losses[-3:].mean() < losses[:3].mean()


def test_without_a_teacher_there_is_an_error_that_says_so(shared, tiny_clips):  # noqa: F811
    setup = taught(shared)
    loop = inner_loop.one_person(setup.method)
    batch = chunks.stack_people(tiny_clips[:1], frames=FRAMES, size=(48, 48))
    person = jax.tree.map(lambda x: np.asarray(x[0]), batch)
    progress = jax.eval_shape(loop.start, setup.shared, person)
    with pytest.raises(ValueError, match='followed.*found none'):
        jax.eval_shape(loop.learn, progress, setup.shared, person, jax.random.key(0), np.arange(3))
