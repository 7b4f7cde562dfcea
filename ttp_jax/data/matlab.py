"""MATLAB files, with errors that name the file and the field."""

import pathlib

import numpy as np
import scipy.io


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The variables of a `.mat` file.

    Raises:
      ValueError: when it is missing or cannot be read.
    """
    try:
        return scipy.io.loadmat(path)
    except FileNotFoundError:
        raise ValueError(f'{path}: no such label file') from None
    except Exception as error:  # broken bytes surface as TypeError, zlib.error, struct.error …
        raise ValueError(f'{path}: not a readable .mat file ({error})') from error


def field(fields: dict[str, np.ndarray], name: str, path: pathlib.Path) -> np.ndarray:
    """The field `name`.

    Raises:
      ValueError: when there is none.
    """
    if name not in fields:
        raise ValueError(f'{path}: field {name} is missing')
    return fields[name]


def finite(values: np.ndarray, name: str, path: pathlib.Path) -> np.ndarray:
    """The values in float32.

    Raises:
      ValueError: when one is not finite.
    """
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f'{path}: field {name} holds values that are not finite')
    return values
