"""Keypoints as COCO writes them: one JSON of images, annotations and the category's skeleton.

A person in a frame is an annotation with `track_id`, which stays theirs over the video; an image is
a frame, with `frame_id` from 0. Every keypoint is marked as visible (2): the network says how sure
it is of each in `keypoint_scores`, not whether it can be seen.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ttp_jax.data.skeletons import Skeleton
from ttp_jax.files import whole_file
from ttp_jax.results.exports.keypoints import Found, by_frame


def write(
    path: pathlib.Path,
    people: Sequence[Found],
    *,
    skeleton: Skeleton,
    video: str,
    size: tuple[int, int],
) -> None:
    """The JSON file of one video; size: its (height, width)."""
    tree = {
        'info': {'description': f'keypoints of {video}, found by ttp_jax'},
        'images': _images(people, video, size),
        'annotations': _annotations(people),
        'categories': [
            {
                'id': 1,
                'name': 'person',
                'keypoints': [joint.replace(' ', '_') for joint in skeleton.joints],
                'skeleton': [[first + 1, second + 1] for first, second in skeleton.bones],
            }
        ],
    }
    with whole_file.replacing(path) as temporary:
        temporary.write_text(json.dumps(tree))


def _images(people: Sequence[Found], video: str, size: tuple[int, int]) -> list[dict[str, Any]]:
    frames = sorted({frame for frame, _, _ in by_frame(people)})
    return [
        {
            'id': frame,
            'frame_id': frame,
            'file_name': f'{video}/{frame:06d}.jpg',
            'height': size[0],
            'width': size[1],
        }
        for frame in frames
    ]


def _annotations(people: Sequence[Found]) -> list[dict[str, Any]]:
    tracks = {person.person: number for number, person in enumerate(people, start=1)}
    return [
        _annotation(person, row, frame) | {'id': number, 'track_id': tracks[person.person]}
        for number, (frame, person, row) in enumerate(by_frame(people), start=1)
    ]


def _annotation(person: Found, row: int, frame: int) -> dict[str, Any]:
    x1, y1, x2, y2 = person.boxes[row].astype(float).round(2).tolist()
    points = np.column_stack(
        [person.joints[row].astype(float).round(2), np.full(len(person.joints[row]), 2)]
    )
    return {
        'image_id': frame,
        'category_id': 1,
        'person': person.person,
        'keypoints': points.ravel().tolist(),
        'num_keypoints': len(points),
        'keypoint_scores': person.scores[row].astype(float).round(4).tolist(),
        'score': round(float(person.scores[row].mean()), 4),
        'bbox': [x1, y1, round(x2 - x1 + 1, 2), round(y2 - y1 + 1, 2)],
        'area': round((x2 - x1 + 1) * (y2 - y1 + 1), 2),
        'iscrowd': 0,
        'personalized': bool(person.personalized[row]),
    }
