"""Ways to end an adaptation, from what was seen along the way."""

import numpy as np
import pytest

from experiments import along_the_way as way


def test_every_end_is_taken_where_it_says():
    first = way.Path(np.array([50.0, 60, 40]), np.array([2.0, 1.5, 1.0]), {'mean of moments': 55.0})
    second = way.Path(
        np.array([70.0, 60, 65]), np.array([2.0, 2.5, 3.0]), {'mean of moments': 71.0}
    )
    assert way.endings([first, second]) == {
        'before': [50, 70],
        'at the last moment': [40, 65],
        'where kept frames are rebuilt best': [40, 70],
        "at each person's best": [60, 70],
        'mean of moments': [55, 71],
    }
    lines = way.table([first, second]).splitlines()
    assert lines[3].split() == ['2', '52.50', '1.000']  # (40 + 65) / 2, (0.5 + 1.5) / 2
    assert 'better   2  worse   0' in lines[-1]


def test_weights_between_and_their_mean():
    a, b = {'x': np.float32([0, 4])}, {'x': np.float32([8, 4])}
    np.testing.assert_array_equal(way.between(a, b, 0.25)['x'], [2, 4])
    np.testing.assert_array_equal(way.mean_of([a, b])['x'], [4, 4])


def test_every_fourth_frame_is_kept_and_changes_are_read():
    assert np.flatnonzero(way.kept(10)).tolist() == [3, 7]
    assert way.changes('epochs=8, learning_rate=1e-4') == {'epochs': 8, 'learning_rate': 1e-4}
    with pytest.raises(ValueError, match="--steps: 'epochs', expected key=value"):
        way.changes('epochs')
