"""A short string that tells arrays apart: of weights, of frames, of whatever made a result."""

import hashlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np


def digest(parts: Iterable[Any]) -> str:
    """The first 16 digits of a hash over strings, numbers and arrays, in order."""
    found = hashlib.sha256()
    for part in parts:
        array = np.ascontiguousarray(part)
        found.update(repr((array.dtype.str, array.shape)).encode())
        found.update(array.tobytes())
    return found.hexdigest()[:16]


def of_tree(tree: Any) -> str:
    """Of all arrays of a tree, with their names."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return digest(part for path, leaf in leaves for part in (jax.tree_util.keystr(path), leaf))
