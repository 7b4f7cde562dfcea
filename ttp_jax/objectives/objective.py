"""What an objective is: a task that a model can learn from images alone (paper section 3.1).

An objective is a value. Joint training adds its loss to that of the labels, personalization lowers
nothing else, and the memory estimate traces it; none of them needs to know which objective it is.
To add one, write a file beside this one that ends in an `Objective`, and name it in `registry`.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

import jax

from ttp_jax.networks.model import Heatmaps, PoseModel
from ttp_jax.networks.perceptual import Perceptual

# Every norm's scale and bias; and the heads that turn what was learned without labels into labelled
# keypoints. The release freezes both while it personalizes (paper section 3.2).
NORMS = r'.*/(bn|norm|deconv_bn|downsample_bn)[^/]*/(scale|bias)'
LABELLED_HEAD = r'(affinity_transformer|supervised_head)/.*'

# Frozen by tasks that read heatmaps and rebuild nothing: as above, and the networks that draw, of
# which such a task knows nothing. What moves is the encoder and the self-supervised head.
SEEING = (
    NORMS,
    r'(affinity_transformer|supervised_head|rotation_head|appearance_encoder|pose_encoder|renderer)'
    r'/.*',
)


def everything_but(pattern: str) -> str:
    """The pattern of every whole parameter path that `pattern` does not match."""
    return rf'(?!(?:{pattern})$).*'


class Context(NamedTuple):
    """What an objective may use besides images.

    seen: the target's heatmaps, where joint training has computed them already.
    mirror: for each labelled joint the one it becomes in a mirrored image: `Skeleton.mirror`.
    labels: what a `taught` objective learns from: heatmaps `[B, h, w, J]` and weights `[B, J]`, as
    `data.pairs.targets` makes them.
    """

    perceptual: Perceptual
    seen: Heatmaps | None = None
    mirror: tuple[int, ...] = ()
    labels: tuple[jax.Array, jax.Array] | None = None


class Outcome(NamedTuple):
    """What a task finds in a batch; all of it means over the batch's images.

    loss `[]`: to be lowered as it is. metrics: scalars worth logging. terms `[1 + terms]`: errors
    that are added to it when each has been divided by its running mean, times `weight`; see
    `balance`. None where a task has none.
    """

    loss: jax.Array
    metrics: dict[str, jax.Array]
    terms: jax.Array | None = None
    weight: float = 1.0


def sample_keys(rng: jax.Array, batch: int) -> jax.Array:
    """A key per sample, `[batch]`: those that came, or else made from the one that came.

    Joint training gives every sample its own, so that what is drawn for it does not depend on how
    many devices share the batch.
    """
    return rng if rng.ndim else jax.random.split(rng, batch)


class Objective(NamedTuple):
    """A self-supervised task as a value.

    loss: `(model, target, source, rng, context) -> Outcome` of a model bound to its variables (as
    in `flax.linen.apply`) and normalised crops `[B, S, S, 3]`; reads no label. `rng` is one key for
    the batch, or `[B]` keys: see `sample_keys`.
    heads: the parts of the model, by their names in the parameter tree, that it needs.
    frozen: patterns of parameter paths that personalization with it leaves as they are.
    taught: whether it learns from what the shared weights predict in the person's whole clip, which
    is then done before the first step.
    by_image: whether a batch's outcome is the mean of its images', so that it may be worked off in
    parts.
    """

    name: str
    loss: Callable[..., Outcome]
    heads: Collection[str]
    frozen: tuple[str, ...] = (NORMS, LABELLED_HEAD)
    taught: bool = False
    by_image: bool = True

    def check(self, model: PoseModel) -> None:
        """Raises ValueError when the model lacks a head that this task needs."""
        if missing := set(self.heads) - model.parts:
            raise ValueError(
                f'objective {self.name!r} needs {", ".join(sorted(missing))}, which model.variant '
                f'{model.variant!r} does not have'
            )
