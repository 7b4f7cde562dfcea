"""What a program does with ttp_jax: load, predict, personalize, keep the person for later."""

import copy
import dataclasses
import pathlib
import subprocess
import sys

import model_files
import numpy as np
import pytest

import ttp_jax
from ttp_jax.data.drawn import synthetic
from ttp_jax.personalize import partition


@pytest.fixture(scope='module')
def model_file(tmp_path_factory):
    """A packed model."""
    return model_files.pack(tmp_path_factory.mktemp('model') / 'm.safetensors')


@pytest.fixture(scope='module')
def person():
    """(frames, boxes) of somebody."""
    (clip,) = synthetic.drawn_clips(seed=1, split='test', people=1, frames=6, size=48)
    return np.stack(list(clip.frames)), clip.boxes


@pytest.fixture(scope='module')
def model(model_file):
    return ttp_jax.load(model_file)


def test_importing_is_cheap():
    program = "import sys, ttp_jax; print('jax' in sys.modules)"
    root = pathlib.Path(ttp_jax.__file__).parents[1]
    found = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, cwd=root
    )
    assert found.stdout.strip() == 'False', found.stderr


def test_predictions_follow_the_frames(model, person):
    frames, boxes = person
    found = model.predict(frames, boxes)
    assert found.joints.shape == (6, 13, 2) and found.names[0] == 'head'
    moved = np.zeros((6, 80, 96, 3), np.uint8)
    moved[:, 20:68, 30:78] = frames
    there = model.predict(moved, boxes + [30, 20, 30, 20])
    np.testing.assert_allclose(there.joints, found.joints + [30, 20], atol=1e-2)


def test_a_personalized_model_predicts_what_it_predicted_then(model, person, tmp_path):
    frames, boxes = person
    before = model.predict(frames, boxes)
    personal, found = model.personalize(frames, boxes)
    assert found.status == 'personalized' and np.isfinite(found.losses).all()
    again = personal.predict(frames, boxes)
    np.testing.assert_allclose(again.scores, found.scores, rtol=1e-3)
    assert not np.allclose(again.scores, before.scores, rtol=0.1, atol=0)  # something was learned
    np.testing.assert_allclose(
        model.predict(frames, boxes).scores, before.scores
    )  # not by this one
    personal.save(tmp_path / 'ann', model)
    restored = model.with_person(tmp_path / 'ann').predict(frames, boxes)
    np.testing.assert_allclose(restored.scores, again.scores, rtol=0.02)
    with pytest.raises(ValueError, match='ann: holds differences to the network .*, this one'):
        personal.with_person(tmp_path / 'ann')  # that is not the base


def moved(model, personal):
    """The parts of the network that a person's copy differs in."""
    old, new = (partition.flatten(each.params) for each in (model, personal))
    return {path.split('/')[0] for path in old if np.any(np.asarray(old[path] != new[path]))}


def test_it_learns_from_followed_predictions_or_as_the_models_run_did(model, model_file, person):
    rebuilding = ttp_jax.load(model_file, objective='')
    for mode in ('online', 'offline'):
        mine, its = (each.personalize(*person, mode=mode)[0] for each in (model, rebuilding))
        assert moved(model, mine) == {'encoder', 'self_supervised_head'}
        assert 'renderer' in moved(rebuilding, its)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda f, b: (f[:0], b[:0]), 'no frames'),
        (lambda f, b: (f.astype(float), b), r'frame 0 is float64 \(48, 48, 3\), expected uint8'),
        (lambda f, b: (f, b[:3]), r'boxes have shape \(3, 4\)'),
        (lambda f, b: (f, b + 1000), 'the box of frame 0 .* expected a part of the picture'),
    ],
)
def test_bad_arrays_are_named(model, person, change, message):
    with pytest.raises(ValueError, match=message):
        model.predict(*change(*person))


def test_too_little_to_learn_from(model, person):
    with pytest.raises(ValueError, match='found 1 frame'):
        model.personalize(person[0][:1])
    with pytest.raises(ValueError, match="mode is 'both', expected one of online, offline"):
        model.personalize(*person, mode='both')
    config = copy.deepcopy(model.config)
    config.model.variant, config.personalize.objective = 'baseline', ''
    with pytest.raises(ValueError, match="'baseline' has no task of its own to learn from"):
        dataclasses.replace(model, config=config).personalize(*person)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(ValueError, match='no checkpoint there'):
        ttp_jax.load(tmp_path)
