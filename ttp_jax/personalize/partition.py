"""Which parameters are trained and which are frozen, as two trees (paper section 3.2).

Contract: a parameter tree is split by the path of each leaf ('encoder/resnet/conv1/kernel') into a
trainable and a frozen tree, each a flat dict from path to array; `merge` gives the whole back.
Gradients and optimiser state then exist only for what is trained: with a private copy per person,
a mask on the optimiser would copy the frozen leaves as well.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.traverse_util
from chex import Array

Flat = dict[str, Array]

IMAGE_NETWORKS = r'(appearance_encoder|pose_encoder|renderer)/.*'  # they draw; the rest sees


def flatten(tree: Mapping[str, Any]) -> Flat:
    """A nested tree as a flat dict from slash-separated path to leaf."""
    return flax.traverse_util.flatten_dict(tree, sep='/')


def split(params: Mapping[str, Any], *, frozen: Sequence[str]) -> tuple[Flat, Flat]:
    """Splits `params` into (trainable, frozen) by regular expressions on the whole path.

    Raises:
      ValueError: when a pattern claims no leaf, or when nothing is left to train.
    """
    flat = flatten(params)
    for pattern in frozen:
        if not any(re.fullmatch(pattern, path) for path in flat):
            raise ValueError(
                f'frozen pattern {pattern!r} matches no parameter; '
                f'there are {len(flat)}, such as {next(iter(flat))!r}'
            )
    held = {path for path in flat if any(re.fullmatch(p, path) for p in frozen)}
    if len(held) == len(flat):
        raise ValueError(f'frozen patterns {list(frozen)} leave nothing to train')
    return (
        {p: v for p, v in flat.items() if p not in held},
        {p: v for p, v in flat.items() if p in held},
    )


def merge(trainable: Flat, frozen: Flat) -> dict[str, Any]:
    """The nested tree that `split` came from.

    Raises:
      ValueError: when a leaf is claimed twice.
    """
    if both := trainable.keys() & frozen.keys():
        raise ValueError(f'both trainable and frozen: {sorted(both)[:3]}')
    return flax.traverse_util.unflatten_dict({**trainable, **frozen}, sep='/')
