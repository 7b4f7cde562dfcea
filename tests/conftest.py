"""Folders of reference data that tests may use, and must say so when they skip without."""

import os
import pathlib
import tempfile

# Most of the suite's time is compilation, and many tests compile the same programs. Tiny networks
# have nothing to gain from a compiler that tries hard. Processes that tests start inherit this.
QUICKLY_COMPILED = '--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1'
os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {QUICKLY_COMPILED}'
os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
os.environ['JAX_COMPILATION_CACHE_DIR'] = str(pathlib.Path(tempfile.gettempdir()) / 'ttp_jax_tests')

# What is above is read when JAX is imported.
import chex
import jax
import pytest

# Four devices on any machine: what runs under pmap and over people is tested as it is used.
chex.set_n_cpu_devices(4)

SHARED = (pathlib.Path(__file__).resolve().parents[1] / '..' / 'shared').resolve()


@pytest.fixture(autouse=True, scope='module')
def forget_programs():
    """A process may hold only so many compiled programs: each takes pieces of its address space."""
    yield
    jax.clear_caches()


def pytest_addoption(parser):
    parser.addoption(
        '--shared-dir',
        default=str(SHARED),
        help='folder with parity/, real_clips/, penn_action/, weights/',
    )
    parser.addoption(
        '--parity-dir',
        default=None,
        help="reference outputs of the authors' release (default: SHARED_DIR/parity)",
    )


@pytest.fixture(scope='session')
def shared_dir(request) -> pathlib.Path:
    folder = pathlib.Path(request.config.getoption('--shared-dir'))
    if not folder.is_dir():
        pytest.skip(f'no reference data: {folder} is missing (--shared-dir)')
    return folder


@pytest.fixture(scope='session')
def parity_dir(request) -> pathlib.Path:
    option = request.config.getoption('--parity-dir')
    folder = pathlib.Path(
        option or pathlib.Path(request.config.getoption('--shared-dir')) / 'parity'
    )
    if not (folder / 'seed.json').is_file():
        pytest.skip(f'no reference outputs: {folder / "seed.json"} is missing (--parity-dir)')
    return folder


TINY = dict(
    joints=13,
    keypoints=6,
    depth=10,
    width=4,
    stem_pool=False,
    features=8,
    image_width=4,
    heads=2,
    feedforward=16,
    dropout=0.0,
)


@pytest.fixture(scope='session')
def tiny_clips():
    """Four drawn people of different clip lengths, enough to train something tiny on."""
    import dataclasses

    from ttp_jax.data.drawn import synthetic

    people = synthetic.drawn_clips(seed=3, split='train', people=4, frames=6, size=48)

    def cut(clip, n):
        return dataclasses.replace(
            clip,
            frames=clip.frames[:n],
            boxes=clip.boxes[:n],
            labels=type(clip.labels)(*(values[:n] for values in clip.labels)),
        )

    return [cut(clip, n) for clip, n in zip(people, (6, 4, 5, 6), strict=True)]
