"""Every config file loads, has the keys that the program reads, and gives a model that builds."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import pytest

from ttp_jax import train
from ttp_jax.data import sets
from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives.reconstruction import RECONSTRUCTION
from ttp_jax.personalize import partition, schedules
from ttp_jax.run.resume import flat

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs'
DATA_SETS = ('penn_action', 'human36m', 'bbc_pose')
VARIANTS = {
    'joint': ('drawn', 'drawn_large', *DATA_SETS, *sets.OWN),
    'paper': DATA_SETS,
    'baseline': DATA_SETS,
    'personalize': ('online', 'offline'),
    'real': ('followed', 'rebuilding'),
}
# A job with a small config of its own, from which its run's whole one follows: test_video_job.
SMALL = {'video': ('online', 'offline')}
EACH = [(name, variant) for name, variants in VARIANTS.items() for variant in variants]


def load(name):
    """The config file as the program's flag loads it: by its path."""
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keys(config):
    return set(flat(config.to_dict()))


def test_every_config_file_is_tested():
    assert {path.stem for path in CONFIGS.glob('*.py')} - {'__init__'} == {*VARIANTS, *SMALL}


@pytest.mark.parametrize(('name', 'variant'), EACH)
def test_a_config_has_the_default_runs_keys_and_is_locked(name, variant):
    config, default = load(name).get_config(variant), load('joint').get_config()
    assert keys(config) - {'data.prepared'} == keys(default) - {'data.prepared'}
    assert config.is_locked
    assert config.data.name in sets.LOADERS
    assert set(config.personalize.schedules) <= set(schedules.SCHEDULES)


@pytest.mark.parametrize('name', VARIANTS | SMALL)
def test_a_config_opens_with_its_command_and_names_its_variants(name):
    module, known = load(name), (VARIANTS | SMALL)[name]
    assert f'python -m ttp_jax.main --config=configs/{name}.py' in module.__doc__
    with pytest.raises(
        ValueError, match=f"configs/{name}.py: no variant 'nobody'; known: " + ', '.join(known)
    ):
        module.get_config('nobody')


def joints_of(data_set):
    own = dict.fromkeys(sets.OWN, 5)  # whatever their labels name
    return (own | {'human36m': 16, 'bbc_pose': 7}).get(data_set, 13)


def variables_of(config):
    """The model and its variables' shapes, without computing any."""
    model = PoseModel(joints=joints_of(config.data.name), **config.model)
    image = jax.ShapeDtypeStruct((1, config.crop.size, config.crop.size, 3), jnp.float32)
    return model, jax.eval_shape(model.init, jax.random.key(0), image, image)


@pytest.mark.parametrize(('name', 'variant'), EACH)
def test_a_config_describes_a_model_that_builds(name, variant):
    config = load(name).get_config(variant)
    model, variables = variables_of(config)
    image = jax.ShapeDtypeStruct((2, config.crop.size, config.crop.size, 3), jnp.float32)
    seen = jax.eval_shape(lambda v, x: model.apply(v, x, method='heatmaps'), variables, image)
    cells = model.cells(config.crop.size)
    assert seen.supervised.shape == (2, cells, cells, joints_of(config.data.name))
    trainable, frozen = partition.split(variables['params'], frozen=RECONSTRUCTION.frozen)
    assert trainable and frozen


@pytest.mark.parametrize('data_set', DATA_SETS)
def test_the_papers_models_have_the_papers_sizes(data_set):
    config = load('paper').get_config(data_set)
    model, variables = variables_of(config)
    assert model.cells(config.crop.size) == 32
    seen = jax.eval_shape(
        lambda v, x: model.apply(v, x, method='heatmaps'),
        variables,
        jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32),
    )
    assert seen.affinity.shape == (1, joints_of(data_set), 30)
    params = partition.flatten(variables['params'])
    assert params['encoder/deconv2/kernel'].shape == (4, 4, 256, 256)
    _, baseline = variables_of(load('baseline').get_config(data_set))
    assert not any(
        'affinity' in path or 'renderer' in path for path in partition.flatten(baseline['params'])
    )


def test_the_papers_learning_rate_falls_after_epochs_90_and_120_of_140():
    config = load('paper').get_config()
    assert config.train.steps == 140 * -(-87_543 // 32)
    falls = [round(drop * config.train.steps) for drop in config.train.drops]
    assert falls == [90 * 2736, 120 * 2736]
    train.optimizer(
        learning_rate=config.train.learning_rate,
        steps=config.train.steps,
        drops=tuple(config.train.drops),
    )


def test_real_peoples_checkpoint_is_at_most_ten_megabytes_in_half_precision():
    model, variables = variables_of(load('real').get_config())
    assert model.cells(128) == 32
    assert 2 * sum(leaf.size for leaf in jax.tree.leaves(variables)) <= 9.9e6


def test_personalization_alone_trains_nothing_and_runs_one_schedule():
    for variant in ('online', 'offline'):
        config = load('personalize').get_config(variant)
        assert config.train.steps == 0 and config.personalize.schedules == (variant,)
