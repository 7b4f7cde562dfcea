"""Who works for whom, where, and how: decided once, from everyone, before anybody is adapted.

Contract: a `Placement` is plain values that a report can record. Given the same people, devices and
options it is the same, whoever is done already; with `people_per_chunk` set it does not depend on
how much memory happens to be free either.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax

from ttp_jax.data import clips
from ttp_jax.networks import layers
from ttp_jax.personalize import capacity
from ttp_jax.personalize.chunks import Bucket, Chunk, buckets, chunks, people_together


class Placement(NamedTuple):
    """Devices of this process, people in buckets, and how their convolutions are computed.

    lowering: of layers whose weights are private (layers.py); features_lowering: of the perceptual
    network, whose weights people share.
    """

    devices: tuple[jax.Device, ...]
    buckets: tuple[Bucket, ...]
    lowering: str
    features_lowering: str

    def chunks(self, done: Collection[int] = ()) -> list[Chunk]:
        """Who is adapted side by side, without those who are done."""
        return [chunk for bucket in self.buckets for chunk in chunks(bucket, done)]

    def record(self) -> dict[str, Any]:
        """What to write down: the options that repeat this placement, and what they mean here."""
        return {
            'people_per_chunk': max(bucket.together for bucket in self.buckets),
            'lowering': self.lowering,
            'devices': f'{len(self.devices)} x {self.devices[0].device_kind}',
            'chunks': len(self.chunks()),
        }


def place(
    people: Sequence[clips.Clip],
    *,
    needs: capacity.Needs,
    people_per_chunk: int = 0,
    lowering: str = 'auto',
) -> Placement:
    """Shares `people` out over the devices of this process.

    Args:
      people: those of this process; first frames are decoded, to know their sizes.
      needs: what people take at most besides their frames.
      people_per_chunk: how many to adapt at once; 0: as many as memory holds, on a CPU one a core.
      lowering: of convolutions with private weights; 'auto': what suits the devices.
    """
    lengths = [len(clip.frames) for clip in people]
    groups = buckets(lengths, [clips.frame_size(clip) for clip in people])
    local = jax.local_devices()
    most = [
        people_per_chunk or capacity.people_at_once(needs.with_clips(group.clip_bytes), local)
        for group in groups
    ]
    devices = local[: max(1, min(len(people), *most))] if groups else local
    filled = tuple(
        group._replace(
            together=people_together(len(group.members), most=count, devices=len(devices))
        )
        for group, count in zip(groups, most, strict=True)
    )
    lowering = _lowering(lowering, filled, devices)
    shared = shared_lowering(lowering, platform=devices[0].platform)
    return Placement(tuple(devices), filled, lowering, shared)


def _lowering(name: str, groups: Sequence[Bucket], devices: Sequence[jax.Device]) -> str:
    if name != 'auto':
        return name
    together = max((group.together for group in groups), default=0)
    return private_lowering(together, devices=len(devices), platform=devices[0].platform)


def private_lowering(people: int, *, devices: int, platform: str) -> str:
    """What suits layers with private weights, where `devices` share `people` at a time."""
    alone = 'alone' if devices > 1 else 'joint'
    return layers.suited_lowering('private' if people > devices else alone, platform=platform)


def shared_lowering(private: str, *, platform: str) -> str:
    """What suits the perceptual network, where private layers are computed by `private`."""
    if private == 'blocked':
        return private
    return layers.suited_lowering('joint', platform=platform)


def share_out(lengths: Sequence[int], hosts: int) -> list[list[int]]:
    """Whom each host works for, `[hosts]` of indices in order: balanced by frames, not by heads.

    The longest clip first, each to the host that has least to do. Every host comes to the same
    answer by itself.
    """
    shares: list[list[int]] = [[] for _ in range(hosts)]
    frames = [0] * hosts
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        least = frames.index(min(frames))
        shares[least].append(index)
        frames[least] += lengths[index]
    return [sorted(share) for share in shares]
