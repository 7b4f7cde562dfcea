"""What a TPU's compiler writes into a compiled program: expected cycles, and collectives.

Contract: text is `jax.stages.Compiled.as_text()` of a program for TPUs, one instruction a line. An
instruction's backend_config has the compiler's own `"estimated_cycles":"123"`, its metadata the
path in the program that it comes from. A loop's body counts as often as it runs, where its
condition compares with one constant, else once. All of it is an estimate: nothing here was
measured. Of some kinds of instruction, such as a pool's gradient, it expects nothing at all
(`unestimated`).
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

COLLECTIVES = (
    'all-reduce',
    'all-gather',
    'reduce-scatter',
    'all-to-all',
    'collective-permute',
    'collective-broadcast',
)
OTHER = 'other'
# No arithmetic: what only names arrays, runs others, or moves arrays while others compute.
MOVES = (
    *('parameter', 'constant', 'iota', 'tuple', 'get-tuple-element', 'bitcast', 'custom-call'),
    *('while', 'call', 'conditional', 'after-all', 'partition-id', 'replica-id'),
    *('copy-start', 'copy-done', 'slice-start', 'slice-done'),
)

_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_PATH = re.compile(r'op_name="([^"]*)"')
_ARRAY = re.compile(r'\b(pred|bf16|[suf]\d+)\[([\d,]*)\]')
_COMPUTATION = re.compile(r'(?:ENTRY )?%([\w.\-]+) .*\{$')
_KIND = re.compile(r'^\s+(?:ROOT )?%[\w.\-]+ = (\(.*?\)|\S+) ([\w\-]+)\(')
_FUSED = re.compile(r'(?:calls|to_apply|select|scatter)=%([\w.\-]+)')
_LOOP = re.compile(r' while\(.*condition=%([\w.\-]+), body=%([\w.\-]+)')
_CALLED = re.compile(r'(?:calls|to_apply|condition|body)=%([\w.\-]+)')
_LIMIT = re.compile(r' = s32\[\]\S* constant\((\d+)\)')
# An instruction's type, one array or a tuple of them, stands between '=' and its kind.
_COLLECTIVE = re.compile(rf'= (.+?) ({"|".join(COLLECTIVES)})(-start)?\(')


class Instruction(NamedTuple):
    """Where in the program it comes from, and how many cycles the compiler expects of it."""

    path: str
    cycles: int


class Traffic(NamedTuple):
    """How many collectives of one kind there are, and the bytes that a chip gets from them."""

    times: int
    bytes: int


def instructions(text: str) -> Iterator[Instruction]:
    """Every instruction of which cycles are expected, with those of all the times it runs."""
    computations = lines_by_computation(text)
    times = how_often(computations)
    for name, lines in computations.items():
        for line in lines:
            if found := _CYCLES.search(line):
                path = _PATH.search(line)
                cycles = times[name] * int(found.group(1))
                yield Instruction(path.group(1) if path else '', cycles)


def unestimated(text: str) -> dict[str, int]:
    """Bytes of the results of instructions of which no cycles are expected, by kind, most first.

    As often as they run. What moves arrays (`MOVES`), is fused or talks to other chips is left out.
    """
    computations = lines_by_computation(text)
    times, fused = how_often(computations), set(_FUSED.findall(text))
    sums: dict[str, int] = {}
    for name in computations.keys() - fused:
        for line in computations[name]:
            found = None if _CYCLES.search(line) else _KIND.match(line)
            if found and not found.group(2).startswith((*MOVES, *COLLECTIVES)):
                size = times[name] * array_bytes(found.group(1))
                sums[found.group(2)] = sums.get(found.group(2), 0) + size
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def lines_by_computation(text: str) -> dict[str, list[str]]:
    """The instructions of every computation, by its name, as they stand in the text."""
    found: dict[str, list[str]] = {'': []}
    name = ''
    for line in text.splitlines():
        if not line.startswith(' ') and (opened := _COMPUTATION.match(line)):
            name = opened.group(1)
        found.setdefault(name, []).append(line)
    return found


def how_often(computations: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How often each computation runs for one run of the program.

    In the text a computation stands before those that call it.
    """
    times = dict.fromkeys(computations, 1)
    for name in reversed(list(computations)):
        for line in computations[name]:
            loop = _LOOP.search(line)
            runs = times[name] * (trips(computations.get(loop.group(1), ())) if loop else 1)
            times |= {called: runs for called in _CALLED.findall(line) if called in times}
    return times


def trips(condition: Sequence[str]) -> int:
    """How often a loop runs whose condition compares a counter from 0 with a constant; else 1."""
    limits = {int(limit) for line in condition for limit in _LIMIT.findall(line)}
    return limits.pop() if len(limits) == 1 else 1


def part_of(path: str, parts: Collection[str]) -> str:
    """The last of `parts` that a path such as 'jit(learn)/transpose(jvp(encoder))/conv1' goes by.

    The last, as the parts of a program may lie in each other.
    """
    words = re.findall(r'[\w.]+', path)
    return next((word for word in reversed(words) if word in parts), OTHER)


def cycles_by_part(text: str, parts: Collection[str]) -> dict[str, int]:
    """Expected cycles of each of `parts`, and of all that belongs to none, the most first."""
    sums: dict[str, int] = {}
    for path, cycles in instructions(text):
        part = part_of(path, parts)
        sums[part] = sums.get(part, 0) + cycles
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def collectives(text: str) -> dict[str, Traffic]:
    """Count and bytes of the results of every kind of collective that occurs."""
    found: dict[str, Traffic] = {}
    for line in text.splitlines():
        if match := _COLLECTIVE.search(line):
            kind, name, started = match.groups()
            if started and name != 'all-reduce':  # its type names what goes in as well, first
                kind = kind.rpartition('], ')[2].rpartition('}, ')[2]
            times, size = found.get(name, Traffic(0, 0))
            found[name] = Traffic(times + 1, size + array_bytes(kind))
    return found


def array_bytes(kind: str) -> int:
    """Bytes of an array's type, such as 'f32[8,16]{1,0:T(8,128)}', or of a tuple of them."""
    return sum(
        math.prod(int(size) for size in shape.split(',') if size) * _item_bytes(dtype)
        for dtype, shape in _ARRAY.findall(kind)
    )


def _item_bytes(dtype: str) -> int:
    return 1 if dtype == 'pred' else max(1, int(re.sub(r'\D', '', dtype)) // 8)
