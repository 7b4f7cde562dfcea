"""Which host this is, of how many: known without a word to the others.

Contract: a host is one process of a job that several of them do. Its index and their count come
from the config, or else from the cluster (SLURM's `srun`, TPU pods, Kubernetes, Open MPI: whatever
JAX itself finds), or else it is alone. Nothing of JAX's backend is started to know that, so people
can be personalized without any connection between hosts: one that dies stops nobody else. To train
together hosts have to be connected, and then JAX ends all of them soon after one has died.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

import jax
from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Hosts:
    """index: this host, counted from 0; count: of all; coordinator: `address:port`, '' if found."""

    index: int = 0
    count: int = 1
    coordinator: str = ''


ALONE = Hosts()


def of(config: ConfigDict) -> Hosts:
    """This host, as the config says or the cluster tells. Raises ValueError as `check` does."""
    check(config)
    if config.collect:
        return ALONE  # whoever joins what hosts have done is none of them
    if config.hosts.count:
        return Hosts(config.hosts.index, config.hosts.count, config.hosts.coordinator)
    return dataclasses.replace(found_by_jax(), coordinator=config.hosts.coordinator)


def check(config: ConfigDict) -> None:
    """Raises ValueError for an index without a count, or one that is none of its hosts."""
    index, count = config.hosts.index, config.hosts.count
    if config.collect:
        return
    if not count and index >= 0:
        raise ValueError(
            f'config.hosts.index is {index} and config.hosts.count 0, expected both, or -1 and 0 '
            'for what the cluster says'
        )
    if count and not 0 <= index < count:
        raise ValueError(
            f'config.hosts.index is {index}, expected at least 0 and less than config.hosts.count, '
            f'which is {count}'
        )


def found_by_jax() -> Hosts:
    """This host in the cluster that JAX finds itself in; alone where it finds none."""
    # What `jax.distributed.initialize` asks too; it has no public door that asks without starting.
    from jax._src.clusters import ClusterEnv

    for cluster in ClusterEnv._cluster_types:
        if not cluster.opt_in_only_method and cluster.is_env_present():
            return Hosts(cluster.get_process_id(), cluster.get_process_count())
    return ALONE


@contextlib.contextmanager
def connected(hosts: Hosts) -> Iterator[None]:
    """All hosts as one to JAX, each with the devices of all; to begin before JAX computes anything.

    At the end everyone waits for everyone, and goes on alone.

    Raises:
      ValueError: where nobody says how, or the others do not come within five minutes.
    """
    jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    try:
        jax.distributed.initialize(*_address(hosts))
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f'host {hosts.index} of {hosts.count} cannot join the others to train: '
            f'{" ".join(str(error).split())[:200]}'
        ) from None
    yield
    jax.distributed.shutdown()


def _address(hosts: Hosts) -> tuple:
    """What `jax.distributed.initialize` has to be told: nothing where the cluster knows."""
    if hosts.coordinator:
        return hosts.coordinator, hosts.count, hosts.index
    if found_by_jax() == hosts:
        return ()
    raise ValueError(
        'config.hosts.coordinator is not set, expected address:port of host 0: hosts that train '
        'together are connected'
    )
