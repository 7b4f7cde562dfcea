"""PyTorch's weights in, and the authors' release's weights out.

    python -m ttp_jax.convert FROM TO

FROM, told apart by the names of the tensors:
  the release's joint model or baseline    -> TO is a folder for `config.checkpoint=TO`
  torchvision's ResNet                     -> TO is a folder for `config.train.encoder_weights=TO`,
                                              which takes FROM itself as well
  torchvision's VGG-16                     -> TO is an .npz for `config.perceptual.weights=TO`
  a folder of this project's               -> TO is a .pth that the release loads with strict=True

Files are `.pth` or safetensors (see torch_files.py). Beside a converted checkpoint stands
`config.json` with what its tensors say about the config: `crop.bgr`, `model.*`, and the
`perceptual.kind` that its loss means are of.

Contract: names map from ours to theirs by one table, `MODULES`, and arrays by a pair of functions,
`to_torch` and `from_torch`; both directions use them. Theirs are convolutions `[out, in, k, k]`,
transposed ones `[in, out, k, k]`, matrices `[out, in]`; ours are `[k, k, in, out]` and `[in, out]`.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from ttp_jax.files import checkpoint, torch_files
from ttp_jax.networks import backbone, perceptual
from ttp_jax.networks.model import PoseModel
from ttp_jax.personalize import partition
from ttp_jax.train import TrainState

CLASSIFIER = r'fc\.(weight|bias)'  # of torchvision's ResNet
Tensors = dict[str, np.ndarray]
Variables = Mapping[str, Any]  # 'params' and 'batch_stats', as the model takes them

# --- names and layouts -----------------------------------------------------------------------


def _sequence(conv: str, norm: str, theirs: str, count: int) -> list[tuple[str, str]]:
    """Convolution, norm and ReLU in turns, as `nn.Sequential` numbers them."""
    return [
        (f'{ours}{i}', theirs.format(3 * i + place))
        for i in range(count)
        for place, ours in enumerate((conv, norm))
    ]


_DECODER = 'pose_net.mh_attn.decoder'
_LAYER = f'{_DECODER}.layers.0'

# Path of a module of ours (a pattern) -> the release's prefix of its tensors.
MODULES = (
    (r'encoder/resnet/(conv1|bn1)', r'pose_net.\1.'),
    (r'encoder/resnet/layer(\d)_(\d+)/((?:conv|bn)\d)', r'pose_net.layer\1.\2.\3.'),
    (r'encoder/resnet/layer(\d)_(\d+)/downsample_conv', r'pose_net.layer\1.\2.downsample.0.'),
    (r'encoder/resnet/layer(\d)_(\d+)/downsample_bn', r'pose_net.layer\1.\2.downsample.1.'),
    *_sequence('encoder/deconv', 'encoder/deconv_bn', 'pose_net.deconv_layers.{}.', 6),
    (r'self_supervised_head', r'pose_net.final_layer_unsup.'),
    (r'supervised_head', r'pose_net.final_layer.'),
    (r'affinity_transformer', r'pose_net.sup_query.'),
    (r'affinity_transformer/affinity', r'pose_net.sup_weight.'),
    (r'affinity_transformer/norm', rf'{_DECODER}.norm.'),
    (r'affinity_transformer/decoder/((?:linear|norm)\d)', rf'{_LAYER}.\1.'),
    (r'affinity_transformer/decoder/self_attention/out', rf'{_LAYER}.self_attn.out_proj.'),
    (r'affinity_transformer/decoder/self_attention/\w+', rf'{_LAYER}.self_attn.in_proj_'),
    (r'affinity_transformer/decoder/cross_attention/out', rf'{_LAYER}.multihead_attn.out_proj.'),
    (r'affinity_transformer/decoder/cross_attention/\w+', rf'{_LAYER}.multihead_attn.in_proj_'),
    *_sequence(
        r'appearance_encoder/conv(\d)_',
        r'appearance_encoder/bn(\d)_',
        r'image_encoder.layer\1.{}.',
        2,
    ),
    *_sequence(r'pose_encoder/conv(\d)_', r'pose_encoder/bn(\d)_', r'pose_encoder.layer\1.{}.', 2),
    *_sequence(r'renderer/conv(\d)_', r'renderer/bn(\d)_', r'image_renderer.layer\1.{}.', 2),
    (r'renderer/image', r'image_renderer.layer4.6.'),
)
LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'queries': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}
# Three of our matrices, one below the other, make one of theirs.
PROJECTIONS = ('query', 'key', 'value')
COUNTER = 'num_batches_tracked'


def torch_name(path: str) -> str:
    """'params/encoder/resnet/conv1/kernel' -> 'pose_net.conv1.weight'.

    Raises:
      ValueError: for a parameter that the release's models have no place for.
    """
    module, _, leaf = path.partition('/')[2].rpartition('/')
    for ours, theirs in MODULES:
        if match := re.fullmatch(ours, module):
            return match.expand(theirs) + LEAVES[leaf]
    raise ValueError(f"{path}: the release's models have no such parameter")


def to_torch(path: str, value: np.ndarray) -> np.ndarray:
    """One of our arrays in PyTorch's layout."""
    if value.ndim == 4:
        return value.transpose(2, 3, 0, 1) if '/deconv' in path else value.transpose(3, 2, 0, 1)
    if path.endswith('bias'):
        return value.reshape(-1)
    if value.ndim == 3:  # attention: [in, heads, size], and [heads, size, out] on the way out
        value = value.reshape((-1, value.shape[-1]) if '/out/' in path else (len(value), -1))
    return value.T


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `to_torch`, into an array of our `shape`."""
    if value.ndim == 4:
        return value.transpose(2, 3, 0, 1) if '/deconv' in path else value.transpose(2, 3, 1, 0)
    return value.T.reshape(shape)


def to_release(variables: Variables, *, batches: int = 0) -> Tensors:
    """`params` and `batch_stats`, or parts of them, as the release's state dict.

    Args:
      batches: what its norms' `num_batches_tracked` say.

    Raises:
      ValueError: as `torch_name` does.
    """
    flat = partition.flatten(variables)
    tensors = {}
    for name, paths in _by_torch_name(flat).items():
        stacked = np.concatenate([to_torch(p, np.asarray(flat[p])) for p in paths])
        tensors[name] = np.ascontiguousarray(stacked)
        if name.endswith('running_var'):
            tensors[name.replace('running_var', COUNTER)] = np.array(batches, np.int64)
    return _renamed(tensors, variables['params'])


def from_release(tensors: Tensors) -> tuple[Variables, dict[str, Any]]:
    """The release's state dict as (variables, the `PoseModel` fields that they fit).

    Joint models and baselines.

    Raises:
      ValueError: when tensors are missing, surplus or of another shape, listing them.
    """
    settings = infer(tensors)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    wanted = jax.eval_shape(PoseModel(**settings).init, jax.random.key(0), image, image)
    return _fill(wanted, tensors), settings


def from_torchvision(tensors: Tensors) -> tuple[Variables, dict[str, Any]]:
    """torchvision's ResNet as (the encoder's `resnet` variables, the `PoseModel` fields they fit).

    The classifier is left out.

    Raises:
      ValueError: as `from_release` does.
    """
    settings = {name: infer(tensors)[name] for name in ('depth', 'stages', 'width', 'stem_pool')}
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    model = PoseModel(variant='baseline', **settings)
    whole = jax.eval_shape(model.init, jax.random.key(0), image, image)
    wanted = {part: _resnet(tree) for part, tree in whole.items()}
    return _fill(wanted, tensors, surplus=CLASSIFIER), settings


def vgg16(tensors: Tensors) -> Tensors:
    """VGG-16's convolutions, under torchvision's names or the release's, for `perceptual.load`.

    Raises:
      ValueError: as `from_release` does.
    """
    shapes = perceptual.vgg16_shapes()
    tensors = {re.sub(r'^vgg16\.slice\d\.', 'features.', k): v for k, v in tensors.items()}
    _check(
        tensors,
        {name: to_torch(name, _blank(shape)).shape for name, shape in shapes.items()},
        surplus=r'(classifier|features\.28)\..*',
    )
    return {
        name: from_torch(name, np.asarray(tensors[name], np.float32), shape)
        for name, shape in shapes.items()
    }


def _resnet(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Only the ResNet of a model's `params` or `batch_stats`."""
    return {'encoder': {'resnet': tree['encoder']['resnet']}}


def _by_torch_name(flat: Mapping[str, Any]) -> dict[str, list[str]]:
    """Their names, each with the paths of ours that it is made of, in order."""

    def place(path):
        return next((i for i, part in enumerate(PROJECTIONS) if f'/{part}/' in path), 0)

    groups = collections.defaultdict(list)
    for path in sorted(flat, key=place):
        groups[torch_name(path)].append(path)
    return groups


def _renamed(tensors: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The release's names: without `pose_net.` in models that are an encoder and one head."""
    if any(name in params for name in ('self_supervised_head', 'affinity_transformer')):
        return dict(tensors)
    return {name.removeprefix('pose_net.'): value for name, value in tensors.items()}


def _fill(wanted: Variables, tensors: Tensors, *, surplus: str = '') -> Variables:
    """The tree of shapes `wanted` with the values of `tensors`."""
    flat = partition.flatten(wanted)
    groups = _renamed(_by_torch_name(flat), wanted['params'])
    shapes = {name: _stacked(flat, paths) for name, paths in groups.items()}
    _check(tensors, shapes, surplus=surplus)
    values: dict[str, np.ndarray] = {}
    for name, paths in groups.items():
        parts = np.split(np.asarray(tensors[name], np.float32), len(paths))
        values |= {
            path: from_torch(path, part, flat[path].shape) for path, part in zip(paths, parts)
        }
    return flax.traverse_util.unflatten_dict(values, sep='/')


def _stacked(flat: Mapping[str, Any], paths: list[str]) -> tuple[int, ...]:
    """The shape of their tensor that `paths` of ours make."""
    return np.concatenate([to_torch(path, _blank(flat[path].shape)) for path in paths]).shape


def _blank(shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(np.float32(0), shape)


def _check(found: Tensors, wanted: Mapping[str, tuple[int, ...]], *, surplus: str) -> None:
    """Raises ValueError that names every tensor that is missing, surplus or misshapen."""
    allowed = rf'.*\.{COUNTER}' + (f'|{surplus}' if surplus else '')
    problems = {
        'missing': [name for name in wanted if name not in found],
        'surplus': [
            name for name in found if name not in wanted and not re.fullmatch(allowed, name)
        ],
        'misshapen': [
            f'{name} {found[name].shape} (expected {tuple(shape)})'
            for name, shape in wanted.items()
            if name in found and found[name].shape != tuple(shape)
        ],
    }
    if any(problems.values()):
        raise ValueError(
            '; '.join(f'{kind}: {", ".join(names)}' for kind, names in problems.items() if names)
        )


# --- what the tensors say about the model ----------------------------------------------------

RELEASE = {'heads': 4, 'dropout': 0.1, 'sigma': 2.0, 'stem_pool': True}  # no tensor says these
_FIRST = 'mh_attn.decoder.layers.0'
# Field of `PoseModel`: the release's value, and (tensor, axis) that say it.
SIZES: Mapping[str, tuple[Any, ...]] = {
    'width': (64, ('conv1.weight', 0), ('bn1.weight', 0), ('bn1.bias', 0)),
    'features': (
        256,
        ('final_layer_unsup.weight', 1),
        ('final_layer.weight', 1),
        ('deconv_layers.1.weight', 0),
        ('sup_query.weight', 0),
        ('sup_weight.weight', 1),
    ),
    'feedforward': (
        1024,
        (f'{_FIRST}.linear1.weight', 0),
        (f'{_FIRST}.linear1.bias', 0),
        (f'{_FIRST}.linear2.weight', 1),
    ),
    'image_width': (
        32,
        ('image_encoder.layer1.1.weight', 0),
        ('pose_encoder.layer1.1.weight', 0),
        ('image_encoder.layer1.0.weight', 0),
    ),
    'keypoints': (
        30,
        ('final_layer_unsup.weight', 0),
        ('final_layer_unsup.bias', 0),
        ('pose_encoder.layer1.0.weight', 1),
        ('sup_weight.bias', 0),
    ),
    'joints': (13, ('sup_query.weight', 1), ('final_layer.weight', 0), ('final_layer.bias', 0)),
}


def infer(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `PoseModel` of a state dict of the release's, or of torchvision's ResNet.

    A size that several tensors show is what most of them say, so that a single one of another shape
    is noticed.

    Raises:
      ValueError: when the blocks are no ResNet's.
    """
    shapes = {name.removeprefix('pose_net.'): value.shape for name, value in tensors.items()}
    places = [int(name.split('.')[1]) for name in shapes if name.startswith('deconv_layers.')]
    return (
        RELEASE
        | {
            'variant': _variant(shapes),
            'depth': _depth(shapes),
            'stages': len(_blocks(shapes)),
            'deconvolutions': max(places, default=-1) // 3 + 1,
        }
        | {name: _size(shapes, *says) for name, says in SIZES.items()}
    )


def _size(shapes: Mapping[str, tuple[int, ...]], default: int, *witnesses: tuple[str, int]) -> int:
    said = [shapes[name][axis] for name, axis in witnesses if len(shapes.get(name, ())) > axis]
    return collections.Counter(said).most_common(1)[0][0] if said else default


def _variant(names: Mapping[str, Any]) -> str:
    if _any(names, r'sup_query\.|sup_weight\.|mh_attn\.'):
        return 'transformer'
    return 'shared_keypoint' if _any(names, r'final_layer_unsup\.') else 'baseline'


def _depth(names: Mapping[str, Any]) -> int:
    """The ResNet with as many blocks in each stage that there is."""
    blocks = _blocks(names)
    bottleneck = _any(names, r'layer\d\.\d+\.(conv|bn)3\.')
    for depth, shape in backbone.STAGES.items():
        if (shape[0][: len(blocks)], shape[1]) == (blocks, bottleneck):
            return depth
    raise ValueError(
        f'no ResNet has {blocks} {"bottleneck" if bottleneck else "basic"} blocks; '
        f'known: {backbone.STAGES}'
    )


def _blocks(names: Mapping[str, Any]) -> tuple[int, ...]:
    """The number of blocks of each stage, up to the last stage that has any."""
    found = {m.groups() for n in names if (m := re.match(r'layer([1-4])\.(\d+)\.(?:conv|bn)', n))}
    last = max((int(stage) for stage, _ in found), default=4)
    return tuple(sum(stage == str(s) for stage, _ in found) for s in range(1, last + 1))


def _check_release(settings: Mapping[str, Any]) -> None:
    """Raises ValueError for a model that no configuration of the release's code is."""
    fixed = {'width': 64, 'image_width': 32, 'stem_pool': True, 'stages': 4}
    if settings['variant'] == 'transformer':
        fixed['feedforward'] = 4 * settings['features']
    for name, value in fixed.items():
        if settings[name] != value:
            raise ValueError(f"model.{name} is {settings[name]}, the release's is always {value}")
    if settings['depth'] == 10:
        raise ValueError('model.depth is 10, the release has 18, 34, 50, 101 and 152')


# --- files -----------------------------------------------------------------------------------


def convert(source: str, target: str) -> str:
    """Converts `source` to the new `target` and says in one line what it was.

    Nothing half-written is left behind.

    Raises:
      ValueError: when `target` is there already, when `source` is missing, truncated or foreign, or
        when its tensors are not what they should be.
    """
    output = pathlib.Path(target)
    if output.exists():
        raise ValueError(f'{target}: exists already')
    if pathlib.Path(source).is_dir():
        return _export(pathlib.Path(source), output)
    tensors = torch_files.read(source)
    try:
        return _import(tensors, output)
    except ValueError as error:
        raise ValueError(f'{source}: {error}') from None


def load_encoder(path: str, like: TrainState) -> TrainState:
    """`like` with the ResNet of torchvision's file at `path`, or of what `convert` made of it.

    Raises:
      ValueError: as `torch_files.read` and `checkpoint.read` do, and when the file holds something
        else or another ResNet than the model has.
    """
    whole = {'params': like.params, 'batch_stats': like.batch_stats}
    wanted = {part: _resnet(tree) for part, tree in whole.items()}
    read = checkpoint.read if pathlib.Path(path).is_dir() else _read_encoder
    found = jax.tree.map(jnp.asarray, read(pathlib.Path(path), wanted))
    parts = {
        part: {**tree, 'encoder': {**tree['encoder'], **found[part]['encoder']}}
        for part, tree in whole.items()
    }
    return dataclasses.replace(like, params=parts['params'], batch_stats=parts['batch_stats'])


def _read_encoder(path: pathlib.Path, wanted: Variables) -> Variables:
    """The ResNet `wanted` from torchvision's file."""
    tensors = torch_files.read(path)
    try:
        ours = infer(to_release(wanted))
        _check_resnet(infer(tensors) if _is_resnet(tensors) else {}, ours)
        # An encoder of fewer stages takes those that it has.
        stages = ours['stages']
        return _fill(wanted, tensors, surplus=rf'{CLASSIFIER}|layer[{stages + 1}-5]\..*')
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None


def _check_resnet(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises ValueError that says what to set, where the settings are not of the same ResNet."""
    if not found:
        raise ValueError("a foreign state dict, not torchvision's ResNet")
    if any(found[name] != wanted[name] for name in ('depth', 'width')):
        theirs, ours = (f'ResNet-{s["depth"]} of width {s["width"]}' for s in (found, wanted))
        raise ValueError(
            f'a {theirs}, but the encoder is a {ours}; set --config.model.depth='
            f'{found["depth"]} --config.model.width={found["width"]}'
        )


def _import(tensors: Tensors, target: pathlib.Path) -> str:
    if _any(tensors, r'features\.|vgg16\.'):
        arrays = vgg16(tensors)
        with _finished(target) as part, part.open('wb') as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # names are layers', not options
        return f"{target}: VGG-16, for config.perceptual.kind='vgg16' and config.perceptual.weights"
    if _any(tensors, r'pose_net\.|deconv_layers\.|final_layer\.'):
        variables, settings = from_release(tensors)
        config = {'crop': {'bgr': True}, 'model': settings, 'perceptual': {'kind': 'vgg16'}}
        _save(
            target,
            variables,
            config,
            batches=_batches(tensors),
            loss_means=np.array(perceptual.VGG16_MEANS, np.float32),
        )
        return (
            f'{target}: {settings["variant"]}, ResNet-{settings["depth"]}, '
            f'{settings["joints"]} joints, {settings["keypoints"]} keypoints, for '
            f'config.checkpoint; {target / "config.json"} says the config that it needs'
        )
    if _is_resnet(tensors):
        variables, settings = from_torchvision(tensors)
        config = {'crop': {'bgr': False}, 'model': settings}
        _save(target, variables, config, batches=_batches(tensors), loss_means=())
        return (
            f'{target}: ResNet-{settings["depth"]}, an initial encoder, for '
            'config.train.encoder_weights; it sees RGB'
        )
    raise ValueError(
        "a foreign state dict, neither the release's nor torchvision's ResNet or "
        f'VGG-16: {len(tensors)} tensors such as {next(iter(tensors))}'
    )


def _is_resnet(names: Mapping[str, Any]) -> bool:
    return _any(names, r'layer\d\.\d+\.conv1\.')


def _any(names: Mapping[str, Any], pattern: str) -> bool:
    return any(re.match(pattern, name) for name in names)


def _export(source: pathlib.Path, target: pathlib.Path) -> str:
    """A workdir's newest checkpoint as the release's state dict."""
    tree, step, config = _open(source)
    try:
        tensors = to_release({part: tree[part] for part in ('params', 'batch_stats')}, batches=step)
        _, settings = from_release(tensors)
        _check_release(settings | {'stem_pool': config.get('model', {}).get('stem_pool', True)})
    except ValueError as error:
        raise ValueError(f'{source}: the release cannot load this model: {error}') from None
    with _finished(target) as part:
        torch_files.write(part, tensors)
    order = '' if config.get('crop', {}).get('bgr') else '; the release will feed it BGR, not RGB'
    return f'{target}: {settings["variant"]}, ResNet-{settings["depth"]}, for the release{order}'


def _open(workdir: pathlib.Path) -> tuple[Any, int, dict]:
    """The newest checkpoint of a workdir as (arrays, step, the config beside it)."""
    steps = [int(p.name) for p in (workdir / 'checkpoints').glob('*') if p.name.isdigit()]
    if not steps:
        raise ValueError(f'{workdir}: no checkpoint there, expected checkpoints/<step>')
    folder = workdir.absolute() / 'checkpoints' / str(max(steps))
    try:
        shapes = ocp.StandardCheckpointer().metadata(folder / 'default').item_metadata.tree
    except Exception as error:  # Orbax raises whatever its storage layer does
        raise ValueError(f'{folder}: cannot be read ({str(error).splitlines()[0]})') from None
    if not {'params', 'batch_stats'} <= shapes.keys():
        raise ValueError(f'{folder}: holds {", ".join(shapes)}, expected params and batch_stats')
    config = workdir / 'config.json'
    return (
        checkpoint.read(folder, shapes),
        max(steps),
        json.loads(config.read_text()) if config.is_file() else {},
    )


def _save(
    target: pathlib.Path,
    variables: Variables,
    config: dict[str, Any],
    *,
    batches: int,
    loss_means: Any,
) -> None:
    """A workdir with one checkpoint and the part of a config that goes with it."""
    params, batch_stats = variables['params'], variables['batch_stats']
    state = TrainState(jnp.int32(batches), params, batch_stats, (), loss_means)
    with _finished(target) as part:
        with contextlib.closing(checkpoint.Checkpoints(part / 'checkpoints')) as checkpoints:
            checkpoints.save(state)
            checkpoints.wait()
        (part / 'config.json').write_text(json.dumps(config, indent=2) + '\n')


def _batches(tensors: Tensors) -> int:
    """How many batches the norms have seen; 0 where a file does not say."""
    return max((int(v) for name, v in tensors.items() if name.endswith(COUNTER)), default=0)


@contextlib.contextmanager
def _finished(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path to write to, which becomes `target` after success and is deleted after an error."""
    parent = target.absolute().parent
    if not parent.is_dir():
        raise ValueError(f'{target}: there is no folder {parent}')
    with tempfile.TemporaryDirectory(dir=parent, prefix=f'.{target.name}-') as folder:
        part = pathlib.Path(folder) / target.name
        yield part
        part.rename(target)


def main(argv: list[str] | None = None) -> None:
    """The command line: converts, or says in one line why not."""
    parser = argparse.ArgumentParser(
        prog='python -m ttp_jax.convert',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__.split('\n\nContract')[0],
    )
    parser.add_argument('source', metavar='FROM', help='.pth, safetensors, or a workdir')
    parser.add_argument('target', metavar='TO', help='what to make; must not be there yet')
    arguments = parser.parse_args(argv)
    try:
        print(convert(arguments.source, arguments.target))
    except ValueError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
