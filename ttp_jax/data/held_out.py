"""Which of somebody's own labels are kept for testing: a choice that follows from names alone."""

import zlib
from collections.abc import Iterable


def held_out_names(names: Iterable[str], share: float) -> set[str]:
    """About `share` of the names, one at least and never all of several.

    Those whose checksums come first, so that the same names are chosen every time.
    """
    order = sorted(set(names), key=lambda name: (zlib.crc32(name.encode()), name))
    return set(order[: max(1, min(len(order) - 1, round(share * len(order))))])
