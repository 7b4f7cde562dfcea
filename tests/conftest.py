"""Folders of reference data that tests may use, and must say so when they skip without."""
import pathlib

import pytest

SHARED = (pathlib.Path(__file__).resolve().parents[1] / '..' / 'shared').resolve()


def pytest_addoption(parser):
    parser.addoption('--shared-dir', default=str(SHARED),
                     help='folder with parity/, real_clips/, penn_action/, weights/')
    parser.addoption('--parity-dir', default=None,
                     help="reference outputs of the authors' release (default: SHARED_DIR/parity)")


@pytest.fixture(scope='session')
def shared_dir(request) -> pathlib.Path:
    folder = pathlib.Path(request.config.getoption('--shared-dir'))
    if not folder.is_dir():
        pytest.skip(f'no reference data: {folder} is missing (--shared-dir)')
    return folder


@pytest.fixture(scope='session')
def parity_dir(request) -> pathlib.Path:
    option = request.config.getoption('--parity-dir')
    folder = pathlib.Path(option or pathlib.Path(request.config.getoption('--shared-dir')) / 'parity')
    if not (folder / 'seed.json').is_file():
        pytest.skip(f"no reference outputs: {folder / 'seed.json'} is missing (--parity-dir)")
    return folder
