"""The program: `python -m ttp_jax.main --config=configs/joint.py`.

Reads the flags and the config, runs the phases in order (data, train, before, online, offline,
report) and says where the results are. Everything below this module takes plain arguments.
"""

from ttp_jax.run import host_memory

if __name__ == '__main__':
    host_memory.restart_with_huge_pages()  # before anything that takes long to import

import datetime
import os
import pathlib
import signal
import sys
import sysconfig

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from ttp_jax import places
from ttp_jax.personalize import capacity
from ttp_jax.results import report
from ttp_jax.run import check_config, collect, hosts, job, many_hosts, video_job
from ttp_jax.run.interrupt import Stopped

CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'What to run, e.g. configs/joint.py', lock_config=True
)
WORKDIR = flags.DEFINE_string(
    'workdir',
    None,
    'Where results go; an earlier run of the same config is resumed there. '
    'Default: runs/<config>-<time>.',
)
DEBUG = flags.DEFINE_bool('debug', False, 'Show the whole traceback of an error.')


def keep_compiled_programs() -> None:
    """Keeps what XLA compiles in a user cache folder, unless JAX was told another one."""
    if not jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        cache = os.environ.get('XDG_CACHE_HOME', pathlib.Path.home() / '.cache')
        jax.config.update('jax_compilation_cache_dir', str(pathlib.Path(cache) / 'ttp_jax'))


def default_workdir() -> pathlib.Path:
    """runs/<config>-<time>: a run of its own."""
    source = next((a.split('=', 1)[1] for a in sys.argv if a.startswith('--config=')), 'run')
    name = (
        pathlib.Path(source.split(':')[0]).stem
        + source.partition(':')[1].replace(':', '-')
        + source.partition(':')[2]
    )
    return pathlib.Path('runs') / f'{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}'


def with_installed_config(argv: list[str]) -> list[str]:
    """The words, with the package's own `configs/NAME.py` where there is no such file here."""
    installed = pathlib.Path(sysconfig.get_path('data')) / 'share' / 'ttp_jax'

    def found(word: str) -> str:
        flag, _, value = word.partition('=')
        name, colon, variant = value.partition(':')
        if flag != '--config' or not name.startswith('configs/') or os.path.isfile(name):
            return word
        own = installed / name
        return f'{flag}={own}{colon}{variant}' if own.is_file() else word

    return [found(word) for word in argv]


def parse_flags(argv: list[str]) -> list[str]:
    """The flags, or one line about what is wrong with them."""
    try:
        return flags.FLAGS(with_installed_config(argv))
    except flags.Error as error:  # of a config file it holds the whole traceback, cause last
        sys.exit(f'error: {str(error).strip().splitlines()[-1].strip()}')
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        sys.exit(f'error: {" ".join(str(error).split())}')


def run(config: ConfigDict, workdir: pathlib.Path) -> str:
    """Does the job that the config describes; returns what to print."""
    if 'input' in config:
        if places.in_store(workdir):
            raise ValueError(f'--workdir={workdir}: what is made of a video is written to a disk')
        return video_job.execute(config, workdir)
    config = check_config.with_own_labels(config, workdir)  # the same for every host
    found = hosts.of(config)
    result: dict | None
    if config.collect:
        result = collect.execute(config, workdir)
    elif found.count > 1:
        result = many_hosts.execute(config, workdir, found)
    else:
        result = job.execute(config, workdir)
    if result is None:
        return f'Host {found.index} of {found.count} is done; others are at work, or are to begin.'
    return f'{report.table(result)}\nReport: {workdir / "report.md"}'


def main(argv: list[str]) -> None:
    """Runs the job and prints what came of it, or in one line what is wrong."""
    if len(argv) > 1:
        raise app.UsageError(f'unexpected arguments: {" ".join(argv[1:])}')
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    keep_compiled_programs()
    capacity.one_device_per_core()
    workdir = places.place(WORKDIR.value) if WORKDIR.value else default_workdir()
    try:
        told = run(CONFIG.value, workdir)
    except (ValueError, OSError) as error:  # such as a full disk
        if DEBUG.value:
            raise
        sys.exit(f'error: {error}')
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        print('stopped; what was finished is kept, and the same --workdir goes on', file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    print(told)


if __name__ == '__main__':
    flags.mark_flag_as_required('config')
    app.run(main, flags_parser=parse_flags)
