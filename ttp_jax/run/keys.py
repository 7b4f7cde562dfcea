"""Every key of a config, one line each: what values it may have, and which phases it changes.

A rule takes a value and returns '' or what is wrong with it, in words that follow the key's name.
Rules that join several keys are in `check_config`; what a key means is in `defaults`.
"""

import itertools
import numbers
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ttp_jax import heatmaps
from ttp_jax.data import mixed, sets
from ttp_jax.files import personal
from ttp_jax.networks import backbone, layers, model, perceptual
from ttp_jax.objectives import registry
from ttp_jax.personalize.schedules import SCHEDULES

Rule = Callable[[Any], str]


class Key(NamedTuple):
    """rule: which values are allowed. affects: the phases whose results depend on the value."""

    rule: Rule
    affects: frozenset[str]


# --- rules -----------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """A value in one line, of at most 80 characters."""
    text = ' '.join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + '...'


def expect(text: str, accepts: Callable[[Any], bool]) -> Rule:
    """The rule that `accepts` a value; `text` says what it accepts."""
    return lambda value: '' if accepts(value) else f' is {shown(value)}, expected {text}'


def known(noun: str, names: Iterable[Any]) -> Rule:
    """The rule that a value is one of `names`, each of which is a `noun`."""
    names = tuple(names)
    listed = ', '.join(str(name) for name in names if name != '')
    return lambda value: (
        '' if _is_one_of(value, names) else f': no {noun} {shown(value)}; known: {listed}'
    )


def one_of(*names: Any) -> Rule:
    """As `known`, of names that need no noun."""
    return expect(f'one of {", ".join(map(repr, names))}', lambda value: _is_one_of(value, names))


def several(noun: str, names: Collection[str]) -> Rule:
    """The rule that a value is a tuple of some of `names`, none of them twice."""
    one, a_tuple = known(noun, names), expect(f'a tuple of {noun}s', _is_tuple)

    def rule(value):
        if wrong := a_tuple(value) or next(filter(None, map(one, value)), ''):
            return wrong
        return (
            '' if len({*value}) == len(value) else f' is {shown(value)}, expected no {noun} twice'
        )

    return rule


def whole(low: int, high: int = 2**31 - 1) -> Rule:
    """The rule that a value is an integer from `low` to `high`."""
    limit = 'below 2**31' if high == 2**31 - 1 else f'at most {high}'
    return expect(
        f'an integer of at least {low} and {limit}',
        lambda value: _is(value, numbers.Integral) and low <= value <= high,
    )


def at_least(low: float) -> Rule:
    """The rule that a value is a finite number, `low` or more."""
    return expect(
        f'a finite number of at least {low}',
        lambda value: _is(value, numbers.Real) and low <= value <= sys.float_info.max,
    )


def between(low: float, high: float, brackets: str = '[]') -> Rule:
    """The rule that a value is in the interval; round brackets leave an end out."""

    def accepts(value):
        left_out = {low: brackets[0] == '(', high: brackets[1] == ')'}
        return _is(value, numbers.Real) and low <= value <= high and not left_out.get(value)

    return expect(f'a number in {brackets[0]}{low}, {high}{brackets[1]}', accepts)


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_one_of(value: Any, names: tuple) -> bool:
    return any(type(value) is type(name) and value == name for name in names)


def _is_tuple(value: Any) -> bool:
    return isinstance(value, tuple | list)


def _are_drops(value: Any) -> bool:
    if not _is_tuple(value) or not all(_is(drop, numbers.Real) for drop in value):
        return False
    ends = [0, *value, 1]
    return all(a < b for a, b in itertools.pairwise(ends))


def _are_steps(value: Any) -> bool:
    if not _is_tuple(value) or not all(_is(step, numbers.Integral) for step in value):
        return False
    return not value or (len(value) == 2 and 1 <= value[0] <= value[1])


def _are_patterns(value: Any) -> bool:
    return _is_tuple(value) and all(isinstance(p, str) and _compiles(p) for p in value)


def _are_scales(value: Any) -> bool:
    return _is_tuple(value) and all(_is(scale, numbers.Real) and 0 < scale < 10 for scale in value)


def _are_texts(value: Any) -> bool:
    return _is_tuple(value) and all(isinstance(item, str) for item in value)


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


TEXT = expect('a text', lambda value: isinstance(value, str))
FLAG = one_of(True, False)
SEED = whole(0, 2**32 - 1)
RATE = SHARE = between(0, 1)
LOWERING = one_of('auto', *layers.LOWERINGS)
DTYPE = one_of('float32', 'bfloat16')  # what networks compute in
OBJECTIVE = known('objective', ('', *registry.OBJECTIVES))  # '': the variant's own

# --- phases ----------------------------------------------------------------------------------

PHASES = ('train', 'before', 'online', 'offline')
# What changes the trained weights changes all that is done with them.
ALL = frozenset(PHASES)
TESTED = ALL - {'train'}  # whom, and how their joints are predicted
ADAPTED = frozenset({'online', 'offline'})
NONE: frozenset[str] = frozenset()  # how fast, how often, and what is shown of it

# --- the table -------------------------------------------------------------------------------

KEYS = (
    {
        'seed': Key(SEED, ALL),
        'checkpoint': Key(TEXT, ALL),
        'data.name': Key(known('data set', sets.LOADERS), ALL),
        'data.root': Key(TEXT, ALL),
        'data.skeleton': Key(TEXT, ALL),
        'data.motion': Key(TEXT, ALL),
        'data.prepared': Key(TEXT, ALL),
        'data.roots': Key(expect('a tuple of folders', _are_texts), ALL),
        'data.drawn_people': Key(whole(0), ALL),
        'data.validation': Key(between(0, 1, '[)'), ALL),
        'data.evaluate': Key(known('part', mixed.PARTS), TESTED),
        'data.input': Key(TEXT, ALL),
        'data.boxes': Key(TEXT, ALL),
        'data.box_jitter': Key(between(0, 0.5), TESTED),
        'data.seconds': Key(at_least(0), ALL),
        'data.cut_outs': Key(TEXT, NONE),
        'data.train_people': Key(whole(0), ALL),
        'data.test_people': Key(whole(0), TESTED),
        'data.frames': Key(whole(0), ALL),
        'data.size': Key(whole(0), ALL),
        'data.resident_gib': Key(at_least(0), NONE),
        'data.workers': Key(whole(0), NONE),
        'crop.size': Key(whole(1), ALL),
        'crop.bgr': Key(FLAG, ALL),
        'model.variant': Key(known('variant', model.VARIANTS), ALL),
        'model.keypoints': Key(whole(1), ALL),
        'model.depth': Key(known('ResNet of depth', backbone.STAGES), ALL),
        'model.stages': Key(whole(1, 4), ALL),
        'model.width': Key(whole(1), ALL),
        'model.stem_pool': Key(FLAG, ALL),
        'model.deconvolutions': Key(whole(1, 5), ALL),
        'model.features': Key(whole(1), ALL),
        'model.image_width': Key(whole(1), ALL),
        'model.image_stride': Key(whole(1, 8), ALL),
        'model.layers': Key(whole(1), ALL),
        'model.heads': Key(whole(1), ALL),
        'model.feedforward': Key(whole(1), ALL),
        'model.dropout': Key(between(0, 1, '[)'), ALL),
        'model.sigma': Key(between(0, 100, '(]'), ALL),
        'perceptual.kind': Key(known('perceptual network', perceptual.KINDS), ALL),
        'perceptual.weights': Key(TEXT, ALL),
        'perceptual.seed': Key(SEED, ALL),
        'train.encoder_weights': Key(TEXT, ALL),
        'train.steps': Key(whole(0), ALL),
        'train.batch': Key(whole(1), ALL),
        'train.lowering': Key(LOWERING, ALL),
        'train.dtype': Key(DTYPE, ALL),
        'train.learning_rate': Key(between(0, 1, '(]'), ALL),
        'train.drops': Key(expect('a tuple of ascending numbers in (0, 1)', _are_drops), ALL),
        'train.warmup': Key(whole(0), ALL),
        'train.colour_std': Key(at_least(0), ALL),
        'train.covered': Key(SHARE, ALL),
        'train.objective': Key(OBJECTIVE, ALL),
        'train.reconstruction_weight': Key(at_least(0), ALL),
        'train.rebuilt_every': Key(whole(1), ALL),
        'train.augment.scale_std': Key(at_least(0), ALL),
        'train.augment.rotation_std': Key(at_least(0), ALL),
        'train.augment.rotation_prob': Key(SHARE, ALL),
        'train.augment.flip_prob': Key(SHARE, ALL),
        'train.log_every': Key(whole(1), NONE),
        'train.save_every': Key(whole(1), NONE),
        'train.profile': Key(expect('() or (first, last), counted from 1', _are_steps), NONE),
        'personalize.schedules': Key(several('schedule', SCHEDULES), NONE),  # which, not how
        'personalize.objective': Key(OBJECTIVE, ADAPTED),
        'personalize.batch': Key(whole(1), ADAPTED),
        'personalize.parts': Key(whole(1), ADAPTED),
        'personalize.frozen': Key(expect('a tuple of names or patterns', _are_patterns), ADAPTED),
        'personalize.guard': Key(TEXT, ADAPTED),
        'personalize.least_gap': Key(at_least(0), ADAPTED),
        'personalize.save_weights': Key(one_of('', *personal.KINDS), NONE),
        'personalize.save_rank': Key(whole(0), NONE),
        'personalize.save_layers': Key(expect('a tuple of names or patterns', _are_patterns), NONE),
        'personalize.flip_test': Key(FLAG, TESTED),
        'personalize.test_scales': Key(
            expect('a tuple of numbers between 0 and 10, such as (0.87, 1.15)', _are_scales), TESTED
        ),
        'personalize.decoding': Key(one_of(*heatmaps.DECODINGS), TESTED),
        'personalize.follow': Key(FLAG, TESTED),
        'personalize.people_per_chunk': Key(whole(0), NONE),
        'personalize.lowering': Key(LOWERING, TESTED),
        'personalize.dtype': Key(DTYPE, TESTED),
    }
    | {
        f'personalize.{schedule}.{key}': Key(rule, frozenset({schedule}))
        for schedule in SCHEDULES
        for key, rule in {
            'epochs': whole(1),
            'images_first': whole(0),
            'warmup': whole(0),
            'learning_rate': RATE,
            'image_learning_rate': RATE,
        }.items()
    }
    | {
        'personalize.offline.falls': Key(FLAG, frozenset({'offline'})),
        'hosts.count': Key(whole(0), NONE),
        'hosts.index': Key(whole(-1), NONE),
        'hosts.coordinator': Key(TEXT, NONE),
        'collect': Key(FLAG, NONE),
        'strict': Key(FLAG, NONE),
        'pictures': Key(whole(0), NONE),
    }
)


def affects(key: str) -> frozenset[str]:
    """The phases whose results the key changes; of a key that is not known here, all."""
    return KEYS[key].affects if key in KEYS else ALL


def flat(tree: Mapping, prefix: str = '') -> dict:
    """A nested dict as one from dotted names to values."""
    items: dict = {}
    for name, value in tree.items():
        items |= (
            flat(value, f'{prefix}{name}.') if isinstance(value, dict) else {prefix + name: value}
        )
    return items
