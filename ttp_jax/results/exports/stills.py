"""Single frames of one person: what changed most, and what the networks make of them.

Contract: every picture is `[H, W, 3]` uint8 RGB, made of panels of one size beside each other.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from ttp_jax.data.skeletons import Skeleton
from ttp_jax.results.exports import drawing
from ttp_jax.results.views import Prediction, View

_SIDE, _GAP, _HEAD = 240, 6, 24
_STRONGEST, _LEAST_WEIGHT = 3, 0.1  # affinity lines per joint, and the faintest that is drawn


def change(
    image: np.ndarray,
    box: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    *,
    skeleton: Skeleton,
    title: str,
) -> np.ndarray:
    """One frame around a box `[4]`, with joints `[J, 2]` before and after, all in its pixels."""
    panels = []
    for name, joints in ((f'before, {title}', before), ('after', after)):
        panel, points = _around(image, box, joints)
        drawing.skeleton(panel, points, skeleton)
        panels.append(_titled(panel, name))
    return _row(panels)


def seen(
    views: Mapping[str, View], predictions: Mapping[str, Prediction], *, skeleton: Skeleton
) -> np.ndarray:
    """One frame through the model, a row per phase.

    The source that lends its looks, the target, the target rebuilt, the self-supervised keypoints,
    and the joints with lines to the keypoints they are read from, the wider the more weight.
    """
    return np.concatenate(
        [
            _row(_view_panels(name, view, predictions[name].joints, skeleton))
            for name, view in views.items()
        ]
    )


def _view_panels(name: str, view: View, joints: np.ndarray, skeleton: Skeleton) -> list[np.ndarray]:
    scale = _SIDE / view.target.shape[0]
    panels = [
        _titled(drawing.enlarged(view.source, scale), f'{name}: source'),
        _titled(drawing.enlarged(view.target, scale), 'target'),
    ]
    if view.reconstruction is not None:
        panels.append(_titled(drawing.enlarged(view.reconstruction, scale), 'target rebuilt'))
    if view.self_supervised is not None:
        dots = _keypoints(view.target, view.self_supervised, scale)
        panels.append(_titled(dots, 'keypoints'))
    return [*panels, _titled(_joints(view, joints, scale, skeleton), 'joints')]


def _keypoints(target: np.ndarray, keypoints: np.ndarray, scale: float) -> np.ndarray:
    image = drawing.enlarged(target, scale)
    hues = np.linspace(0, 160, len(keypoints)).astype(np.uint8)
    paint = np.full((1, len(hues), 3), 230, np.uint8)
    paint[0, :, 0] = hues
    for point, colour in zip(
        drawing.moved(keypoints, scale), cv2.cvtColor(paint, cv2.COLOR_HSV2RGB)[0]
    ):
        drawing.dot(image, point, 5, (255, 255, 255))
        drawing.dot(image, point, 4, tuple(map(int, colour)))
    return image


def _joints(view: View, joints: np.ndarray, scale: float, skeleton: Skeleton) -> np.ndarray:
    image = drawing.enlarged(view.target, scale) // 2
    joints = drawing.moved(joints, scale)
    for first, second in skeleton.bones:
        drawing.line(image, joints[first], joints[second], (150, 150, 150), 1)
    if view.affinity is not None and view.self_supervised is not None:
        keypoints = drawing.moved(view.self_supervised, scale)
        for joint, weights in enumerate(view.affinity):
            for k in np.argsort(-weights)[:_STRONGEST]:
                if weights[k] > _LEAST_WEIGHT:
                    drawing.line(
                        image,
                        joints[joint],
                        keypoints[k],
                        drawing.colours(skeleton)[joint],
                        round(1 + 3 * float(weights[k])),
                    )
    for point, colour in zip(joints, drawing.colours(skeleton)):
        drawing.dot(image, point, 4, colour)
    return image


def _around(image: np.ndarray, box: np.ndarray, points: np.ndarray):
    """A square around the box at the size of a panel, and the points in it."""
    side = max(2.0, 1.3 * float((box[2:] - box[:2]).max() + 1))
    corner = (box[:2] + box[2:]) / 2 - (side - 1) / 2
    scale = _SIDE / side
    # A pixel's centre at p goes to (p - corner + 0.5) * scale - 0.5.
    shift = (0.5 - corner) * scale - 0.5
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    panel = cv2.warpAffine(image, affine, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR)
    return panel, points * scale + shift


def _titled(panel: np.ndarray, title: str) -> np.ndarray:
    head = np.full((_HEAD, panel.shape[1], 3), 255, np.uint8)
    cv2.putText(
        head, title, (2, _HEAD - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (60, 66, 74), 1, cv2.LINE_AA
    )
    return np.concatenate([head, panel])


def _row(panels: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((panels[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def png(image: np.ndarray) -> bytes:
    """The picture as a PNG file's bytes."""
    return cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def jpeg(image: np.ndarray) -> bytes:
    """The picture as a JPEG file's bytes."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
    return cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1].tobytes()
