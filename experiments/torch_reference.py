"""The same model and mathematics in plain PyTorch: what throughput.py and the tests compare with.

Contract: frames are uint8 `[T, H, W, 3]` and boxes `[T, 4]` image pixels, as in `ttp_jax`; inside,
images are normalised `[N, 3, S, S]`, heatmaps `[N, K, h, w]`, keypoints (x, y) in cells. Tensors
are named as in the authors' release, so that `ttp_jax.convert.to_release` fills a `Model`. Only the
Transformer variant is here. Crops are drawn from the frames on the model's device, in every step,
by `grid_sample`, as ttp_jax draws them too.

A person is adapted online by a `Learner`, one person after another. It does no work that can be
avoided, or, with `redundant=True`, what the release does beside: all copies of a frame go through
the network to predict it and the first is kept; the perceptual network runs twice more per step,
only to log; the targets' features are computed without leaving out the tape; and the optimiser is
PyTorch's default rather than the fused one.

`mode` is how PyTorch computes, words joined by '+': plain, tf32, amp (bfloat16 autocast), compile
(`torch.compile` of losses and heatmaps), channels_last.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MODES = ('plain', 'tf32', 'amp', 'compile', 'channels_last')
STAGES = {
    10: ((1, 1, 1, 1), False),
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The paper freezes these beside all batch norms (section 3.2).
FROZEN = ('pose_net.mh_attn.', 'pose_net.sup_query.', 'pose_net.sup_weight.')


# --- the networks ----------------------------------------------------------------------------


def unit(channels: int, features: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """The convolution, norm and ReLU that the image networks are made of."""
    return [
        nn.Conv2d(channels, features, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(features),
        nn.ReLU(inplace=True),
    ]


class Block(nn.Module):
    """Two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1, and a shortcut; the first 3 x 3 strides."""

    def __init__(self, channels: int, features: int, stride: int, bottleneck: bool):
        super().__init__()
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        sizes = [channels] + [features] * (len(kernels) - 1) + [features * (4 if bottleneck else 1)]
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        self.depth = len(kernels)
        for i, (kernel, step) in enumerate(zip(kernels, strides), start=1):
            conv, norm, _ = unit(sizes[i - 1], sizes[i], kernel, step)
            self.add_module(f'conv{i}', conv)
            self.add_module(f'bn{i}', norm)
        changes = stride != 1 or channels != sizes[-1]
        shortcut = nn.Sequential(*unit(channels, sizes[-1], 1, stride)[:2])
        self.downsample = shortcut if changes else None
        self.features = sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f'bn{i}')(getattr(self, f'conv{i}')(y))
            y = F.relu(y, inplace=True) if i < self.depth else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


def residual_stage(
    channels: int, features: int, count: int, stride: int, bottleneck: bool
) -> nn.Sequential:
    """`count` blocks, the first with the stride."""
    blocks = [Block(channels, features, stride, bottleneck)]
    for _ in range(count - 1):
        blocks.append(Block(blocks[-1].features, features, 1, bottleneck))
    return nn.Sequential(*blocks)


class PoseNet(nn.Module):
    """Encoder, self-supervised head and affinity Transformer (paper section 3.1)."""

    def __init__(
        self,
        *,
        joints: int,
        keypoints: int,
        depth: int,
        width: int,
        stem_pool: bool,
        deconvolutions: int,
        features: int,
        heads: int,
        feedforward: int,
        dropout: float,
    ):
        super().__init__()
        blocks, bottleneck = STAGES[depth]
        self.conv1, self.bn1, _ = unit(3, width, 7, 2)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem_pool else nn.Identity()
        channels = width
        for stage, count in enumerate(blocks):
            layer = residual_stage(channels, width * 2**stage, count, 2 if stage else 1, bottleneck)
            self.add_module(f'layer{stage + 1}', layer)
            channels = layer[-1].features
        sizes = [channels] + [features] * deconvolutions
        self.deconv_layers = nn.Sequential(
            *(
                module
                for a, b in itertools.pairwise(sizes)
                for module in (nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), *unit(a, b)[1:])
            )
        )
        self.final_layer_unsup = nn.Conv2d(features, keypoints, 1)
        self.sup_query = nn.Linear(joints, features, bias=False)  # its weight holds the queries
        layer = nn.TransformerDecoderLayer(features, heads, feedforward, dropout, batch_first=True)
        self.mh_attn = nn.ModuleDict(
            {'decoder': nn.TransformerDecoder(layer, 1, nn.LayerNorm(features))}
        )
        self.sup_weight = nn.Linear(features, keypoints)
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """The release's first weights, where they are not PyTorch's."""
        for module in (*self.deconv_layers, self.final_layer_unsup):
            if isinstance(module, (nn.ConvTranspose2d, nn.Conv2d)):
                module.weight.normal_(0, 0.001)
        self.sup_query.weight.normal_(0, 1)

    def features(self, images: Tensor) -> Tensor:
        """Images to features F."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(images)), inplace=True))
        for stage in (1, 2, 3, 4):
            x = getattr(self, f'layer{stage}')(x)
        return self.deconv_layers(x)

    def affinity(self, features: Tensor) -> Tensor:
        """Features `[N, C, h, w]` to the affinity matrix `[N, J, K]`."""
        queries = self.sup_query.weight.T.expand(len(features), -1, -1)
        x = self.mh_attn['decoder'](queries, features.flatten(2).transpose(1, 2))
        return self.sup_weight(x).float().softmax(-1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(supervised `[N, J, h, w]`, self-supervised `[N, K, h, w]`) heatmaps."""
        features = self.features(images)
        maps = self.final_layer_unsup(features).float()
        return torch.einsum('njk,nkhw->njhw', self.affinity(features), maps), maps


class ImageEncoder(nn.Module):
    """Pose or appearance encoder: `[N, C, H, W]` to `[N, 8 * width, H / 8, W / 8]`."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.layer1 = nn.Sequential(*unit(channels, width, 7), *unit(width, width))
        for stage in (2, 3, 4):
            features = width * 2 ** (stage - 1)
            self.add_module(
                f'layer{stage}',
                nn.Sequential(*unit(features // 2, features, stride=2), *unit(features, features)),
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class Renderer(nn.Module):
    """Appearance and pose, concatenated, to the image."""

    def __init__(self, channels: int):
        super().__init__()
        for stage in (1, 2, 3, 4):
            channels //= 2
            layers = [*unit(2 * channels, channels), *unit(channels, channels)]
            layers += [nn.Conv2d(channels, 3, 3, padding=1)] if stage == 4 else []
            self.add_module(f'layer{stage}', nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        for stage in (self.layer1, self.layer2, self.layer3):
            x = F.interpolate(stage(x), scale_factor=2, mode='nearest')
        return self.layer4(x)


class Model(nn.Module):
    """The whole model; settings as those of `ttp_jax.model.PoseModel`."""

    def __init__(self, *, keypoints: int, image_width: int, sigma: float, **settings):
        super().__init__()
        self.sigma = sigma
        self.pose_net = PoseNet(keypoints=keypoints, **settings)
        self.image_encoder = ImageEncoder(3, image_width)
        self.pose_encoder = ImageEncoder(keypoints, image_width)
        self.image_renderer = Renderer(16 * image_width)

    def reconstruct(self, maps: Tensor, source: Tensor) -> Tensor:
        """The target from its self-supervised heatmaps and the source's appearance."""
        gaussians = gaussian_maps(
            keypoint_bottleneck(maps.float()), size=maps.shape[2:], sigma=self.sigma
        )
        gaussians = F.interpolate(gaussians, size=source.shape[2:], mode='bilinear')
        seen = torch.cat([self.image_encoder(source), self.pose_encoder(gaussians)], dim=1)
        return self.image_renderer(seen).float()

    def rebuild(self, target: Tensor, source: Tensor) -> Tensor:
        """Only the rebuilt target: the Transformer is not run."""
        maps = self.pose_net.final_layer_unsup(self.pose_net.features(target))
        return self.reconstruct(maps, source)

    def forward(self, target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """(supervised heatmaps of the target, the target rebuilt from the source)."""
        supervised, maps = self.pose_net(target)
        return supervised, self.reconstruct(maps, source)


def build(*, variant: str = 'transformer', device: str = 'cpu', **settings) -> Model:
    """A model with fresh weights. Raises ValueError for a variant that is not the paper's."""
    if variant != 'transformer':
        raise ValueError(f'variant is {variant!r}; PyTorch has only transformer here')
    return Model(**settings).to(device)


def keypoint_bottleneck(maps: Tensor) -> Tensor:
    """Heatmaps `[N, K, h, w]` to keypoints `[N, K, 2]`: expectations under marginal softmaxes."""

    def expectation(logits):
        cells = torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype)
        return (logits.softmax(-1) * cells).sum(-1)

    return torch.stack([expectation(maps.sum(2)), expectation(maps.sum(3))], dim=-1)


def gaussian_maps(centres: Tensor, *, size: Sequence[int], sigma: float) -> Tensor:
    """Keypoints `[N, K, 2]` to maps `[N, K, h, w]` with peak 1."""

    def profile(centre, length):
        cells = torch.arange(length, device=centre.device, dtype=centre.dtype)
        return torch.exp(-((cells - centre[..., None]) ** 2) / (2 * sigma**2))

    columns, rows = profile(centres[..., 0], size[1]), profile(centres[..., 1], size[0])
    return rows[..., :, None] * columns[..., None, :]


# --- losses ----------------------------------------------------------------------------------

RANDOM_STAGES = (16, 32, 64)
VGG16_BLOCKS = ((64, 64), (128, 128), (256, 256), (256, 512, 512), (512, 512, 512))
VGG16_POOLED = (2, 4, 7, 10)  # convolutions that a pool stands before
VGG16_MEANS = (0.1966, 0.8725, 3.4260, 7.4396, 4.1430, 1.1304)


class Perceptual(nn.Module):
    """A frozen network's feature maps; `means` is where the running means of the losses start.

    kind: 'random' (three untrained stages), 'vgg16' (its shape) or 'none'. weights: kernels
    `[k, k, in, out]` and biases in the order of `ttp_jax.perceptual`, else random ones.
    """

    def __init__(self, kind: str, weights: Mapping[str, np.ndarray] | None = None):
        super().__init__()
        blocks = {'none': (), 'random': [(n,) for n in RANDOM_STAGES], 'vgg16': VGG16_BLOCKS}[kind]
        sizes = [3, *(n for block in blocks for n in block)]
        strides = [2 if kind == 'random' and i else 1 for i in range(len(sizes) - 1)]
        self.pooled = VGG16_POOLED if kind == 'vgg16' else ()
        # Plain integers: torch.compile would break its graph at those of NumPy.
        self.kept = (np.cumsum([len(block) for block in blocks]) - 1).tolist()
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride, 1) for a, b, stride in zip(sizes, sizes[1:], strides)
        )
        means = VGG16_MEANS if kind == 'vgg16' else (0.0,) * (1 + len(blocks))
        self.register_buffer('means', torch.tensor(means), persistent=False)
        self.fill(weights).requires_grad_(False)

    @torch.no_grad()
    def fill(self, weights: Mapping[str, np.ndarray] | None) -> Perceptual:
        """Takes these weights, or draws some."""
        arrays = list(weights.values()) if weights else []
        for i, conv in enumerate(self.convs):
            if weights:
                conv.weight.copy_(torch.from_numpy(np.array(arrays[2 * i])).permute(3, 2, 0, 1))
                conv.bias.copy_(torch.from_numpy(np.array(arrays[2 * i + 1])))
            else:
                nn.init.kaiming_normal_(conv.weight)
                conv.bias.zero_()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, x = [], images
        for i, conv in enumerate(self.convs):
            x = F.relu(conv(F.max_pool2d(x, 2) if i in self.pooled else x), inplace=True)
            maps += [x] if i in self.kept else []
        return maps


def reconstruction_terms(
    image: Tensor, target: Tensor, network: Perceptual, *, tape: bool = False
) -> Tensor:
    """Mean squared errors `[1 + terms]`: on the pixels, then on each perceptual feature map.

    tape: compute the target's features as if they could be differentiated, as the release does.
    """
    with contextlib.nullcontext() if tape else torch.no_grad():
        wanted = [target, *network(target)]
    seen = [image, *network(image)]
    return torch.stack([F.mse_loss(a.float(), b.detach().float()) for a, b in zip(seen, wanted)])


def balance(terms: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of terms, each over its running mean, and the new running means."""
    now = terms.detach()
    means = torch.where(means > 0, means + 0.01 * (now - means), now)
    return (terms / means).sum(), means


def supervised_loss(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean of (w prediction - w target)^2 / 2; `weight` is `[N, J]`."""
    weight = weight[:, :, None, None]
    return 0.5 * F.mse_loss(weight * prediction.float(), weight * target)


# --- crops and decoding ----------------------------------------------------------------------


class Augmentation(NamedTuple):
    """Scale `[N]`, rotation `[N]` in degrees and mirror `[N]` in {-1, 1}."""

    scale: Tensor
    rotation: Tensor
    mirror: Tensor

    def first_plain(self) -> Augmentation:
        """The augmentation with its first sample left as it is."""
        first = torch.arange(len(self.scale), device=self.scale.device) == 0
        return Augmentation(
            torch.where(first, 1.0, self.scale),
            torch.where(first, 0.0, self.rotation),
            torch.where(first, 1.0, self.mirror),
        )


def draw_augmentation(
    count: int,
    *,
    device: torch.device,
    scale_std: float = 0.25,
    rotation_std: float = 30.0,
    rotation_prob: float = 0.6,
    flip_prob: float = 0.5,
) -> Augmentation:
    """As `geometry.sample_augmentation` draws, `count` times."""
    normal, chance = torch.randn(2, count, device=device), torch.rand(2, count, device=device)
    rotation = (rotation_std * normal[1]).clamp(-2 * rotation_std, 2 * rotation_std)
    return Augmentation(
        (1 + scale_std * normal[0]).clamp(1 - scale_std, 1 + scale_std),
        torch.where(chance[0] < rotation_prob, rotation, 0.0),
        torch.where(chance[1] < flip_prob, -1.0, 1.0),
    )


def crop_region(boxes: Tensor, *, subtract_one: bool = True) -> tuple[Tensor, Tensor]:
    """Centres `[N, 2]` and sides `[N]`, in image pixels, of the squares around boxes `[N, 4]`."""
    low, high = boxes[:, :2], boxes[:, 2:]
    scale = (high - low + 1).amax(1) / 200
    centre = (low + high - 1) / 2 - float(subtract_one)
    return torch.stack([centre[:, 0], centre[:, 1] + 15 * scale], dim=1), 250 * scale


def crop_to_image(boxes: Tensor, how: Augmentation, *, size: int) -> tuple[Tensor, Tensor]:
    """(linear `[N, 2, 2]`, offset `[N, 2]`): crop pixels (x, y) to image pixels."""
    centre, side = crop_region(boxes)
    angle = torch.deg2rad(how.rotation)
    cos, sin = torch.cos(angle), torch.sin(angle)
    linear = torch.stack(
        [
            torch.stack([cos * how.mirror, -sin * how.mirror], dim=-1),
            torch.stack([sin, cos], dim=-1),
        ],
        dim=1,
    )
    linear = linear * (side * how.scale / size)[:, None, None]
    return linear, centre - linear.sum(-1) * size / 2


def crop(frames: Tensor, to_image: tuple[Tensor, Tensor], *, size: int) -> Tensor:
    """Frames `[N, H, W, 3]` uint8 to normalised crops `[N, 3, size, size]`, zeros outside."""
    linear, offset = to_image
    line = torch.arange(size, device=frames.device, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(line, line, indexing='xy'), dim=-1)
    points = torch.einsum('nij,hwj->nhwi', linear, grid) + offset[:, None, None]
    last = torch.tensor([frames.shape[2] - 1, frames.shape[1] - 1], device=frames.device)
    pixels = F.grid_sample(
        frames.permute(0, 3, 1, 2).float(), 2 * points / last - 1, align_corners=True
    )
    mean, std = (
        torch.tensor(v, device=frames.device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (pixels / 255 - mean) / std


def target_heatmaps(
    joints: Tensor,
    visibility: Tensor,
    to_image: tuple[Tensor, Tensor],
    mirror: Tensor,
    *,
    swapped: Sequence[int],
    size: int,
    cells: int,
    sigma: float,
) -> tuple[Tensor, Tensor]:
    """Joints `[N, J, 2]`, image pixels, to heatmaps `[N, J, h, w]` and weights `[N, J]`."""
    linear, offset = to_image
    inside = torch.einsum('nij,nkj->nki', torch.linalg.inv(linear), joints - offset[:, None])
    flipped = mirror < 0
    inside = torch.where(flipped[:, None, None], inside[:, swapped], inside)
    weight = torch.where(flipped[:, None], visibility[:, swapped], visibility)
    cell, radius = torch.trunc(inside * cells / size + 0.5), 3 * sigma
    weight = weight * ((cell + radius + 1 >= 0) & (cell - radius < cells)).all(-1)
    maps = gaussian_maps(cell, size=(cells, cells), sigma=sigma)
    drawn = gaussian_square(cell, cells=cells, radius=radius) & (weight > 0.5)[..., None, None]
    return maps * drawn, weight


def gaussian_square(cell: Tensor, *, cells: int, radius: float) -> Tensor:
    """Whether a cell of the map `[N, J, h, w]` is within `radius` of the joint's on both axes."""
    near = (torch.arange(cells, device=cell.device) - cell[..., None]).abs() <= radius
    return near[..., 1, :, None] & near[..., 0, None, :]


def decode(heatmaps: Tensor) -> Tensor:
    """Heatmaps `[N, J, h, w]` to keypoints `[N, J, 2]`, (x, y) in cells (paper section 4.2)."""
    h, w = heatmaps.shape[2:]
    score, index = heatmaps.flatten(2).max(-1)
    x, y = index % w, index // w
    padded = F.pad(heatmaps, (1, 1, 1, 1)).flatten(2)

    def at(dx, dy):
        return padded.gather(2, ((y + 1 + dy) * (w + 2) + x + 1 + dx)[..., None])[..., 0]

    slope = torch.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], dim=-1)
    inside = (1 < x) & (x < w - 1) & (1 < y) & (y < h - 1)
    cell = torch.stack([x, y], dim=-1) + 0.25 * slope.sign() * inside[..., None]
    return torch.where(score[..., None] > 0, cell, 0.0)


# --- modes -----------------------------------------------------------------------------------


def parse_mode(mode: str) -> set[str]:
    """The words of a mode. Raises ValueError for an unknown one."""
    words = set(mode.split('+'))
    if unknown := words - set(MODES):
        raise ValueError(f'mode {mode!r}: no {sorted(unknown)}; known: {", ".join(MODES)}')
    return words


class How:
    """A mode, applied: formats, precision, and functions compiled or not."""

    def __init__(self, mode: str, device: torch.device):
        self.words, self.device = parse_mode(mode), device
        self.format = (
            torch.channels_last if 'channels_last' in self.words else torch.contiguous_format
        )
        if device.type == 'cuda':
            torch.backends.cudnn.benchmark = True
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = (
                'tf32' in self.words or 'amp' in self.words
            )

    def place(self, module: nn.Module) -> nn.Module:
        """The module in the mode's memory format."""
        return module.to(memory_format=self.format)

    def compiled(self, function):
        """The function, compiled if the mode says so."""
        return torch.compile(function) if 'compile' in self.words else function

    def precision(self) -> contextlib.AbstractContextManager:
        """A context that computes in what the mode says."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled='amp' in self.words)


def adam(
    parameters: Iterable[Tensor], learning_rate: float, *, redundant: bool = False
) -> torch.optim.Adam:
    """Adam, fused unless the release is followed in detail."""
    return torch.optim.Adam(parameters, learning_rate, fused=None if redundant else True)


# --- personalization -------------------------------------------------------------------------


def freeze(model: Model) -> list[Tensor]:
    """Freezes all but what the paper trains at test time, and returns the trained parameters."""
    norms = {
        f'{name}.{leaf}'
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for leaf in ('weight', 'bias')
    }
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in norms and not name.startswith(FROZEN))
    return [p for p in model.parameters() if p.requires_grad]


class Learner:
    """Adapts one model to one person after another, online, frame by frame (paper section 3.2).

    batch: copies of each frame. See the module for `redundant` and `mode`.
    """

    def __init__(
        self,
        model: Model,
        network: Perceptual,
        *,
        size: int,
        batch: int,
        learning_rate: float = 1e-4,
        redundant: bool = False,
        mode: str = 'plain',
        augment: Mapping[str, float] | None = None,
    ):
        self.device = next(model.parameters()).device
        self.how = How(mode, self.device)
        self.model, self.network = (self.how.place(m).eval() for m in (model, network))
        self.first = {name: value.clone() for name, value in model.state_dict().items()}
        self.trained, self.size, self.batch = freeze(model), size, batch
        self.learning_rate, self.redundant = learning_rate, redundant
        self.augment = {**(augment or {}), 'rotation_prob': 1.0}
        self.terms = self.how.compiled(self._terms)
        self.heatmaps = self.how.compiled(lambda images: self.model.pose_net(images)[0])

    def start(self, frames: Tensor, boxes: Tensor) -> None:
        """Starts on a person: frames `[T, H, W, 3]` uint8, boxes `[T, 4]`; weights are reset."""
        self.model.load_state_dict(self.first)
        self.frames, self.boxes = frames.to(self.device), boxes.to(self.device)
        self.optimizer = adam(self.trained, self.learning_rate, redundant=self.redundant)
        self.means = self.network.means.clone()

    def frame(self, t: int) -> tuple[Tensor, Tensor]:
        """One step on frame t, then its joints `[J, 2]` in image pixels; and the step's loss."""
        target, source = self.crops(t)
        loss = self.step(target, source)
        images = target if self.redundant else target[:1]
        with torch.no_grad(), self.how.precision():
            heatmaps = self.heatmaps(images)[:1].float()
        side = crop_region(self.boxes[t, None])
        return (decode(heatmaps)[0] / heatmaps.shape[-1] - 0.5) * side[1] + side[0], loss

    def crops(self, t: int) -> tuple[Tensor, Tensor]:
        """Copies of frame t and sources from 0 ... t; the first of each is not augmented."""
        sources = torch.randint(t + 1, (self.batch,), device=self.device)
        how = draw_augmentation(self.batch, device=self.device, **self.augment).first_plain()
        to_image = crop_to_image(self.boxes[t].expand(self.batch, 4), how, size=self.size)
        copies = self.frames[t].expand(self.batch, *self.frames.shape[1:])
        return tuple(
            crop(f, to_image, size=self.size).contiguous(memory_format=self.how.format)
            for f in (copies, self.frames[sources])
        )

    def step(self, target: Tensor, source: Tensor) -> Tensor:
        """One Adam step on crops `[B, 3, S, S]`; returns the loss before it."""
        self.optimizer.zero_grad()
        with self.how.precision():
            terms, image = self.terms(target, source)
        loss, self.means = balance(terms, self.means)
        loss.backward()
        self.optimizer.step()
        if self.redundant:
            with torch.no_grad(), self.how.precision():
                self.logged = [self.network(x) for x in (image, target)]
        return loss.detach()

    def _terms(self, target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        image = self.model.rebuild(target, source)
        terms = reconstruction_terms(image, target, self.network, tape=self.redundant)
        return terms, image.detach()


class Adapted(NamedTuple):
    """One person's joints `[T, J, 2]` in image pixels, losses `[T]`."""

    joints: Tensor
    losses: Tensor


def personalize(
    model: Model,
    network: Perceptual,
    people: Iterable[tuple[Tensor, Tensor]],
    *,
    steps: int | None = None,
    **how,
) -> list[Adapted]:
    """Adapts to people (frames, boxes) one after another; at most `steps` frames of each.

    how: see `Learner`. The model is left with the last person's weights.
    """
    learner, results = Learner(model, network, **how), []
    for frames, boxes in people:
        learner.start(frames, boxes)
        seen = [learner.frame(t) for t in range(min(steps or len(frames), len(frames)))]
        results.append(Adapted(*(torch.stack(column) for column in zip(*seen))))
    return results


# --- joint training --------------------------------------------------------------------------


class Pairs(NamedTuple):
    """A batch of raw pairs.

    Target and source frames `[B, H, W, 3]` uint8, boxes `[B, 4]`, joints `[B, J, 2]`, visibility
    `[B, J]`.
    """

    target: Tensor
    source: Tensor
    box: Tensor
    joints: Tensor
    visibility: Tensor


class Trainer:
    """Joint training of both tasks (paper section 3.1). swapped: the skeleton's mirror."""

    def __init__(
        self,
        model: Model,
        network: Perceptual,
        *,
        size: int,
        cells: int,
        swapped: Sequence[int],
        learning_rate: float = 1e-3,
        reconstruction_weight: float = 1e-3,
        mode: str = 'plain',
        augment: Mapping[str, float] | None = None,
    ):
        self.device = next(model.parameters()).device
        self.how = How(mode, self.device)
        self.model, self.network = self.how.place(model).train(), self.how.place(network).eval()
        self.optimizer = adam(model.parameters(), learning_rate)
        self.means, self.weight = network.means.clone(), reconstruction_weight
        self.size, self.cells, self.swapped = size, cells, list(swapped)
        self.augment, self.losses = augment or {}, self.how.compiled(self._losses)

    def prepare(self, batch: Pairs) -> tuple[Tensor, ...]:
        """(target, source, heatmaps, weights) of raw pairs, augmented."""
        how = draw_augmentation(len(batch.box), device=self.device, **self.augment)
        to_image = crop_to_image(batch.box, how, size=self.size)
        maps, weights = target_heatmaps(
            batch.joints,
            batch.visibility,
            to_image,
            how.mirror,
            swapped=self.swapped,
            size=self.size,
            cells=self.cells,
            sigma=self.model.sigma,
        )
        crops = [
            crop(f, to_image, size=self.size).contiguous(memory_format=self.how.format)
            for f in (batch.target, batch.source)
        ]
        return *crops, maps, weights

    def loss(self, target: Tensor, source: Tensor, maps: Tensor, weights: Tensor) -> Tensor:
        """Supervised + weight x reconstruction; moves the running means and statistics."""
        with self.how.precision():
            supervised, terms = self.losses(target, source, maps, weights)
        reconstruction, self.means = balance(terms, self.means)
        return supervised + self.weight * reconstruction

    def step(self, batch: Pairs) -> Tensor:
        """One Adam step on everything; returns the loss before it."""
        self.optimizer.zero_grad()
        loss = self.loss(*self.prepare(batch))
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _losses(self, target, source, maps, weights):
        seen, image = self.model(target, source)
        return (
            supervised_loss(seen, maps, weights),
            reconstruction_terms(image, target, self.network),
        )
