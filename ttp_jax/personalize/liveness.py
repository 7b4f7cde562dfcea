"""The most that a computation holds at once, read off its trace before anything is compiled.

Contract. Equations are worked off in the order of the trace. What one makes is held until the last
one that reads it has run. A chain of elementwise equations makes nothing: compilers fuse it into
whoever reads it, so what it is computed from is held until then instead; only loops want such a
chain's result made. A loop holds the most that its body holds, once, while it runs, and carries its
state where it was. What the computation is given is not counted.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

# What is computed where it is read. All that is not named here is made: rather too much than too
# little.
_FUSED = frozenset(
    'abs add add_any and broadcast_in_dim clamp convert_element_type copy copy_p cos div eq erf '
    'erf_inv exp floor ge gt integer_pow iota is_finite le log log1p logistic lt max '
    'min mul ne neg nextafter not or pow random_bits random_fold_in random_unwrap random_wrap '
    'reduce_precision rev round rsqrt select_n shift_left shift_right_logical sign sin '
    'slice split sqrt square stop_gradient sub tanh transpose xor'.split()
)
_VIEWS = frozenset(('expand_dims', 'reshape', 'squeeze'))  # the same array, otherwise named
_BODIES = {'scan': ('jaxpr',), 'while': ('body_jaxpr',), 'cond': ('branches',)}


class _Value(NamedTuple):
    """The arrays that a value is computed from, by number, and whether it is there as it is."""

    arrays: frozenset[int] = frozenset()
    made: bool = True


class _Array(NamedTuple):
    """Bytes, and the times at which it is made and was last read."""

    size: int
    made: int
    read: int


def most_held(closed: core.ClosedJaxpr, *, lanes: int = 1) -> int:
    """Bytes that a traced computation (`jax.make_jaxpr`) holds at most, its arguments aside.

    lanes: to a multiple of how many numbers the last axis of an array is filled up; 128 on TPUs.
    """
    trace = _Trace(lanes)
    trace.read(*trace.run(closed.jaxpr, [_Value()] * len(closed.jaxpr.invars)))
    return trace.most()


def size_of(tree, *, lanes: int = 1) -> int:
    """Bytes of a tree's arrays, or shapes, with `lanes` as in `most_held`."""
    return sum(_size(leaf, lanes) for leaf in jax.tree.leaves(tree))


class _Trace:
    """The arrays of a computation, and the time, in equations that make something."""

    def __init__(self, lanes: int):
        self.lanes, self.now = lanes, 0
        self.arrays: list[_Array] = []

    def run(self, jaxpr: core.Jaxpr, given: Sequence[_Value]) -> list[_Value]:
        """Works off the equations; the values of the outputs."""
        values = dict(zip(jaxpr.invars, given, strict=True))

        def of(atoms) -> list[_Value]:  # literals and constants are small, or arguments
            return [
                _Value() if isinstance(atom, core.Literal) else values.get(atom, _Value())
                for atom in atoms
            ]

        for equation in jaxpr.eqns:
            inner, read = _called(equation), of(equation.invars)
            found = self.run(inner, read) if inner else self.step(equation, read)
            values.update(zip(equation.outvars, found, strict=True))
        return of(jaxpr.outvars)

    def step(self, equation: core.JaxprEqn, read: Sequence[_Value]) -> list[_Value]:
        if equation.primitive.name in _VIEWS:
            return list(read)
        if equation.primitive.name in _FUSED:
            arrays = frozenset().union(*(value.arrays for value in read))
            return [_Value(arrays, made=False)] * len(equation.outvars)
        self.now += 1
        self.read(*read)
        if not (bodies := _bodies(equation)):
            return [self.make(out.aval) for out in equation.outvars]
        read = [
            value if value.made else self.make(atom.aval)
            for value, atom in zip(read, equation.invars, strict=True)
        ]
        self.now += 1
        self.read(*read)
        self.hold(max(most_held(body, lanes=self.lanes) for body in bodies))
        carried = _carried(equation, read)
        return carried + [self.make(out.aval) for out in equation.outvars[len(carried) :]]

    def make(self, aval) -> _Value:
        """An array of now."""
        return _Value(frozenset([self.hold(_size(aval, self.lanes))]))

    def hold(self, size: int) -> int:
        """So many bytes, of now; the number of their array."""
        self.arrays.append(_Array(size, self.now, self.now))
        return len(self.arrays) - 1

    def read(self, *values: _Value) -> None:
        """All that the values are computed from is still there now."""
        for number in frozenset().union(*(value.arrays for value in values)):
            self.arrays[number] = self.arrays[number]._replace(read=self.now)

    def most(self) -> int:
        """The largest sum of bytes at any time."""
        changes = [0] * (self.now + 2)
        for array in self.arrays:
            changes[array.made] += array.size
            changes[array.read + 1] -= array.size
        held = most = 0
        for change in changes:
            held += change
            most = max(most, held)
        return most


def _called(equation: core.JaxprEqn) -> core.Jaxpr | None:
    """What an equation only calls: it counts as if it stood there itself."""
    if equation.primitive.name in _BODIES:
        return None
    inner = equation.params.get('jaxpr', equation.params.get('call_jaxpr'))
    return getattr(inner, 'jaxpr', inner)


def _bodies(equation: core.JaxprEqn) -> list[core.ClosedJaxpr]:
    """What a loop repeats, or what is chosen from."""
    found: list[Any] = [equation.params[name] for name in _BODIES.get(equation.primitive.name, ())]
    return [body for one in found for body in (one if isinstance(one, tuple) else (one,))]


def _carried(equation: core.JaxprEqn, read: Sequence[_Value]) -> list[_Value]:
    """A loop's state at its end, which is where it was at its beginning."""
    params = equation.params
    if equation.primitive.name == 'scan':
        first = params['num_consts']
        return list(read[first : first + params['num_carry']])
    if equation.primitive.name == 'while':
        return list(read[params['cond_nconsts'] + params['body_nconsts'] :])
    return []


def _size(aval, lanes: int) -> int:
    if not aval.shape:
        return 0
    *others, last = aval.shape
    return math.prod(others) * -(-last // lanes) * lanes * aval.dtype.itemsize
