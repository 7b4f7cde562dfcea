"""Several hosts in one workdir: who works for whom, who takes over, and one report of all."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from conftest import TINY

from configs import joint
from ttp_jax import train
from ttp_jax.data import clips, sets, skeletons
from ttp_jax.networks import model, perceptual
from ttp_jax.personalize import capacity
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.results import rows
from ttp_jax.run import adaptation, build, collect, hosts, job, lock, many_hosts, shares

JOINTS = len(skeletons.PENN_ACTION.joints)
LENGTHS = {'a': 9, 'b': 3, 'c': 2, 'd': 2, 'e': 2}  # so host 0 of 2 has 'a', host 1 all others
PHASES = ('before', 'online', 'offline')


class Frames:
    """Frames that note who looks at them."""

    def __init__(self, name, count, seen):
        self.name, self.count, self.seen = name, count, seen

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.seen.add(self.name)
        return np.full((40, 40, 3), 10 * index, np.uint8)


def person(name, frames, seen):
    rng = np.random.default_rng(frames)
    joints = rng.uniform(5, 35, (frames, JOINTS, 2)).astype(np.float32)
    boxes = np.tile(np.float32([2, 2, 38, 38]), (frames, 1))
    labels = clips.Labels(joints, np.ones((frames, JOINTS), np.float32))
    return clips.Clip(name, Frames(name, frames, seen), boxes, labels)


def config(**changes):
    found = joint.get_config()
    found.model.update({key: value for key, value in TINY.items() if key != 'joints'})
    found.crop.size, found.pictures = 32, 0
    found.train.steps, found.checkpoint = 0, 'somewhere'
    found.personalize.people_per_chunk = 1
    found.update(changes)
    return found


def predicted(run, phase, done):
    """What stands in for the networks: the labels, moved by something of the phase's own."""
    for index, clip in enumerate(run.people):
        if index not in done:
            shift = np.float32(40 * (1 - PHASES.index(phase) / 2) / (1 + len(clip.frames)))
            joints = clip.labels.joints + shift
            losses = np.full((len(joints), 1), 2.0)
            yield index, Adapted(joints, joints[..., 0], losses, seconds=1.0)


@pytest.fixture
def world(monkeypatch):
    """People whose frames are watched, and networks that cost nothing; who was worked for."""
    seen, worked = set(), []
    people = [person(name, frames, seen) for name, frames in LENGTHS.items()]
    monkeypatch.setattr(sets, 'load', lambda **_: sets.DataSet((), people, skeletons.PENN_ACTION))

    def personalize(run, schedule, *, keep, done):
        for index, result in predicted(run, schedule, done):
            worked.append((schedule, run.people[index].id))
            yield index, result

    monkeypatch.setattr(adaptation, 'predict', lambda run, *, done: predicted(run, 'before', done))
    monkeypatch.setattr(adaptation, 'personalize', personalize)
    monkeypatch.setattr(capacity, 'needs', lambda *_, **__: capacity.Needs(1))
    shapes = jax.eval_shape(
        lambda: train.initial_state(
            jax.random.key(0),
            model=model.PoseModel(**TINY),
            tx=train.optimizer(learning_rate=1e-3, steps=1),
            perceptual=perceptual.load('random'),
            size=32,
        )
    )
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    monkeypatch.setattr(build.Run, 'first_state', lambda _: state)
    return people, seen, worked


def run_host(workdir, index, count=2, **changes):
    return many_hosts.execute(config(**changes), workdir, hosts.Hosts(index, count))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def scores(report):
    return {key: report[key] for key in ('mpck', 'people', 'compared', 'failed')}


def test_hosts_load_only_their_own_and_the_last_one_reports_as_one_process_would(world, tmp_path):
    _, seen, worked = world
    alone = job.execute(config(), tmp_path / 'alone')
    workdir, everything = tmp_path / 'shared', list(worked)
    seen.clear(), worked.clear()
    with lock.held(shares.folder(workdir, 1)):  # host 1 is at work
        assert run_host(workdir, 0) is None
    assert seen == {'a'} and {name for _, name in worked} == {'a'}
    assert not (workdir / 'results.jsonl').exists()
    found = run_host(workdir, 1)
    assert scores(found) == scores(alone) and sorted(worked) == sorted(everything)
    for name in ('results.jsonl', 'report.md', 'report.json'):
        assert (workdir / name).is_file()
    without = lambda row: {key: value for key, value in row.items() if key != 'host'}
    mine, theirs = (lines(folder / 'results.jsonl') for folder in (workdir, tmp_path / 'alone'))
    assert [*map(without, mine)] == [*map(without, theirs)]
    assert all(row['host'] for row in mine)
    assert {row['id'] for row in lines(shares.folder(workdir, 0) / 'results.jsonl')} == {'a'}


def test_people_of_a_host_that_died_are_taken_up_and_nobody_is_done_twice(
    world, tmp_path, monkeypatch
):
    worked, complete = world[2], adaptation.personalize

    def dies(run, schedule, **how):
        for count, result in enumerate(complete(run, schedule, **how)):
            if count == 2:
                raise KeyboardInterrupt
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(adaptation, 'personalize', dies)
        with pytest.raises(KeyboardInterrupt):
            run_host(tmp_path, 1)
    done = set(worked[:2])
    found = run_host(tmp_path, 0)
    assert found and len(found['people']) == len(LENGTHS)
    again = worked[3:]  # the third was under way
    assert not done & set(again) and len(again) == 2 * len(LENGTHS) - 2
    assert {row['id'] for row in rows.read(tmp_path / 'hosts' / '1' / 'results.jsonl')} == {*'bcde'}
    worked.clear()
    assert scores(run_host(tmp_path, 1)) == scores(found) and not worked


def test_another_number_of_hosts_goes_on_with_what_is_left(world, tmp_path):
    worked = world[2]
    with lock.held(shares.folder(tmp_path, 1)):
        run_host(tmp_path, 0)
    found = run_host(tmp_path, 2, count=3)
    assert found and len(worked) == len(set(worked)) == 2 * len(LENGTHS)


def test_a_second_job_of_the_same_host_is_refused_but_not_if_its_people_are_taken_up(
    world, tmp_path
):
    with lock.held(shares.folder(tmp_path, 0)):
        with pytest.raises(lock.Taken, match='hosts/0: another job is running there'):
            run_host(tmp_path, 0)
    assert not world[2]
    with lock.held(shares.folder(tmp_path, 0), note=f', {shares.IN_PLACE} host 0'):
        assert run_host(tmp_path, 0) is None
    assert {name for _, name in world[2]} == {*'bcde'}


def test_hosts_and_a_job_by_one_process_do_not_share_a_workdir(world, tmp_path):
    with lock.held(tmp_path, shared=True):
        with pytest.raises(lock.Taken, match='hosts, such as process'):
            job.execute(config(), tmp_path)
        assert run_host(tmp_path, 0)
    with lock.held(tmp_path), pytest.raises(lock.Taken):
        run_host(tmp_path, 1)


def test_a_host_may_have_nobody(world, tmp_path):
    assert len(run_host(tmp_path, 6, count=7)['people']) == len(LENGTHS)


# --- joining later ---------------------------------------------------------------------------


@pytest.fixture
def done(world, tmp_path):
    """(workdir of two hosts who are done, the report)."""
    return tmp_path, run_host(tmp_path, 0)


def test_what_is_done_is_joined_later_without_a_model(done, monkeypatch):
    workdir, report = done
    joined = (workdir / 'results.jsonl').read_text()
    (workdir / 'results.jsonl').unlink()
    monkeypatch.setattr(build, 'Run', None)
    assert scores(collect.execute(config(), workdir)) == scores(report)
    assert (workdir / 'results.jsonl').read_text() == joined


def test_who_is_not_done_is_named(done):
    workdir, _ = done
    path = workdir / 'predictions' / 'offline' / 'c.npz'
    other = path.read_bytes()
    path.unlink()
    with pytest.raises(ValueError, match='1 of 5 people are not done yet, such as c; start'):
        collect.execute(config(), workdir)
    path.write_bytes(other)
    assert collect.execute(config(), workdir)
    path.write_bytes((workdir / 'predictions' / 'online' / 'c.npz').read_bytes())  # another run's
    with pytest.raises(ValueError, match='such as c'):
        collect.execute(config(), workdir)


def test_nothing_to_join_is_an_error(world, tmp_path):
    with pytest.raises(ValueError, match='hosts: no such folder, expected what hosts have done'):
        collect.execute(config(), tmp_path)


def test_somebody_whose_clip_is_no_good_fails_alone_and_is_in_the_report(world, tmp_path):
    people, _, _ = world
    people[2] = dataclasses.replace(people[2], boxes=people[2].boxes[:, ::-1])
    with lock.held(shares.folder(tmp_path, 0)):
        run_host(tmp_path, 1)
    found = run_host(tmp_path, 0)
    assert [*found['failed']] == ['c'] and 'box of frame 0' in found['failed']['c']
    rows_of_c = [row for row in lines(tmp_path / 'results.jsonl') if row['id'] == 'c']
    assert [row['status'] for row in rows_of_c] == ['failed', 'failed']
    assert collect.execute(config(), tmp_path)['failed'] == found['failed']


def test_somebody_who_was_mended_is_no_longer_failed_whatever_an_older_share_says(world, tmp_path):
    people = world[0]
    good, people[2] = people[2], dataclasses.replace(people[2], boxes=people[2].boxes[:, ::-1])
    assert [*run_host(tmp_path, 0, count=3)['failed']] == ['c']
    assert 'c' in shares.read(shares.folder(tmp_path, 2)).refused  # of whom two hosts know nothing
    people[2] = good
    found = run_host(tmp_path, 0, count=2)
    assert not found['failed'] and len(found['people']) == len(LENGTHS)


# --- which host ------------------------------------------------------------------------------


def given(**values):
    found = joint.get_config()
    found.hosts.update(values)
    return found


def test_a_host_is_told_by_the_config_or_the_cluster_or_alone(monkeypatch):
    assert hosts.of(given()) == hosts.Hosts()
    assert hosts.of(given(count=4, index=3, coordinator='a:1')) == hosts.Hosts(3, 4, 'a:1')
    for name, value in {
        'SLURM_JOB_ID': 7,
        'SLURM_STEP_NODELIST': 'node[1-4]',
        'SLURM_NTASKS': 4,
        'SLURM_PROCID': 2,
        'SLURM_LOCALID': 0,
    }.items():
        monkeypatch.setenv(name, str(value))
    assert hosts.of(given()) == hosts.Hosts(2, 4)
    assert hosts.of(given(count=1, index=0)) == hosts.Hosts()


def test_whoever_collects_needs_no_place_among_the_hosts():
    found = given(count=2, index=-1)
    found.collect = True
    assert hosts.of(found) == hosts.ALONE


@pytest.mark.parametrize(('index', 'count'), [(2, 2), (-1, 2), (0, 0)])
def test_a_host_that_cannot_be_is_refused(index, count):
    with pytest.raises(ValueError, match=r'config.hosts.index is -?\d') as error:
        hosts.of(given(index=index, count=count))
    assert '\n' not in str(error.value)
