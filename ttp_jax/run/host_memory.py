"""Huge pages for the host's memory, which training on a CPU spends half its time asking for.

XLA takes the memory of a step's intermediate results from malloc and gives it back after each step.
By default glibc maps such blocks anew, in pages of 4 KiB, and the kernel clears every page at its
first touch: measured, 5 GB/s where the memory itself runs at 20 to 45, and a training step twice as
long. glibc reads its settings when a process starts, hence the restart.
"""

import os
import sys

TUNABLES = 'GLIBC_TUNABLES'
# Huge pages where the kernel grants them on request; keep freed memory for the next step.
SETTINGS = (
    'glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776'
)


def restart_with_huge_pages() -> None:
    """Starts this program again with glibc's huge pages, unless they are set; only on Linux.

    To be called first of all, before anything is computed or imported at length.
    """
    if sys.platform == 'linux' and TUNABLES not in os.environ:
        sys.stdout.flush()
        os.execve(
            sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {TUNABLES: SETTINGS}
        )
