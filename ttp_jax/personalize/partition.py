"""Which parameters are trained and which are frozen, as two trees (paper section 3.2).

Contract: a parameter tree is split by the path of each leaf ('encoder/resnet/conv1/kernel') into a
trainable and a frozen tree, each a flat dict from path to array; `merge` gives the whole back.
Gradients and optimiser state then exist only for what is trained: with a private copy per person,
a mask on the optimiser would copy the frozen leaves as well.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import flax.traverse_util
from chex import Array

from ttp_jax.objectives.objective import LABELLED_HEAD, NORMS

Flat = dict[str, Array]

IMAGE_NETWORKS = r'(appearance_encoder|pose_encoder|renderer)/.*'  # they draw; the rest sees

# The usual choices of what to freeze, each as patterns of whole paths. 'all but NAME' is the rest.
GROUPS: dict[str, tuple[str, ...]] = {
    'nothing': (),
    'encoder': ('encoder/.*',),
    'last': (r'encoder/(resnet/layer4_|deconv).*', 'self_supervised_head/.*'),
    'head': ('self_supervised_head/.*',),
    'images': (IMAGE_NETWORKS,),
    'transformer': (LABELLED_HEAD,),
    'norms': (NORMS,),
}
ALL_BUT = 'all but '


def flatten(tree: Mapping[str, Any]) -> Flat:
    """A nested tree as a flat dict from slash-separated path to leaf."""
    return flax.traverse_util.flatten_dict(tree, sep='/')


def split(params: Mapping[str, Any], *, frozen: Sequence[str]) -> tuple[Flat, Flat]:
    """Splits `params` into (trainable, frozen).

    Args:
      frozen: what is frozen, as `claimed` takes it.

    Raises:
      ValueError: when one of `frozen` claims no leaf, or when nothing is left to train.
    """
    flat = flatten(params)
    held: set[str] = set().union(*(claimed(choice, flat) for choice in frozen))
    if len(held) == len(flat):
        raise ValueError(f'frozen patterns {list(frozen)} leave nothing to train')
    return (
        {p: v for p, v in flat.items() if p not in held},
        {p: v for p, v in flat.items() if p in held},
    )


def claimed(choice: str, paths: Collection[str]) -> set[str]:
    """The paths that a choice stands for.

    Args:
      choice: a name of `GROUPS`, 'all but ' and such a name, or a regular expression of whole
        paths.

    Raises:
      ValueError: when there is no such path; but 'nothing' stands for none, and all but what is not
        there for all.
    """
    name = choice.removeprefix(ALL_BUT)
    patterns, the_rest = GROUPS.get(name, (choice,)), choice != name and name in GROUPS
    found = {path for path in paths if any(re.fullmatch(p, path) for p in patterns)}
    if not found and name != 'nothing' and not the_rest:
        raise ValueError(
            f'frozen pattern {choice!r} matches no parameter; there are {len(paths)}, such as '
            f'{next(iter(paths), None)!r}, and names of groups: {", ".join(GROUPS)}'
        )
    return {*paths} - found if the_rest else found


def merge(trainable: Flat, frozen: Flat) -> dict[str, Any]:
    """The nested tree that `split` came from.

    Raises:
      ValueError: when a leaf is claimed twice.
    """
    if both := trainable.keys() & frozen.keys():
        raise ValueError(f'both trainable and frozen: {sorted(both)[:3]}')
    return flax.traverse_util.unflatten_dict({**trainable, **frozen}, sep='/')
