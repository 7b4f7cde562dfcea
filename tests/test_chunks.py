"""Who is adapted side by side, and who works for whom."""

import dataclasses
import threading
import types

import jax
import numpy as np
import pytest

from ttp_jax.data import clips, pairs
from ttp_jax.personalize import capacity, chunks, many_people, placement

GIB = 2**30


def blank(index, frames=4, height=40, width=48):
    shape = (frames, height, width, 3)
    return clips.Clip(
        f'p{index}', np.zeros(shape, np.uint8), np.tile([2.0, 2, 30, 30], (frames, 1))
    )


@pytest.mark.parametrize(
    ('people', 'most', 'devices', 'expected'),
    [(10, 5, 4, 4), (5, 2, 1, 2), (5, 2, 2, 2), (5, 4, 1, 3), (1, 8, 1, 1), (12, 2, 2, 2)],
)
def test_chunks_hold_no_more_people_than_they_may(people, most, devices, expected):
    together = chunks.people_together(people, most=most, devices=devices)
    assert together == expected <= most and together % devices == 0


def test_everyone_is_in_one_chunk_once_and_chunks_are_of_one_size():
    (bucket,) = chunks.buckets([5, 9, 7, 7, 2], [(40, 48)] * 5)
    rows = chunks.chunks(bucket._replace(together=2))
    assert [row.members for row in rows] == [(1, 2), (3, 0), (4, 4)]
    assert {(row.frames, row.size) for row in rows} == {(9, (40, 48))}


def test_who_is_done_does_not_change_the_shape_of_the_others():
    (bucket,) = chunks.buckets([5, 9, 7, 7, 2], [(40, 48)] * 5)
    rows = chunks.chunks(bucket._replace(together=2), done={1, 2, 3, 0})
    assert rows == [chunks.Chunk((4, 4), 9, (40, 48))]


def test_one_long_clip_and_one_large_one_inflate_nobody_else():
    groups = chunks.buckets([24, 30, 663, 28], [(100, 120), (120, 100), (100, 120), (1080, 1920)])
    shapes = {group.members: (group.frames, group.size) for group in groups}
    assert shapes == {(2,): (663, (100, 120)), (1, 0): (30, (120, 120)), (3,): (28, (1080, 1920))}


def test_segments_cover_every_frame_in_order():
    parts = chunks.segments(10, 4)
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(12))
    assert {len(part) for part in parts} == {4}


def test_hosts_share_people_out_by_frames_and_agree():
    lengths = [100, 10, 10, 10, 10, 60, 50]
    shares = placement.share_out(lengths, 3)
    assert sorted(index for share in shares for index in share) == list(range(7))
    loads = [sum(lengths[i] for i in share) for share in shares]
    assert max(loads) == 100 and min(loads) >= 70
    assert placement.share_out(lengths, 1) == [list(range(7))]


def test_a_placement_with_a_number_of_people_does_not_depend_on_free_memory(monkeypatch):
    people = [blank(index) for index in range(5)]
    place = lambda free: (
        monkeypatch.setattr(placement.capacity, 'free_bytes', lambda: free),
        placement.place(people, needs=capacity.Needs(GIB), people_per_chunk=2),
    )[1]
    assert place(100 * GIB) == place(2 * GIB)
    assert place(GIB).record()['people_per_chunk'] == 2


def test_memory_decides_where_nobody_says_how_many(monkeypatch):
    people = [blank(index) for index in range(5)]
    monkeypatch.setattr(placement.capacity, 'free_bytes', lambda: 3 * GIB)
    found = placement.place(people, needs=capacity.Needs(GIB))
    assert found.record()['people_per_chunk'] == len(found.devices) == 2
    assert found.lowering == 'blocked' == found.features_lowering  # everyone a core to themselves
    monkeypatch.setattr(placement.capacity, 'free_bytes', lambda: 0)
    assert placement.place(people, needs=capacity.Needs(GIB)).devices == tuple(
        jax.local_devices()[:1]
    )


def test_a_recorded_placement_can_be_repeated():
    people = [blank(0), blank(1), dataclasses.replace(blank(2, frames=90))]
    first = placement.place(people, needs=capacity.Needs(1))
    record = first.record()
    again = placement.place(
        people,
        needs=capacity.Needs(1),
        people_per_chunk=record['people_per_chunk'],
        lowering=record['lowering'],
    )
    assert again == first


def test_how_people_are_computed_follows_the_devices_and_who_shares_them():
    private = lambda people, devices, platform: placement.private_lowering(
        people, devices=devices, platform=platform
    )
    assert [private(n, 2, 'cpu') for n in (1, 2, 4)] == ['blocked', 'blocked', 'matmul']
    assert private(1, 1, 'cpu') == 'winograd'
    assert [private(n, 1, 'tpu') for n in (1, 4)] == ['tpu', 'tpu']
    assert placement.shared_lowering('tpu', platform='tpu') == 'tpu'
    assert placement.shared_lowering('blocked', platform='cpu') == 'blocked'
    assert placement.shared_lowering('matmul', platform='cpu') == 'winograd'


def test_only_a_tpu_samples_packed_frames():
    spec = pairs.CropSpec(size=32, cells=16)
    assert spec.suited_to('tpu').packed
    assert not spec.suited_to('cpu').packed and not spec.suited_to('gpu').packed


def test_the_next_chunk_is_read_while_one_is_worked_for_and_no_more():
    read = {index: threading.Event() for index in range(4)}

    class Frames(list):
        def __getitem__(self, index):
            read[self.name].set()
            return super().__getitem__(index)

    people = []
    for index in range(4):
        clip = blank(index)
        frames = Frames(clip.frames)
        frames.name = index
        people.append(dataclasses.replace(clip, frames=frames))
    rows = [chunks.Chunk((index,), 4, (40, 48)) for index in range(4)]
    runner = types.SimpleNamespace(segment=4, spread=lambda batch: batch)
    for index, (chunk, batch, parts, reasons) in enumerate(
        many_people._stacked(people, rows, runner)
    ):
        assert chunk == rows[index] and len(batch.frames) == 1 and reasons == [''] and len(parts)
        assert index == 3 or read[index + 1].wait(60)
        assert index > 1 or not read[index + 2].is_set()
    assert list(many_people._stacked(people, [], runner)) == []
