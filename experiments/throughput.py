"""How fast is personalization, and how fast would PyTorch be? Everything measured in one run.

    python experiments/throughput.py                     # every row
    python experiments/throughput.py --quick             # small size, few rows
    python experiments/throughput.py --sizes=paper --people=1,2 --rows='blocked|torch' --json=FILE

Prints a table of rows and a table of targets. PyTorch's rows need `pip install -e '.[torch]'`, and
are skipped with a line without it. The columns:

    people          adapted in this row; PyTorch's loops take people one after another, so that
                    their one row holds for any number
    devices         that share them: of a CPU its cores, where a chunk is one person, else one
    chunk           people at a time on a device, vmapped. On a CPU configs/ take 1
    lowering        ttp_jax.layers' for private weights; of PyTorch, its mode (torch_reference.py)
    frames/s        online: frames adapted to and predicted, of everyone together; joint: images
    gflops          achieved GFLOP/s: the arithmetic that the mathematics needs, by formula from
                    each layer's shape (arithmetic.py), not what an implementation happens to do:
                    Winograd's tiles get along with less. XLA's own count of the traced step stands
                    below the table
    matmul          gflops as a share of the best batched matmul found on this machine in this run
    peak            jax: arguments, outputs and temporaries of the compiled program on a device.
                    PyTorch, CPU: growth of the process; GPU: the allocator's peak
    compile, again  seconds to trace and compile with an empty cache, and once more, in a new
                    process, from the persistent cache (of the first program of each kind)

`online` runs the schedule of that name through `many_people.make_runner`, one Adam step per frame
as in the paper (configs may ask for more); `joint` is `train.train_step`; PyTorch does the same
from the same frames, crops included. Every row is a process of its own, with the glibc settings of
`python -m ttp_jax.main` (ttp_jax/run/host_memory.py) for PyTorch as for JAX; a GLIBC_TUNABLES that
is already set is kept. Times are medians over calls of a few frames, without the first, a warm-up,
unless no other fits. A row that meets its limit (--limit) shows what is known by then: `< 0.3`
frames/s. On a CPU the library's convolutions get one frame a call, and maybe one call.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import json
import math
import os
import pathlib
import re
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ttp_jax.networks import layers
from ttp_jax.objectives.reconstruction import RECONSTRUCTION
from ttp_jax.personalize import inner_loop, many_people, placement
from ttp_jax.run import host_memory

ROOT = pathlib.Path(__file__).resolve().parents[1]
Row = dict[str, Any]


# --- sizes and jobs --------------------------------------------------------------------------


class Size(NamedTuple):
    """A model and what it is fed. `frame` (height, width) in pixels; `frames` per call."""

    model: dict[str, Any]
    crop: int
    frame: tuple[int, int]
    perceptual: str
    batch: int
    joint_batch: int
    frames: int
    people: tuple[int, ...]


def load_size(name: str) -> Size:
    """'small' and 'paper' from configs/; 'tiny' only shows that everything runs."""
    if name == 'tiny':
        model = dict(
            keypoints=6,
            depth=10,
            width=4,
            stem_pool=False,
            deconvolutions=3,
            features=8,
            image_width=4,
            heads=2,
            feedforward=16,
            dropout=0.1,
            sigma=2.0,
        )
        return Size(model, 32, (40, 48), 'random', 2, 2, 2, (1, 2))
    file, variant = {'small': ('joint.py', 'drawn'), 'paper': ('paper.py', 'penn_action')}[name]
    config = runpy.run_path(str(ROOT / 'configs' / file))['get_config'](variant)
    model = {k: v for k, v in config.model.to_dict().items() if k != 'variant'}
    if name == 'small':
        side = config.data.size
        return Size(
            model,
            config.crop.size,
            (side, side),
            config.perceptual.kind,
            config.personalize.batch,
            config.train.batch,
            4,
            (1, 2, 4, 8, 16),
        )
    # On a CPU a quarter of the paper's batch, and as many people as the targets ask for.
    return Size(model, config.crop.size, (270, 480), config.perceptual.kind, 8, 8, 2, (1, 2))


def on_gpu(size: Size) -> Size:
    """The paper's own batch, longer calls, everyone."""
    batch = {'batch': 32, 'joint_batch': 32} if size.perceptual == 'vgg16' else {}
    return size._replace(frames=8, people=(1, 2, 4, 8, 16), **batch)


@dataclasses.dataclass(frozen=True)
class Job:
    """One process. What it measures: task 'online' or 'joint'; or 'machine', 'matmul', 'count'."""

    task: str
    size: str = ''
    framework: str = ''  # 'jax', 'torch'
    gpu: bool = False
    people: tuple[int, ...] = (1,)
    chunk: int = 1
    batch: int = 0
    lowering: str = ''
    dtype: str = 'float32'
    redundant: bool = False
    compile_only: bool = False
    patience: float = 8.0

    @property
    def name(self) -> str:
        """What is shown of the job while it runs."""
        words = [self.size, self.task, self.implementation, self.lowering]
        if (self.task, self.framework) == ('online', 'jax'):
            words.append(f'{",".join(map(str, self.people))} people in chunks of {self.chunk}')
        return ' '.join(filter(None, [*words, 'compiled only' if self.compile_only else '']))

    @property
    def implementation(self) -> str:
        """The table's word for the framework and its mode."""
        words = [self.framework, 'bfloat16' if self.dtype == 'bfloat16' else '']
        if self.framework == 'torch' and self.task == 'online':
            words += ['release' if self.redundant else 'lean']
        return ' '.join(filter(None, words))

    @property
    def sizes(self) -> Size:
        """The size with what a GPU changes of it."""
        size = load_size(self.size)
        return on_gpu(size) if self.gpu else size


COUNTED = ('matmul', 'library')  # by XLA, which takes the body of a loop for one round of it
CPU_MODES = ('plain',)
GPU_MODES = ('tf32', 'amp+channels_last', 'tf32+compile', 'amp+compile+channels_last')


def plan(arguments: argparse.Namespace, *, gpu: bool) -> Iterator[Job]:
    """All rows that were asked for, in order."""
    modes = arguments.modes or (GPU_MODES if gpu else CPU_MODES)
    for name in arguments.sizes:
        size = on_gpu(load_size(name)) if gpu else load_size(name)
        people = arguments.people or ((1, 8, 16) if arguments.quick else size.people)
        base = Job(
            'count',
            name,
            'jax',
            gpu,
            batch=arguments.batch or size.batch,
            patience=arguments.patience,
        )
        yield base
        yield from online_jobs(
            dataclasses.replace(base, task='online'), people, modes, quick=arguments.quick
        )
        yield from joint_jobs(
            dataclasses.replace(base, task='joint', batch=size.joint_batch),
            modes,
            quick=arguments.quick,
        )


def online_jobs(
    base: Job, people: tuple[int, ...], modes: tuple[str, ...], *, quick: bool
) -> Iterator[Job]:
    """Personalization: of chunks of one, of everyone together, and PyTorch's loops."""
    change = functools.partial(dataclasses.replace, base)
    if not base.gpu:  # as configs/ do, a program for one and a program for all cores
        one, several = tuple(p for p in people if p == 1), tuple(p for p in people if p > 1)
        numbers = (
            {'winograd': one, 'blocked': several}
            if quick
            else dict.fromkeys(('winograd', 'blocked', 'matmul'), people)
        )
        yield from (change(people=n, lowering=lowering) for lowering, n in numbers.items() if n)
        for batch in (base.batch, base.batch // 2):  # what is not measured above, for its memory
            if quick or batch < base.batch:
                yield change(lowering='matmul', batch=batch, compile_only=True)
    for dtype in ('float32', 'bfloat16') if base.gpu else ('float32',):
        for lowering in ('matmul', 'library'):
            new = [p for p in people if p > 1 or base.gpu or lowering == 'library']
            for count in [8] if quick and 8 in people else new:
                yield change(people=(count,), chunk=count, lowering=lowering, dtype=dtype)
    for mode in modes:
        for redundant in (False, True) if mode == modes[0] else (False,):
            yield change(
                framework='torch', lowering=mode, redundant=redundant, dtype=precision(mode)
            )


def joint_jobs(base: Job, modes: tuple[str, ...], *, quick: bool) -> Iterator[Job]:
    """Joint training steps."""
    suited = 'library' if base.gpu else 'winograd'  # layers.suited_lowering, without a backend here
    for dtype in ('float32', 'bfloat16') if base.gpu else ('float32',):
        for lowering in (
            (suited,) if quick else ('matmul', 'library') if base.gpu else layers.LOWERINGS
        ):
            yield dataclasses.replace(base, lowering=lowering, dtype=dtype)
    for mode in modes:
        yield dataclasses.replace(base, framework='torch', lowering=mode, dtype=precision(mode))


def precision(mode: str) -> str:
    """What a mode of PyTorch computes in."""
    return 'bfloat16' if 'amp' in mode.split('+') else 'float32'


# --- processes -------------------------------------------------------------------------------


def run(job: Job, *, cache: str, limit: float) -> list[Row]:
    """The rows that the job's process printed until it ended or met the limit."""
    environment = {
        host_memory.TUNABLES: host_memory.SETTINGS,
        **os.environ,
        'JAX_COMPILATION_CACHE_DIR': cache,
    }
    command = [sys.executable, __file__, '--job', json.dumps(dataclasses.asdict(job))]
    with tempfile.TemporaryFile('w+') as output, tempfile.TemporaryFile('w+') as errors:
        try:
            failed = subprocess.run(
                command, stdout=output, stderr=errors, timeout=limit, env=environment
            ).returncode
        except subprocess.TimeoutExpired:
            failed = None
        output.seek(0)
        errors.seek(0)
        rows = latest(json.loads(line) for line in output if re.fullmatch(r'\{".*\}\n', line))
        if failed:
            lines = errors.read().strip().splitlines() or [f'ended with status {failed}']
            rows = rows or [{'people': job.people[0]}]
            rows[-1]['note'] = lines[-1][:100]
    if failed is None:
        return [stopped(row, limit) for row in rows or [{}]]
    return rows or [{'note': 'printed nothing'}]


def latest(rows) -> list[Row]:
    """The last row printed for each number of people."""
    return list({row.get('people', index): row for index, row in enumerate(rows)}.values())


def stopped(row: Row, limit: float) -> Row:
    """A row whose process was ended: without a time, it is known to take longer than it had."""
    if 'frames_per_second' in row:
        return {**row, 'note': 'its first call'} if len(row['calls']) == 1 else row
    if 'started' not in row:
        return {**row, 'note': f'no result within {limit:.0f} s'}
    work = row['work'] / (time.time() - row['started'])
    return {**row, 'at_most': work, 'note': f'stopped after {limit:.0f} s'}


def emit(row: Row) -> None:
    """Sends a row to the parent process; a later one for as many people replaces it."""
    print(json.dumps(row), flush=True)


def time_calls(
    call: Callable[[], None], *, work: float, row: Callable[[], Row], patience: float
) -> None:
    """Emits the row with the work per second of the median call.

    The first call is a warm-up, and counts only where it lasts so long that there is no other.
    """
    emit({**row(), 'work': work, 'started': time.time()})
    seconds = []
    for index in range(20):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
        counted = seconds[1:] or seconds
        emit({**row(), 'frames_per_second': work / statistics.median(counted), 'calls': seconds})
        if sum(counted) > (patience if index else 4 * patience):
            return


def resident_bytes() -> int:
    """The most memory that this process ever held."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- what people and batches look like -------------------------------------------------------


def drawn_frames(size: Size, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise and a box well inside: frames `[count, H, W, 3]` and boxes `[count, 4]`."""
    height, width = size.frame
    frames = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    box = np.float32([0.3 * width, 0.1 * height, 0.7 * width, 0.9 * height])
    return frames, np.tile(box, (count, 1))


def drawn_labels(size: Size, count: int, joints: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints `[count, J, 2]` in image pixels and visibility `[count, J]`."""
    rng = np.random.default_rng(1)
    span = np.float32([size.frame[1], size.frame[0]])
    return (
        span * rng.uniform(0.3, 0.7, (count, joints, 2)).astype(np.float32),
        np.ones((count, joints), np.float32),
    )


# --- jax -------------------------------------------------------------------------------------


class Jax:
    """The model of one size, with random weights, and what its steps depend on."""

    def __init__(self, job: Job):
        import jax
        import jax.numpy as jnp

        from ttp_jax.data import pairs, skeletons
        from ttp_jax.networks import model as networks
        from ttp_jax.networks import perceptual

        self.job, self.size = job, job.sizes
        dtype = jnp.bfloat16 if job.dtype == 'bfloat16' else None
        self.skeleton = skeletons.PENN_ACTION
        self.model = networks.PoseModel(
            joints=len(self.skeleton.joints), dtype=dtype, **self.size.model
        )
        self.spec = pairs.CropSpec(
            self.size.crop, self.model.cells(self.size.crop), sigma=self.model.sigma
        )
        self.image = jax.ShapeDtypeStruct((1, self.size.crop, self.size.crop, 3), jnp.float32)
        shapes = jax.eval_shape(self.model.init, jax.random.key(0), self.image, self.image)
        rng = np.random.default_rng(0)
        self.variables = jax.tree.map_with_path(functools.partial(drawn_leaf, rng), shapes)
        if self.size.perceptual == 'vgg16':
            weights = {
                name: (0.03 * rng.standard_normal(shape)).astype(np.float32)
                for name, shape in perceptual.vgg16_shapes().items()
            }
            self.network = perceptual.Perceptual(
                perceptual.vgg16_features,
                jax.device_put(weights),
                len(perceptual.VGG16_SLICES),
                perceptual.VGG16_MEANS,
            )
        else:
            self.network = perceptual.load(self.size.perceptual)
        self.loss_means = jnp.ones(1 + self.network.terms)

    def split(self):
        """(trainable, frozen) as the paper has it."""
        from ttp_jax.personalize import partition

        return partition.split(self.variables['params'], frozen=RECONSTRUCTION.frozen)


def drawn_leaf(rng: np.random.Generator, path, leaf) -> np.ndarray:
    """Weights at which activations neither grow nor vanish; their values do not matter here."""
    name = path[-1].key
    if name in ('kernel', 'queries'):
        scale = math.prod(leaf.shape[:-1]) ** -0.5
        return (scale * rng.standard_normal(leaf.shape, np.float32)).astype(np.float32)
    return np.full(leaf.shape, name in ('scale', 'var'), np.float32)


def slow(job: Job) -> bool:
    """Whether a call of many frames would take minutes."""
    return job.lowering == 'library' and not job.gpu


def jax_online(job: Job) -> None:
    """Emits the rows of personalization in JAX."""
    import jax

    from ttp_jax.personalize import capacity

    if job.chunk == 1 and not job.gpu:
        capacity.one_device_per_core()
    setup, devices = Jax(job), jax.local_devices()
    needed = [min(math.ceil(number / job.chunk), len(devices)) for number in job.people]
    for count in sorted(set(needed)):
        online_program(
            setup, devices[:count], [p for p, n in zip(job.people, needed) if n == count]
        )


def online_program(setup: Jax, devices: list, numbers: list[int]) -> None:
    """Times one program, with `chunk` people on each device, for several numbers of people."""
    import jax
    import jax.numpy as jnp

    job, size, together = setup.job, setup.size, setup.job.chunk * len(devices)
    count = 1 if slow(job) else size.frames
    runner = many_people.make_runner(online_method(setup), devices=devices)
    frames, boxes = drawn_frames(size, count)
    everyone = [
        np.stack([x] * together)
        for x in (frames, np.array(size.frame, np.int32), boxes, np.array(count, np.int32))
    ]
    trainable, frozen = setup.split()
    statistics_, features = setup.variables['batch_stats'], setup.network.weights
    shared = runner.everywhere(
        inner_loop.Shared(trainable, frozen, statistics_, setup.loss_means, features)
    )
    people = runner.spread(inner_loop.Person(*everyone))
    keys = runner.spread(jax.random.split(jax.random.key(0), together))
    after = (shared, people, keys, jnp.arange(count))
    progress = runner.loop.start(shared, people)
    program, row = compiled(runner.loop.learn, progress, *after)
    row['devices'] = len(devices)
    if job.compile_only or too_large(row):
        return emit({'people': numbers[0], **row})
    latest = [progress]  # donated to each call

    def call(chunks):
        for _ in range(chunks):
            latest[0] = program(latest[0], *after)
        jax.block_until_ready(latest[0].losses)

    for number in numbers:
        chunks = math.ceil(number / together)
        time_calls(
            functools.partial(call, chunks),
            work=chunks * together * count,
            row=lambda number=number: {'people': number, **row},
            patience=job.patience,
        )


def online_method(setup: Jax) -> inner_loop.Method:
    """Personalization as the paper does it, one step a frame, computed as the job says."""
    import optax

    lowering = setup.job.lowering
    shared = placement.shared_lowering(lowering, platform='gpu' if setup.job.gpu else 'cpu')
    return inner_loop.Method(
        model=setup.model.clone(lowering=lowering),
        perceptual=setup.network._replace(lowering=shared),
        objective=RECONSTRUCTION,
        tx=optax.adam(1e-4),
        spec=setup.spec,
        schedule='online',
        batch=setup.job.batch,
        augment={},
    )


def joint_problem(setup: Jax, tx) -> tuple:
    """(state, batch) of joint training: a fresh optimiser, drawn frames and labels."""
    import jax

    from ttp_jax import train
    from ttp_jax.data import pairs

    params, count = jax.device_put(setup.variables['params']), setup.job.batch
    state = train.TrainState(
        np.int32(0),
        params,
        jax.device_put(setup.variables['batch_stats']),
        jax.jit(tx.init)(params),
        setup.loss_means,
    )
    frames, boxes = drawn_frames(setup.size, count)
    labels = drawn_labels(setup.size, count, setup.model.joints)
    sizes = np.tile(np.int32(setup.size.frame), (count, 1))
    return state, jax.device_put(pairs.Pairs(frames, frames[::-1], sizes, boxes, *labels))


def jax_joint(job: Job) -> None:
    """Emits the row of joint training in JAX."""
    import jax
    import optax

    from ttp_jax import train

    setup, tx = Jax(job), optax.adam(1e-3)
    state, batch = joint_problem(setup, tx)

    def step(state, weights, batch, keys, rng):
        return train.train_step(
            state,
            batch,
            keys,
            rng,
            model=setup.model.clone(train=True, lowering=job.lowering),
            perceptual=setup.network._replace(weights=weights),
            tx=tx,
            spec=setup.spec,
            mirror=setup.skeleton.mirror,
            augment={},
            objective=RECONSTRUCTION,
            reconstruction_weight=1e-3,
        )

    after = (
        setup.network.weights,
        batch,
        jax.random.split(jax.random.key(0), job.batch),
        jax.random.key(1),
    )
    program, row = compiled(jax.jit(step, donate_argnums=0), state, *after)
    if job.compile_only or too_large(row):
        return emit({'people': 1, **row})
    state = [state]

    def call():
        state[0], metrics = program(state[0], *after)
        jax.block_until_ready(metrics)

    time_calls(call, work=job.batch, row=lambda: {'people': 1, **row}, patience=job.patience)


def compiled(function, *arguments) -> tuple[Callable, Row]:
    """The program, and what compiling it cost and what it will hold in memory."""
    import jax

    start = time.perf_counter()
    program = function.lower(*arguments).compile()
    row = {'compile_seconds': time.perf_counter() - start}
    if memory := program.memory_analysis():
        row['peak_bytes'] = (
            memory.temp_size_in_bytes
            + memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes
        )
    statistics_ = jax.local_devices()[0].memory_stats() or {}
    row['device_bytes'] = statistics_.get('bytes_limit')
    return program, row


def too_large(row: Row) -> bool:
    """Whether the program does not fit; then the row says so."""
    from ttp_jax.personalize import capacity

    free = row['device_bytes'] or capacity.free_bytes()
    if row.get('peak_bytes', 0) > 0.9 * free:
        row['note'] = f'needs {row["peak_bytes"] / 1e9:.0f} GB, there are {free / 1e9:.0f}'
    return 'note' in row


# --- PyTorch ---------------------------------------------------------------------------------


class Torch:
    """The same model in PyTorch, with fresh weights."""

    def __init__(self, job: Job):
        import torch
        import torch_reference

        self.torch, self.reference, self.job, self.size = torch, torch_reference, job, job.sizes
        if job.gpu and not torch.cuda.is_available():
            raise SystemExit('this PyTorch sees no GPU')
        self.device = 'cuda' if job.gpu else 'cpu'
        self.empty = resident_bytes()
        torch.manual_seed(0)
        self.model = torch_reference.build(joints=13, device=self.device, **self.size.model)
        self.network = torch_reference.Perceptual(self.size.perceptual).to(self.device)

    def tensors(self, *arrays: np.ndarray):
        """Arrays as tensors on the device."""
        return [self.torch.from_numpy(np.array(a)).to(self.device) for a in arrays]

    def time(self, call: Callable[[], None], *, work: float) -> None:
        """As `time_calls`, with what memory it took."""

        def until_done():
            call()
            if self.job.gpu:
                self.torch.cuda.synchronize()

        time_calls(
            until_done,
            work=work,
            patience=self.job.patience,
            row=lambda: {'people': 1, 'peak_bytes': self.peak_bytes()},
        )

    def peak_bytes(self) -> int:
        """The most memory that was taken so far."""
        if self.job.gpu:
            return self.torch.cuda.max_memory_allocated()
        return resident_bytes() - self.empty


def torch_online(job: Job) -> None:
    """Emits the row of personalization by PyTorch's loop."""
    setup, count = Torch(job), job.sizes.frames
    learner = setup.reference.Learner(
        setup.model,
        setup.network,
        size=setup.size.crop,
        batch=job.batch,
        redundant=job.redundant,
        mode=job.lowering,
    )
    learner.start(*setup.tensors(*drawn_frames(setup.size, count)))
    setup.time(lambda: [learner.frame(t) for t in range(count)], work=count)


def torch_joint(job: Job) -> None:
    """Emits the row of joint training in PyTorch."""
    from ttp_jax.data import skeletons

    setup = Torch(job)
    frames, boxes = drawn_frames(setup.size, job.batch)
    batch = setup.reference.Pairs(
        *setup.tensors(frames, frames[::-1], boxes, *drawn_labels(setup.size, job.batch, 13))
    )
    trainer = setup.reference.Trainer(
        setup.model,
        setup.network,
        size=setup.size.crop,
        cells=cells(setup.size),
        swapped=skeletons.PENN_ACTION.mirror,
        mode=job.lowering,
    )
    setup.time(lambda: trainer.step(batch), work=job.batch)


def cells(size: Size) -> int:
    """Side of the heatmaps."""
    shrink = 32 if size.model['stem_pool'] else 16
    return size.crop // shrink * 2 ** size.model['deconvolutions']


# --- what everything is compared with --------------------------------------------------------


def count(job: Job) -> None:
    """Emits FLOPs by formula and by XLA, and the bytes that a person adds."""
    import arithmetic

    setup = Jax(job)
    problem = arithmetic.Problem(
        setup.model,
        setup.variables,
        setup.network,
        setup.size.perceptual,
        setup.size.crop,
        job.batch,
    )
    by_xla = {f'xla_{name}': arithmetic.flops_by_xla(problem, name) for name in COUNTED}
    emit(
        {
            'people': 1,
            **arithmetic.flops_by_formula(problem),
            **by_xla,
            'trainable_bytes': arithmetic.trainable_bytes(problem),
            'step_bytes': arithmetic.step_bytes(problem),
        }
    )


def matmul(job: Job) -> None:
    """Emits the machine's rate of batched products `[b, n, n] @ [b, n, n]`."""
    import jax
    import jax.numpy as jnp

    best = {}
    sides = {8: (2048, 4096), 1: (8192,)} if job.gpu else {8: (256, 512), 16: (256,), 4: (1024,)}
    for dtype in (jnp.float32, jnp.bfloat16) if job.gpu else (jnp.float32,):
        for batch, side in ((b, n) for b, ns in sides.items() for n in ns):
            x = jnp.ones((batch, side, side), dtype)
            product = jax.jit(jnp.matmul)
            product(x, x).block_until_ready()
            seconds = []
            while len(seconds) < 5 or sum(seconds) < 0.5:
                start = time.perf_counter()
                product(x, x).block_until_ready()
                seconds.append(time.perf_counter() - start)
            rate = 2 * batch * side**3 / statistics.median(seconds) / 1e9
            best.setdefault(jnp.dtype(dtype).name, {})[f'{batch} x {side}'] = rate
    emit({'people': 1, 'rates': best})


def machine(job: Job) -> None:
    """Emits what everything is measured on."""
    del job
    import jax

    row = {
        'people': 1,
        'backend': jax.default_backend(),
        'device': jax.devices()[0].device_kind,
        'jax': jax.__version__,
        'torch': None,
        'cores': len(os.sched_getaffinity(0))
        if hasattr(os, 'sched_getaffinity')
        else os.cpu_count(),
        'GLIBC_TUNABLES': os.environ.get('GLIBC_TUNABLES'),
    }
    if importlib.util.find_spec('torch'):
        import torch

        row['torch'] = torch.__version__
    emit(row)


TASKS = {
    'machine': machine,
    'matmul': matmul,
    'count': count,
    'online jax': jax_online,
    'joint jax': jax_joint,
    'online torch': torch_online,
    'joint torch': torch_joint,
}


def work_off(job: Job) -> None:
    """What a job's own process does."""
    (TASKS.get(job.task) or TASKS[f'{job.task} {job.framework}'])(job)


# --- tables ----------------------------------------------------------------------------------

COLUMNS = {  # heading: (field, format)
    'backend': ('backend', '{}'),
    'size': ('size', '{}'),
    'task': ('task', '{}'),
    'people': ('people', '{}'),
    'devices': ('devices', '{}'),
    'chunk': ('chunk', '{}'),
    'batch': ('batch', '{}'),
    'implementation': ('implementation', '{}'),
    'lowering': ('lowering', '{}'),
    'frames/s': ('frames_per_second', '{:.3g}'),
    'gflops': ('gflops', '{:.1f}'),
    'matmul': ('matmul_share', '{:.0%}'),
    'peak MB': ('peak_bytes', '{:.0f}'),
    'compile s': ('compile_seconds', '{:.1f}'),
    'again s': ('again_seconds', '{:.1f}'),
    'note': ('note', '{}'),
}


def show(rows: list[list[str]], headings: list[str], *, left: int) -> None:
    """Aligned columns; the first `left` of them to the left."""
    widths = [max(map(len, column)) for column in zip(headings, *rows)]
    for row in [headings, *rows]:
        print(
            '  '.join(
                text.ljust(width) if i < left else text.rjust(width)
                for i, (text, width) in enumerate(zip(row, widths))
            ).rstrip()
        )


def cell(row: Row, field: str, form: str) -> str:
    """A row's field in the table's form."""
    if field == 'frames_per_second' and row.get('at_most'):
        return f'< {row["at_most"]:.3g}'
    value = row.get(field)
    if value is None:
        return '' if field == 'note' else '-'
    return form.format(value / 1e6 if field == 'peak_bytes' else value)


def finish(row: Row, counts: dict[str, Row], rates: dict[str, float]) -> Row:
    """The row with its arithmetic rate and its share of the machine's."""
    if row.get('frames_per_second') and row['size'] in counts:
        row['gflops'] = row['frames_per_second'] * counts[row['size']][row['task']] / 1e9
        if rate := rates.get(row['dtype']):
            row['matmul_share'] = row['gflops'] / rate
    return row


class Target(NamedTuple):
    """A number that is measured against one that is wanted."""

    text: str
    measured: float | None
    wanted: float
    least: bool = True  # else at most
    unit: str = 'x'

    def cells(self) -> list[str]:
        """The row of the table of targets."""
        if self.measured is None:
            return [self.text, 'not measured', '-']
        met = self.measured >= self.wanted if self.least else self.measured <= self.wanted
        shown = (
            f'{100 * self.measured:.0f} %'
            if self.unit == '%'
            else f'{self.measured:.2f} {self.unit}'
        )
        return [self.text, shown, 'yes' if met else 'no']


class Results:
    """Rows, asked for the best of some kind."""

    def __init__(self, rows: list[Row], counts: dict[str, Row]):
        self.rows, self.counts = rows, counts

    def best(self, field: str = 'frames_per_second', **wanted) -> float | None:
        """The best value of a field among rows that match; None where there is none."""
        values = [row[field] for row in self.select(**wanted) if row.get(field)]
        return max(values, default=None)

    def select(self, **wanted) -> list[Row]:
        """Rows whose fields have these values, or one of these."""
        return [
            row
            for row in self.rows
            if all(row.get(k) in (v if isinstance(v, tuple) else (v,)) for k, v in wanted.items())
        ]

    def torch(self, size: str, *, task: str = 'online', redundant: bool = False, **wanted):
        """The rate of PyTorch's loop."""
        return self.best(size=size, task=task, framework='torch', redundant=redundant, **wanted)

    def slow(self, **wanted) -> float | None:
        """Of a row that may have met its limit: its rate, or what it was surely not above."""
        return self.best(**wanted) or self.best('at_most', **wanted)

    def memory_per_person(self, size: str) -> float | None:
        """What one more person in the chunk costs, in sizes of the trained parameters.

        Without activations, which are what grows with the batch.
        """
        rows = [
            row
            for row in self.select(
                size=size, task='online', framework='jax', dtype='float32', lowering='matmul'
            )
            if row.get('peak_bytes')
        ]
        peak = {(row['chunk'], row['batch']): row['peak_bytes'] for row in rows}
        (few, batch), (many, _) = min(peak, default=(0, 0)), max(peak, default=(0, 0))
        if few == many or (few, 2 * batch) not in peak:
            return None
        added = (peak[many, 2 * batch] - peak[few, 2 * batch]) / (many - few)
        activations = 2 * (peak[few, 2 * batch] - peak[few, batch]) / few
        return (added - activations) / self.counts[size]['trainable_bytes']


def ratio(a: float | None, b: float | None) -> float | None:
    """How many times `b`; None where one of them is not known."""
    return a / b if a and b else None


def cpu_targets(r: Results) -> list[Target]:
    """Two cores."""
    return [*personalization_targets(r), *joint_targets(r), *small_targets(r)]


def online_rows(r: Results):
    """Chooses the best row of personalization online, in JAX."""
    return functools.partial(r.best, task='online', framework='jax', lowering=layers.LOWERINGS)


def personalization_targets(r: Results) -> list[Target]:
    """Speed against PyTorch, the library's convolution and the products' rate."""
    online = online_rows(r)
    eight, two = online(size='small', people=8), online(size='paper', people=2, batch=8)
    library = r.slow(size='small', people=8, lowering='library', task='online')
    release = r.torch('small', redundant=True)
    share = functools.partial(online, 'matmul_share')
    of_paper, of_small = share(size='paper', people=2), share(size='small', people=8)
    return [
        Target('small, 8 people: vmapped library convolution', ratio(eight, library), 10),
        Target('small, 8 people: lean PyTorch loop', ratio(eight, r.torch('small')), 1),
        Target(
            "small, 8 people: PyTorch loop doing the release's work", ratio(eight, release), 1.5
        ),
        Target(
            'paper, 2 people, batch 8: lean PyTorch loop', ratio(two, r.torch('paper', batch=8)), 1
        ),
        Target('paper, 2 people: share of batched matmul', of_paper, 0.5, unit='%'),
        Target('small, 8 people: share of batched matmul', of_small, 0.5, unit='%'),
    ]


def joint_targets(r: Results) -> list[Target]:
    """Joint training against PyTorch's."""
    joint = functools.partial(r.best, task='joint', framework='jax')
    return [
        Target(
            f"{size}: joint step, PyTorch's",
            ratio(joint(size=size), r.torch(size, task='joint')),
            1,
        )
        for size in ('small', 'paper')
    ]


def small_targets(r: Results) -> list[Target]:
    """What the small size takes in time per person, memory and compilation."""
    one, sixteen = (online_rows(r)(size='small', people=n, chunk=1) for n in (1, 16))
    programs = r.select(
        size='small', task='online', framework='jax', chunk=1, lowering=('winograd', 'blocked')
    )  # the slower of those that configs/ take
    compile_, again = (
        max((row[field] for row in programs if row.get(field)), default=None)
        for field in ('compile_seconds', 'again_seconds')
    )
    return [
        Target(
            'small, chunks of 1: time per person, 16 people to 1, at most',
            ratio(one, sixteen),
            1.05,
            False,
        ),
        Target(
            'small, bytes per added person in trained parameters, without activations, at most',
            r.memory_per_person('small'),
            4.5,
            False,
        ),
        Target('small, compilation, at most 60 s', compile_, 60, False, 's'),
        Target('small, compilation from the cache, at most 5 s', again, 5, False, 's'),
    ]


def gpu_targets(r: Results) -> list[Target]:
    """One H200."""
    best = r.best(size='paper', task='online', framework='jax')
    return [
        Target('paper: best PyTorch loop', ratio(best, r.torch('paper')), 3),
        Target(
            'paper: joint step, share of bfloat16 matmul',
            r.best('matmul_share', size='paper', task='joint', framework='jax', dtype='bfloat16'),
            0.45,
            unit='%',
        ),
    ]


# --- the program -----------------------------------------------------------------------------


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numbers = lambda text: tuple(int(n) for n in text.split(','))
    words = lambda text: tuple(text.split(','))
    parser.add_argument('--quick', action='store_true', help='small size, few rows')
    parser.add_argument('--json', type=pathlib.Path, help='write the rows here')
    parser.add_argument('--sizes', type=words, help='of small, paper')
    parser.add_argument('--people', type=numbers, help='such as 1,8,16')
    parser.add_argument('--batch', type=int, help="of personalization, instead of the size's")
    parser.add_argument('--rows', default='', help='only rows whose name matches')
    parser.add_argument('--modes', type=words, help='of PyTorch, see torch_reference.py')
    parser.add_argument('--limit', type=float, help='seconds per row, process and all')
    parser.add_argument('--patience', type=float, help='seconds of timing per row')
    parser.add_argument('--job', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.sizes = arguments.sizes or (('small',) if quick else ('small', 'paper'))
    arguments.limit = arguments.limit or (90 if quick else 300)
    arguments.patience = arguments.patience or (3 if quick else 8)
    if unknown := set(arguments.sizes) - {'tiny', 'small', 'paper'}:
        parser.error(f'--sizes: no {", ".join(sorted(unknown))}; known: small, paper')
    return arguments


def wanted_jobs(arguments: argparse.Namespace, *, gpu: bool, torch: bool) -> list[Job]:
    """The plan without what --rows leaves out and, with a line, PyTorch's where there is none."""
    jobs = [
        job
        for job in plan(arguments, gpu=gpu)
        if job.task == 'count' or re.search(arguments.rows, job.name)
    ]
    without = [job for job in jobs if torch or job.framework != 'torch']
    if len(without) < len(jobs):
        print(
            f'{len(jobs) - len(without)} PyTorch rows skipped: torch is not installed '
            "(pip install -e '.[torch]')",
            flush=True,
        )
    return without


def measure(
    job: Job, measured: Callable[[Job], list[Row]], *, backend: str, again: bool
) -> list[Row]:
    """The job's rows, complete but for what needs other rows."""
    fields = dict(
        backend=backend,
        implementation=job.implementation,
        **{
            k: v
            for k, v in dataclasses.asdict(job).items()
            if k not in ('people', 'gpu', 'compile_only')
        },
    )
    rows = [{**fields, 'people': job.people[0], **row} for row in measured(job)]
    if again and job.framework == 'jax' and 'compile_seconds' in rows[0]:
        for row in measured(dataclasses.replace(job, compile_only=True)):
            rows[0]['again_seconds'] = row.get('compile_seconds')
    if (job.task, job.framework) != ('online', 'jax'):
        rows = [{**row, 'chunk': None} for row in rows]
    # One program: compiled once, for the first row.
    return [rows[0], *({**row, 'compile_seconds': None} for row in rows[1:])]


def main() -> None:
    """The command line: all jobs, each in a process of its own, or one job."""
    arguments = parse_arguments()
    if arguments.job:
        fields = json.loads(arguments.job)
        return work_off(Job(**{**fields, 'people': tuple(fields['people'])}))
    with tempfile.TemporaryDirectory(prefix='throughput-') as cache:
        results, rates, here = collect(arguments, cache)
    rows = [finish(row, results.counts, rates) for row in results.rows]
    report(rows, results, rates, here)
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                {'machine': here, 'matmul': rates, 'counts': results.counts, 'rows': rows}, indent=1
            )
        )


def collect(arguments: argparse.Namespace, cache: str) -> tuple[Results, dict[str, float], Row]:
    """Runs every job; matmul first and last, the better of both being the machine's rate."""
    measured = functools.partial(run, cache=cache, limit=arguments.limit)
    here = measured(Job('machine'))[0]
    if 'backend' not in here:
        sys.exit(f'error: jax does not start: {here.get("note")}')
    gpu = here['backend'] != 'cpu'
    print(
        f'{here["device"]}, {here["cores"]} cores, jax {here["jax"]} on {here["backend"]}, torch '
        f'{here["torch"]}, GLIBC_TUNABLES={here["GLIBC_TUNABLES"]}, load '
        f'{os.getloadavg()[0]:.1f}',
        flush=True,
    )
    jobs = wanted_jobs(arguments, gpu=gpu, torch=bool(here['torch']))
    rows, counts, rates, compiled_again = [], {}, {}, set()
    for job in [Job('matmul', gpu=gpu), *jobs, Job('matmul', gpu=gpu)]:
        print(f'... {job.name or job.task}', file=sys.stderr, flush=True)
        if job.task == 'matmul':
            for dtype, shapes in measured(job)[0].get('rates', {}).items():
                rates[dtype] = max(rates.get(dtype, 0), *shapes.values())
        elif job.task == 'count':
            counts[job.size] = measured(job)[0]
        else:
            # Programs of one kind compile alike: once more is enough, and for one quick row.
            kind = job.framework, () if arguments.quick else (job.size, job.task, job.lowering)
            rows += measure(
                job, measured, backend=here['backend'], again=kind not in compiled_again
            )
            compiled_again.add(kind)
    usable = {size: row for size, row in counts.items() if 'online' in row}
    return Results(rows, usable), rates, here


def report(rows: list[Row], results: Results, rates: dict[str, float], here: Row) -> None:
    """Both tables, and the counts that stand behind them."""
    print()
    show(
        [[cell(row, *column) for column in COLUMNS.values()] for row in rows], list(COLUMNS), left=3
    )
    print()
    for dtype, rate in rates.items():
        print(f'batched matmul, {dtype}: {rate:,.0f} GFLOP/s')
    for size, row in results.counts.items():
        xla = ', '.join(f'{lowering} {row[f"xla_{lowering}"] / 1e9:.2f}' for lowering in COUNTED)
        print(
            f"{size}: one person's step is {row['step'] / 1e9:.2f} GFLOP by formula, by XLA's "
            f'count of the traced step {xla}; its trained parameters '
            f'{row["trainable_bytes"] / 1e6:.1f} MB, what a '
            f'step holds besides {row["step_bytes"] / 1e6:.0f} MB'
        )
    print()
    targets = cpu_targets(results) if here['backend'] == 'cpu' else gpu_targets(results)
    show([target.cells() for target in targets], ['target', 'measured', 'met'], left=1)


if __name__ == '__main__':
    main()
