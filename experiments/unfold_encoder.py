"""A ResNet whose batch norms were folded away, with norms again: an encoder to start training from.

    python experiments/unfold_encoder.py FOLDED.npz ROOT ENCODER.pth
    python -m ttp_jax.main --config=configs/joint.py:penn_action --config.data.root=ROOT \
        --config.train.encoder_weights=ENCODER.pth --config.model.width=64 ...

FOLDED holds 'conv1.weight' `[7, 7, 3, 64]`, 'conv1.bias', 'layer1.0.conv1.weight' and so on, as
torchvision names them, each norm folded into the weight and bias before it, for ResNet-18's stem
and some of its stages. Training normalises with the statistics of its own batches, which undoes
whatever scale a kernel has. So each norm gets back what the convolution's outputs show on frames of
ROOT (a folder in Penn Action's layout): their mean and variance as its statistics, their standard
deviation as its scale, and the bias with which evaluation gives the same outputs as before. Stages
that FOLDED lacks start from random weights.
"""

import argparse
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from ttp_jax import convert
from ttp_jax.data import pairs, penn_action
from ttp_jax.files import torch_files
from ttp_jax.networks import layers
from ttp_jax.networks import model as networks
from ttp_jax.personalize import partition


def folded_variables(folded: dict[str, np.ndarray], fresh: dict) -> dict[str, np.ndarray]:
    """`fresh`, flat, with the folded kernels, and the folded biases in the norms behind them."""
    flat = {path: np.array(leaf) for path, leaf in partition.flatten(fresh).items()}
    theirs = {
        convert.torch_name(path).removeprefix('pose_net.'): path
        for path in flat
        if path.startswith('params/encoder/resnet')
    }
    for name, value in folded.items():
        # torchvision numbers a shortcut's convolution and norm.
        norm = name.replace('conv', 'bn').replace('downsample.0', 'downsample.1')
        path = theirs[name if name.endswith('weight') else norm]
        if flat[path].shape != value.shape:
            raise ValueError(f'{name} is {value.shape}, expected {flat[path].shape}')
        flat[path] = value
    return flat


def convolved(model: networks.PoseModel, variables, images: jax.Array) -> dict[str, np.ndarray]:
    """What each convolution of the ResNet gives, by its path."""
    outputs = {}

    def intercept(layer, inputs, keywords, context):
        y = layer(*inputs, **keywords)
        path = '/'.join(context.module.path)
        if 'resnet' in path and 'conv' in path:
            outputs[path] = np.asarray(y)
        return y

    with nn.intercept_methods(intercept):
        model.apply(variables, images, method='heatmaps')
    return outputs


def unfold(
    flat: dict[str, np.ndarray], outputs: dict[str, np.ndarray], folded: dict[str, np.ndarray]
) -> None:
    """Gives the norms behind the folded convolutions their statistics, scales and biases."""
    for path, y in outputs.items():
        norm = path.replace('conv', 'bn')
        if convert.torch_name(f'params/{path}/kernel').removeprefix('pose_net.') not in folded:
            continue
        mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2))
        flat[f'batch_stats/{norm}/mean'], flat[f'batch_stats/{norm}/var'] = mean, var
        flat[f'params/{norm}/scale'] = np.sqrt(var + layers.BatchNorm.epsilon)
        flat[f'params/{norm}/bias'] += mean


def crops(root: str, count: int, size: int, model: networks.PoseModel) -> jax.Array:
    """`count` crops of as many training clips, `[count, size, size, 3]`."""
    spec = pairs.CropSpec(size, model.cells(size))
    clips = penn_action.penn_action_clips(root, split='train', limit=count)
    return jnp.stack(
        [
            pairs.crop_frame(
                jnp.asarray(frame),
                jnp.asarray(clip.boxes[0]),
                spec=spec,
                valid=jnp.array(frame.shape[:2]),
            )
            for clip in clips
            for frame in [np.asarray(clip.frames[0])]
        ]
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folded', type=pathlib.Path)
    parser.add_argument('root')
    parser.add_argument('encoder', type=pathlib.Path)
    parser.add_argument('--size', type=int, default=128, help='side of the crops, pixels')
    arguments = parser.parse_args()
    model = networks.PoseModel(depth=18, variant='baseline')
    image = jnp.zeros((1, arguments.size, arguments.size, 3))
    with np.load(arguments.folded) as archive:
        folded = dict(archive)
    flat = folded_variables(folded, model.init(jax.random.key(0), image, image))
    images = crops(arguments.root, 64, arguments.size, model)
    before = model.apply(unflatten_dict(flat, sep='/'), images, method='heatmaps').supervised
    unfold(flat, convolved(model, unflatten_dict(flat, sep='/'), images), folded)
    after = model.apply(unflatten_dict(flat, sep='/'), images, method='heatmaps').supervised
    resnet = {
        part: {'encoder': {'resnet': unflatten_dict(flat, sep='/')[part]['encoder']['resnet']}}
        for part in ('params', 'batch_stats')
    }
    torch_files.write(arguments.encoder, convert.to_release(resnet))
    print(
        f'{arguments.encoder}: {len(folded) // 2} convolutions unfolded on {len(images)} crops; '
        f'heatmaps changed by {float(jnp.abs(after - before).max() / jnp.abs(before).max()):.1e}'
    )


if __name__ == '__main__':
    main()
