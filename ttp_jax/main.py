"""The program: `python -m ttp_jax.main --config=configs/joint.py`.

Reads the flags and the config, runs the phases in order (data, train, before, online, offline,
report) and says where the results are. Everything below this module takes plain arguments.
"""
from ttp_jax import host_memory

if __name__ == '__main__':
    host_memory.restart_with_huge_pages()  # before anything that takes long to import

import contextlib
import datetime
import json
import math
import os
import pathlib
import subprocess
import sys
import time
from typing import Any, Collection, Iterable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import tensorboardX
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from ttp_jax import (capacity, checkpoint, convert, layers, partition, perceptual, personalize,
                     predictions, progress, report, train, views)
from ttp_jax import model as networks
from ttp_jax.data import clips, pairs, sets, stream

CONFIG = config_flags.DEFINE_config_file('config', None, 'What to run, e.g. configs/joint.py',
                                         lock_config=True)
WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Where results go; an earlier run of the same config is resumed there. '
    'Default: runs/<config>-<time>.')
DEBUG = flags.DEFINE_bool('debug', False, 'Show the whole traceback of an error.')

# What the networks compute in; parameters, statistics, losses and keypoints stay float32.
COMPUTE = {'float32': None, 'bfloat16': jnp.bfloat16}

Results = Iterator[tuple[int, personalize.Adapted]]  # of people by index, as soon as each is made


class Run:
    """What every phase needs, built from the config, checked before any long work starts."""

    def __init__(self, config: ConfigDict, workdir: pathlib.Path):
        self.config, self.workdir, self.seconds = config, workdir, {}
        self.check_schedules()
        self.check_computing()
        sets.check(**config.data)
        skeleton, subtract_one = sets.labels(config.data.name)
        self.perceptual = perceptual.load(config.perceptual.kind, seed=config.perceptual.seed,
                                          weights=config.perceptual.weights or None)
        self.model = networks.PoseModel(joints=len(skeleton.joints), **config.model)
        self.spec = pairs.CropSpec(config.crop.size, self.model.cells(config.crop.size),
                                   bgr=config.crop.bgr, subtract_one=subtract_one,
                                   sigma=config.model.sigma)
        self.tx = train.optimizer(learning_rate=config.train.learning_rate,
                                  steps=config.train.steps, drops=tuple(config.train.drops))
        self.checkpoints = checkpoint.Checkpoints(workdir / 'checkpoints')
        self.state = self.first_state()
        split(self)  # raises for frozen patterns that match nothing
        with self.phase('data'):
            self.load_data()

    def load_data(self) -> None:
        """Both splits: in memory if they fit, else with frames that are decoded when used."""
        config = self.config.data
        self.data = sets.load(seed=self.config.seed, **config)
        train_fits, test_fits = (clips.fit_in(people, gib=config.resident_gib)
                                 for people in (self.data.train, self.data.test))
        self.bank = clips.stack_clips(self.data.train) if train_fits else None
        self.people = self.data.test
        if test_fits:
            self.people = [clips.decoded(clip) for clip in self.people]

    def batches(self, first: int) -> Iterator[pairs.Pairs]:
        """The batches of the steps from `first` on, the same whether in memory or not."""
        config = self.config.train
        which = dict(first=first, steps=config.steps, batch=config.batch, seed=self.config.seed)
        if self.bank is None:
            return stream.batches(self.data.train, workers=self.config.data.workers, **which)
        return pairs.batches(self.bank, **which)

    def first_state(self) -> train.TrainState:
        """This workdir's newest state; or a fresh one, maybe with weights from elsewhere."""
        path, encoder = self.config.checkpoint, self.config.train.encoder_weights
        if self.checkpoints.latest() is not None:
            return self.checkpoints.restore(self.fresh_state())
        if path and encoder:
            raise ValueError('config.checkpoint and config.train.encoder_weights are both set, '
                             'expected one: a checkpoint has an encoder already')
        if path:
            return self.load_checkpoint(path)
        return convert.load_encoder(encoder, self.fresh_state()) if encoder else self.fresh_state()

    def fresh_state(self) -> train.TrainState:
        return train.create_state(jax.random.key(self.config.seed), model=self.model, tx=self.tx,
                                  perceptual=self.perceptual, size=self.spec.size)

    def load_checkpoint(self, path: str) -> train.TrainState:
        """A fresh state with what another run's checkpoint holds, if that is of the same model."""
        mine, theirs = flat(self.config.to_dict()), flat(checkpoint.config_beside(path))
        check_same_model(path, theirs, mine)
        # Loss means say how large one network's terms are; another's have to be found anew.
        kind = mine['perceptual.kind']
        return checkpoint.load_model(path, self.fresh_state(),
                                     loss_means=theirs.get('perceptual.kind', kind) == kind)

    def check_schedules(self) -> None:
        """Raises now what would otherwise be raised after training."""
        schedules, variant = self.config.personalize.schedules, self.config.model.variant
        if schedules and variant == 'baseline':
            raise ValueError(f'config.personalize.schedules is {schedules}, but model.variant '
                             "'baseline' has no task to learn from without labels; set "
                             "--config.personalize.schedules='()'")
        for name in schedules:
            if name not in personalize.SCHEDULES:
                raise ValueError(f'config.personalize.schedules: no schedule {name!r}; '
                                 f'known: {", ".join(personalize.SCHEDULES)}')

    def check_computing(self) -> None:
        """Likewise, of dtypes and lowerings."""
        for phase in ('train', 'personalize'):
            for key, known in (('dtype', tuple(COMPUTE)), ('lowering', ('auto', *layers.LOWERINGS))):
                if (found := self.config[phase][key]) not in known:
                    raise ValueError(f'config.{phase}.{key} is {found!r}, expected one of '
                                     f'{", ".join(map(repr, known))}')

    def computing(self, phase: str, weights: str) -> dict[str, Any]:
        """The model's `lowering` and `dtype` in a phase; weights: of `layers.suited_lowering`."""
        config = self.config[phase]
        lowering = config.lowering if config.lowering != 'auto' else layers.suited_lowering(weights)
        return dict(lowering=lowering, dtype=COMPUTE[config.dtype])

    @contextlib.contextmanager
    def phase(self, name: str):
        """Measures the seconds spent inside."""
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


def train_phase(run: Run) -> None:
    """Joint training from the run's state to its last step, with checkpoints and metrics."""
    config = run.config.train
    step = train.pmap_step(
        model=run.model.clone(**run.computing('train', 'joint')),
        perceptual=run.perceptual, tx=run.tx, spec=run.spec, mirror=run.data.skeleton.mirror,
        augment=config.augment.to_dict(), reconstruction_weight=config.reconstruction_weight,
        devices=capacity.training_devices())
    log = metrics_log(run.workdir)
    first = int(run.state.step)
    with log, progress.bar('train', total=config.steps, initial=first) as bar:
        for index, state, metrics in train.fit(run.state, run.batches(first), step=step,
                                               seed=run.config.seed):
            run.state = state
            if index % config.log_every == 0 or index in (1, config.steps):
                values = {name: float(value) for name, value in metrics.items()}
                log.write(index, values)
                bar.set_postfix(loss=f'{values["loss"]:.5f}', refresh=False)
            if index % config.save_every == 0 and index < config.steps:
                run.checkpoints.save(state)
            bar.update()
    run.checkpoints.save(run.state)


class metrics_log(contextlib.AbstractContextManager):
    """Metrics to `metrics.jsonl` and TensorBoard."""

    def __init__(self, workdir: pathlib.Path):
        self.lines = open(workdir / 'metrics.jsonl', 'a', buffering=1)
        self.board = tensorboardX.SummaryWriter(str(workdir / 'tensorboard'))

    def write(self, step: int, values: dict[str, float], prefix: str = 'train') -> None:
        """One line, one point per curve."""
        self.lines.write(json.dumps({'step': step, **values}) + '\n')
        for name, value in values.items():
            self.board.add_scalar(f'{prefix}/{name}', value, step)

    def __exit__(self, *_):
        self.lines.close()
        self.board.close()


def before_phase(run: Run) -> Results:
    """(index, predictions) of everyone with the shared weights."""
    count, devices = people_together(run)
    return personalize.predict_people(
        run.people, runner=runner(run, 'online', count, devices), params=run.state.params,
        batch_stats=run.state.batch_stats, people_per_chunk=count)


def personalize_phase(run: Run, schedule: str, *, keep: Collection[int] = (),
                      done: Collection[int] = ()) -> Results:
    """(index, result) of everyone but `done`, adapted under one schedule; `keep` with their weights."""
    left = [i for i in range(len(run.people)) if i not in done]
    count, devices = people_together(run)
    trainable, frozen = split(run)
    frames = [len(clip.frames) for clip in run.people]
    with progress.bar(schedule, total=sum(frames), initial=sum(frames[i] for i in done),
                      unit='frame') as bar:
        def on_segment(loss, frames):
            bar.set_postfix(loss=f'{float(loss):.3f}', refresh=False)
            bar.update(frames)
        for index, adapted in personalize.personalize_people(
                [run.people[i] for i in left], runner=runner(run, schedule, count, devices),
                trainable=trainable, frozen=frozen, batch_stats=run.state.batch_stats,
                loss_means=run.state.loss_means, seed=run.config.seed, people_per_chunk=count,
                keep=[left.index(i) for i in keep], on_segment=on_segment):
            yield left[index], adapted


def split(run: Run) -> tuple[partition.Flat, partition.Flat]:
    """(trainable, frozen) parameters, as the config or else the paper has it."""
    frozen = run.config.personalize.frozen or partition.FROZEN[run.model.variant]
    return partition.split(run.state.params, frozen=frozen)


def people_together(run: Run) -> tuple[int, list[jax.Device]]:
    """How many people to adapt at once, and on which devices: as the config says, or as fit."""
    config, devices = run.config.personalize, jax.local_devices()
    count = config.people_per_chunk
    if not count:
        private = run.model.clone(**run.computing('personalize', 'private'))
        each = capacity.person_bytes(
            *split(run), run.state.batch_stats, model=private, perceptual=run.perceptual,
            size=run.spec.size, batch=config.batch)
        frames = max(len(clip.frames) for clip in run.people)
        clip_bytes = 3 * frames * math.prod(clips.largest_frame(run.people))
        count = capacity.people_at_once(each + clip_bytes, devices)
    count = min(count, len(run.people))
    return count, devices[:count]


def runner(run: Run, schedule: str, count: int, devices: list[jax.Device]) -> personalize.Runner:
    """The compiled pieces of personalization for one schedule, `count` people on the devices."""
    config = run.config.personalize
    weights = 'private' if count > len(devices) else 'alone' if len(devices) > 1 else 'joint'
    computing = run.computing('personalize', weights)
    steps = config[schedule]
    tx = personalize.optimizer(learning_rate=steps.learning_rate, images_first=steps.images_first,
                               image_learning_rate=steps.image_learning_rate)
    return personalize.make_runner(
        model=run.model.clone(dtype=computing['dtype']), perceptual=run.perceptual, tx=tx,
        spec=run.spec, schedule=schedule, batch=config.batch, epochs=steps.epochs,
        augment=run.config.train.augment.to_dict(), lowering=computing['lowering'], devices=devices)


def saved(run: Run, phase: str, results: Results) -> Results:
    """The same results, each in its file as soon as it is made."""
    for index, adapted in results:
        predictions.save(run.workdir / 'predictions' / phase, run.people[index], adapted,
                         names=run.data.skeleton.joints)
        yield index, adapted


def in_order(results: Iterable[tuple[int, personalize.Adapted]]) -> list[personalize.Adapted]:
    """Results without their indices, by index."""
    return [adapted for _, adapted in sorted(results, key=lambda result: result[0])]


def earlier_results(run: Run, phase: str, *, but: Collection[int]) -> dict[int, personalize.Adapted]:
    """What a run of this workdir that was stopped has left; not of those whose weights are wanted."""
    found = predictions.load(run.workdir / 'predictions' / phase, run.people)
    return {index: adapted for index, adapted in found.items() if index not in but}


def draw_pictures(run: Run, summary: dict, adapted: dict[str, list[personalize.Adapted]]) -> list[str]:
    """The contact sheet, the curves and what was seen before and after; returns file names."""
    rows = [json.loads(line) for line in (run.workdir / 'metrics.jsonl').read_text().splitlines()]
    curves = {name: [a.losses for a in results] for name, results in adapted.items()}
    report.contact_sheet(run.workdir / 'people.png', run.people, skeleton=run.data.skeleton)
    report.loss_curves(run.workdir / 'losses.png', rows, curves)
    report.gain_chart(run.workdir / 'gains.png', summary)
    names, compared = ['people.png', 'losses.png', 'gains.png'], []
    for index in range(min(run.config.pictures, len(run.people))):
        clip, seen = run.people[index], see_person(run, index, adapted)
        truth = views.truth(clip, middle(clip), spec=run.spec)
        names.append(draw_person(run, clip, seen, truth))
        scores = summary['people'][index]
        if adapted and scores['before'] is not None:
            compared.append(before_and_after(clip, seen, truth, scores))
    if compared:
        report.hero(run.workdir / 'before_after.png', compared, skeleton=run.data.skeleton)
        names.insert(0, 'before_after.png')
    return names


def middle(clip: clips.Clip) -> int:
    """The frame that stands for a clip in pictures."""
    return len(clip.frames) // 2


def see_person(run: Run, index: int, adapted: dict[str, list[personalize.Adapted]]
               ) -> dict[str, report.View]:
    """One test person's middle frame, as seen before and after each schedule."""
    clip, (_, frozen) = run.people[index], split(run)
    params = {'before': run.state.params}
    for name, results in adapted.items():
        params[name] = partition.merge(results[index].trainable, frozen)
    return {name: views.view(p, run.state.batch_stats, clip, target=middle(clip), source=0,
                             model=run.model, spec=run.spec) for name, p in params.items()}


def draw_person(run: Run, clip: clips.Clip, seen: dict[str, report.View], truth: np.ndarray) -> str:
    """The picture of one test person; returns its file's name."""
    name = f'person_{clip.id}.png'
    report.person_picture(run.workdir / name, clip.id, seen, truth, clip.visibility[middle(clip)],
                          skeleton=run.data.skeleton)
    return name


def before_and_after(clip: clips.Clip, seen: dict[str, report.View], truth: np.ndarray,
                     scores: dict) -> report.Pair:
    """The same frame before and after the last schedule, with the clip's scores."""
    last = list(seen)[-1]
    return report.Pair(clip.id, seen['before'].target, seen['before'].joints, seen[last].joints,
                       scores['before'], scores[last], truth, clip.visibility[middle(clip)])


def execute(config: ConfigDict, workdir: pathlib.Path) -> dict:
    """The whole job; returns the report."""
    check_workdir(workdir, config)
    run = Run(config, workdir)
    (workdir / 'config.json').write_text(json.dumps(json.loads(config.to_json()), indent=2) + '\n')
    with run.phase('train'):
        train_phase(run)
    with run.phase('before'):
        before = in_order(saved(run, 'before', before_phase(run)))
    adapted, made, keep = {}, {}, range(min(config.pictures, len(run.people)))
    for schedule in config.personalize.schedules:
        with run.phase(schedule):
            done = earlier_results(run, schedule, but=keep)
            results = personalize_phase(run, schedule, keep=keep, done=done)
            adapted[schedule] = in_order([*done.items(), *saved(run, schedule, results)])
        made[schedule] = sum(len(clip.frames) for i, clip in enumerate(run.people) if i not in done)
    with run.phase('report'):
        joints = {name: [a.joints for a in results]
                  for name, results in {'before': before, **adapted}.items()}
        result = report.summarise(run.people, joints, skeleton=run.data.skeleton)
        pictures = draw_pictures(run, result, adapted)
        run.checkpoints.wait()
    result |= {'seconds': run.seconds, 'made': made, 'seed': config.seed, 'git': git_commit(),
               'command': ' '.join(['python -m ttp_jax.main', *sys.argv[1:]])}
    report.write_report(workdir, result, pictures=pictures)
    return result


# How frames come into memory; no result depends on it, so a resumed run may do it in another way.
READING = ('data.resident_gib', 'data.workers')


def check_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Makes the folder; raises ValueError where a run of another config has begun in it."""
    workdir.mkdir(parents=True, exist_ok=True)
    path, mine = workdir / 'config.json', json.loads(config.to_json())
    if path.is_file():
        theirs = json.loads(path.read_text())
        for name in sorted({*flat(mine), *flat(theirs)}.difference(READING)):
            if flat(mine).get(name) != flat(theirs).get(name):
                raise ValueError(
                    f'{path}: config.{name} is {flat(theirs).get(name)!r} there and '
                    f'{flat(mine).get(name)!r} now; choose another --workdir')


def check_same_model(path: str, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Raises ValueError where a checkpoint's config is of another model, saying what to set.

    theirs, mine: as `flat` gives them. Dropout may differ: it is of training, not of the model.
    """
    joints = {name: len(sets.labels(name)[0].joints) for name in sets.LOADERS}
    name = mine['data.name']
    if (found := theirs.get('model.joints', joints[name])) != joints[name]:
        fitting = ' or '.join(n for n in joints if joints[n] == found) or 'another'
        raise ValueError(f'checkpoint {path}: its model has {found} joints, config.data.name='
                         f'{name} has {joints[name]}; set it to {fitting}')
    of_model = [n for n in mine if n.startswith('model.') or n == 'crop.bgr']
    other = [n for n in of_model if theirs.get(n, mine[n]) != mine[n] and n != 'model.dropout']
    if other:
        raise ValueError(f'checkpoint {path}: its model is not the one of this config; set '
                         + ' '.join(f'--config.{n}={theirs[n]}' for n in other)
                         + f' (found {", ".join(str(mine[n]) for n in other)})')


def flat(tree: dict, prefix: str = '') -> dict:
    """A nested dict as one from dotted names to values."""
    items = {}
    for name, value in tree.items():
        items |= flat(value, f'{prefix}{name}.') if isinstance(value, dict) else {prefix + name: value}
    return items


def git_commit() -> str | None:
    """The commit of this code, `+` where it was changed since; None outside a checkout."""
    def git(*words):
        return subprocess.run(['git', *words], cwd=pathlib.Path(__file__).parent, text=True,
                              capture_output=True, check=True).stdout.strip()
    try:
        return git('rev-parse', 'HEAD') + ('+' if git('status', '--porcelain', '-uno') else '')
    except (OSError, subprocess.CalledProcessError):
        return None


def keep_compiled_programs() -> None:
    """Keeps what XLA compiles in a user cache folder, unless JAX was told another one."""
    if not jax.config.jax_compilation_cache_dir:
        cache = os.environ.get('XDG_CACHE_HOME', pathlib.Path.home() / '.cache')
        jax.config.update('jax_compilation_cache_dir', str(pathlib.Path(cache) / 'ttp_jax'))


def default_workdir() -> pathlib.Path:
    """runs/<config>-<time>: a run of its own."""
    source = next((a.split('=', 1)[1] for a in sys.argv if a.startswith('--config=')), 'run')
    name = pathlib.Path(source.split(':')[0]).stem + source.partition(':')[1].replace(':', '-') \
        + source.partition(':')[2]
    return pathlib.Path('runs') / f'{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}'


def parse_flags(argv: list[str]) -> list[str]:
    """The flags, or one line about what is wrong with them."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:  # of a config file it holds the whole traceback, cause last
        sys.exit(f'error: {str(error).strip().splitlines()[-1].strip()}')
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        sys.exit(f'error: {" ".join(str(error).split())}')


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f'unexpected arguments: {" ".join(argv[1:])}')
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    keep_compiled_programs()
    capacity.one_device_per_core()
    workdir = pathlib.Path(WORKDIR.value) if WORKDIR.value else default_workdir()
    try:
        result = execute(CONFIG.value, workdir)
    except ValueError as error:
        if DEBUG.value:
            raise
        sys.exit(f'error: {error}')
    print(report.table(result))
    print(f'\nReport: {workdir / "report.md"}')


if __name__ == '__main__':
    flags.mark_flag_as_required('config')
    app.run(main, flags_parser=parse_flags)
