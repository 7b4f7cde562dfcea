"""Test-time personalization of human pose estimation, in JAX.

For programs, arrays in and arrays out:

    import ttp_jax

    model = ttp_jax.load()  # the network of people that comes with the package
    found = model.predict(frames, boxes)  # found.joints [T, J, 2], found.scores [T, J]
    personal, found = model.personalize(frames, boxes)

`ttp_jax.run.estimator` says what frames and boxes are. Nothing heavy is imported before `load`.
"""

import os
import pathlib
import typing

if typing.TYPE_CHECKING:
    from ttp_jax.run.estimator import Estimator


# A network trained on drawn and real people (configs/real.py); README says how good it is.
PEOPLE = pathlib.Path(__file__).parent / 'checkpoints' / 'people.safetensors'


def load(
    checkpoint: str | os.PathLike = PEOPLE,
    *,
    flip_test: bool = True,
    follow: bool = False,
    objective: str = 'followed',
) -> 'Estimator':
    """The model of a workdir or of a packed file. Raises ValueError where there is none.

    flip_test: whether to predict from the mean over an image and its mirror image, which is a
    little better and takes twice as long (experiments/README.md). follow: whether frames are those
    of a video, through which joints are to be followed. objective: what people are adapted by, of
    `ttp_jax.objectives`; '': what the model's own run used.
    """
    from ttp_jax.run import estimator  # imports JAX and all that is built on it

    return estimator.load(
        pathlib.Path(checkpoint), flip_test=flip_test, follow=follow, objective=objective
    )
