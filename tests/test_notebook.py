"""The notebook does what it shows: its cells run, with a tiny network and a tiny clip."""

import json
import pathlib

import matplotlib
import model_files
import numpy as np

NOTEBOOK = pathlib.Path(__file__).resolve().parents[1] / 'docs' / 'personalize.ipynb'


def test_the_notebooks_cells_run_one_after_another(tmp_path, monkeypatch):
    matplotlib.use('Agg')
    cells = json.loads(NOTEBOOK.read_text())['cells']
    values = {'FRAMES': 4, 'SIZE': 64, 'MODEL': model_files.pack(tmp_path / 'm.safetensors')}
    namespace: dict = {}
    for cell in (cell for cell in cells if cell['cell_type'] == 'code'):
        exec(''.join(cell['source']), namespace)
        if 'parameters' in cell['metadata'].get('tags', []):
            assert values.keys() <= namespace.keys()
            namespace.update(values)
    assert namespace['after'].status == 'personalized'
    assert namespace['after'].joints.shape == (4, 13, 2)
    np.testing.assert_array_equal(namespace['again'].names, namespace['before'].names)
    matplotlib.pyplot.close('all')


def test_the_notebook_has_the_pictures_that_it_made():
    cells = json.loads(NOTEBOOK.read_text())['cells']
    outputs = [output for cell in cells for output in cell.get('outputs', [])]
    assert sum('image/png' in output.get('data', {}) for output in outputs) == 3
    assert not any(output['output_type'] == 'error' for output in outputs)
    assert NOTEBOOK.stat().st_size < 600_000
