"""A network that has learned one set of joints, taken as the beginning of one for another set.

Contract: all that does not belong to single joints is taken over as it is. What belongs to a joint,
its query in the Transformer or its channel in the supervised head, is taken from the joint of the
same name; a joint that the old network does not know keeps what the new one was drawn with.
"""

from collections.abc import Sequence
from typing import Any

import flax.traverse_util
import jax.numpy as jnp

# Where a parameter has an axis of joints, by the end of its name.
_AXES = {
    'affinity_transformer/queries': 0,
    'supervised_head/kernel': -1,
    'supervised_head/bias': -1,
}


def with_joints(old: Any, fresh: Any, *, source: Sequence[int | None]) -> Any:
    """The parameters `old`, with the joints of `fresh`.

    Args:
      old: parameters of a model, a nested dict.
      fresh: those of the same model for other joints, just drawn.
      source: of each new joint the old one that it comes from; None: it is new.
    """
    old, fresh = (flax.traverse_util.flatten_dict(tree, sep='/') for tree in (old, fresh))
    kept = {j: s for j, s in enumerate(source) if s is not None}
    new, known = jnp.array(list(kept), int), jnp.array(list(kept.values()), int)

    def one(name: str, value):
        if name not in _AXES:
            return value
        rows, drawn = (jnp.moveaxis(a, _AXES[name], 0) for a in (value, fresh[name]))
        return jnp.moveaxis(drawn.at[new].set(rows[known]), 0, _AXES[name])

    taken = {name: one(name, value) for name, value in old.items()}
    return flax.traverse_util.unflatten_dict(taken, sep='/')
