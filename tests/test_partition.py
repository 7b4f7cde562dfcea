"""Which parameters move: the usual choices by name, and patterns."""

import numpy as np
import pytest

from ttp_jax.personalize import partition

ENCODER = 'encoder/resnet/layer4_0/conv1/kernel'
FIRST = 'encoder/resnet/conv1/kernel'
NORM = 'encoder/resnet/bn1/scale'
DECONV = 'encoder/deconv0/kernel'
HEAD = 'self_supervised_head/kernel'
IMAGE = 'renderer/conv0/kernel'
TRANSFORMER = 'affinity_transformer/queries'
PATHS = {ENCODER, FIRST, NORM, DECONV, HEAD, IMAGE, TRANSFORMER}
PARAMS = partition.merge({path: np.zeros(1) for path in PATHS}, {})


def trained(*frozen):
    return set(partition.split(PARAMS, frozen=frozen)[0])


@pytest.mark.parametrize(
    ('frozen', 'moves'),
    [
        (('nothing',), PATHS),
        (('encoder',), {HEAD, IMAGE, TRANSFORMER}),
        (('all but encoder', 'norms'), {ENCODER, FIRST, DECONV}),
        (('all but head',), {HEAD}),
        (('all but norms',), {NORM}),
        (('all but last',), {ENCODER, DECONV, HEAD}),
        (('transformer', 'images', 'norms'), {ENCODER, FIRST, DECONV, HEAD}),
        (('norms', 'encoder/resnet/conv1/.*'), {ENCODER, DECONV, HEAD, IMAGE, TRANSFORMER}),
    ],
)
def test_names_and_patterns_say_what_moves(frozen, moves):
    assert trained(*frozen) == moves


@pytest.mark.parametrize('frozen', ['heads', 'all but heads', 'all but encoder/.*'])
def test_a_name_that_stands_for_nothing_is_refused_with_those_there_are(frozen):
    with pytest.raises(ValueError, match=f"'{frozen}' matches no parameter.*encoder, last, head"):
        trained(frozen)


@pytest.mark.parametrize('frozen', ['.*', 'all but nothing'])
def test_something_has_to_move(frozen):
    with pytest.raises(ValueError, match='leave nothing to train'):
        trained(frozen)
