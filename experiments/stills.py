"""Photographs of people as clips of two frames: a folder that trains the network of real people.

    python -m experiments.stills LSPET ROOT

LSPET is the Leeds Sports Pose Extended training set (Johnson & Everingham, CVPR 2011;
http://sam.johnson.io/research/lspet.html), 10,000 photographs from Flickr searches for parkour,
gymnastics and athletics: a folder `images` of JPEGs and `joints.mat` with `joints`
`[14, 3, photographs]`, each joint's (x, y, whether it is seen). ROOT becomes a folder in Penn
Action's layout with the `videos.json` of ttp_jax/data/mixed.py, to be named in
`config.data.roots`.

A clip has two frames, for a reconstruction needs another picture of the same person: the cut-out,
and the same turned, scaled and moved, as Jakab et al. (NeurIPS 2018) make pairs of photographs.
The head is the middle between the neck and the top of the head, where Penn Action's label is.
Boxes are those around the joints with a margin of 0.08 of the longer side.
"""

import argparse
import json
import pathlib
from typing import NamedTuple

import cv2
import numpy as np
import scipy.io

# LSP's joints that are Penn Action's after the head: left and right shoulder, elbow, and so on.
ORDER = (9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0)
NECK, TOP = 12, 13
MARGIN = 0.08  # of the box around the joints, parts of their longer extent
SEEN = 8  # joints at least that a photograph has to show
SIDE, ROOM = 180, 1.9  # of a cut-out: pixels at most, and its side in longer extents of the joints
TURN, SCALE, SHIFT = 20.0, 0.12, 0.05  # of the second frame: degrees, log, parts of its side


class Still(NamedTuple):
    """A picture `[height, width, 3]`, its joints `[13, 2]`, (x, y) pixels, and `[13]` 1 if seen."""

    image: np.ndarray
    joints: np.ndarray
    seen: np.ndarray


def penn_joints(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A label `[14, 3]` of LSP's joints as Penn Action's: positions `[13, 2]`, seen `[13]`."""
    head = label[[NECK, TOP]].mean(axis=0)
    joints = np.vstack([head, label[list(ORDER)]])
    seen = (joints[:, 2] == 1) & np.isfinite(joints[:, :2]).all(axis=1)
    return np.where(seen[:, None], joints[:, :2], 0.0), seen.astype(float)


def transformed(still: Still, matrix: np.ndarray, size: tuple[int, int]) -> Still:
    """The picture under an affine `[2, 3]`, of a size (width, height); its edges go on mirrored."""
    image = cv2.warpAffine(still.image, matrix, size, borderMode=cv2.BORDER_REFLECT_101)
    return Still(image, still.joints @ matrix[:, :2].T + matrix[:, 2], still.seen)


def extent(still: Still) -> tuple[np.ndarray, float]:
    """The middle `[2]` of the seen joints and the longer side of the box around them."""
    seen = still.joints[still.seen > 0]
    low, high = seen.min(axis=0), seen.max(axis=0)
    return (low + high) / 2, float((high - low).max())


def cut_out(still: Still) -> Still:
    """What is around the person, at most SIDE pixels large, nothing added beyond the picture."""
    middle, reach = extent(still)
    low = np.maximum(np.floor(middle - ROOM * reach / 2), 0).astype(int)
    size = np.array(still.image.shape[1::-1])
    high = np.minimum(np.ceil(middle + ROOM * reach / 2).astype(int), size)
    image = still.image[low[1] : high[1], low[0] : high[0]]
    scale = min(1.0, SIDE / max(image.shape[:2]))
    width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return Still(image, (still.joints - low) * scale, still.seen)


def moved(still: Still, rng: np.random.Generator) -> Still:
    """The same person as another frame might show them: turned, scaled and shifted."""
    height, width = still.image.shape[:2]
    middle, _ = extent(still)
    turn, scale = TURN * rng.normal(), float(np.exp(SCALE * rng.normal()))
    matrix = cv2.getRotationMatrix2D(tuple(middle.tolist()), turn, scale)
    matrix[:, 2] += SHIFT * max(height, width) * rng.normal(size=2)
    return transformed(still, matrix, (width, height))


def box(still: Still) -> np.ndarray:
    """x1, y1, x2, y2 around the seen joints, with the margin, inside of the picture."""
    seen = still.joints[still.seen > 0]
    margin = MARGIN * extent(still)[1]
    height, width = still.image.shape[:2]
    corners = np.stack([seen.min(axis=0) - margin, seen.max(axis=0) + margin])
    return np.clip(corners, 0, [width - 1, height - 1]).reshape(4)


def inside(still: Still) -> Still:
    """The still with joints that lie beyond its edges unseen."""
    size = np.array(still.image.shape[1::-1])
    seen = still.seen * ((still.joints >= 0) & (still.joints < size)).all(axis=1)
    return still._replace(joints=np.where(seen[:, None] > 0, still.joints, 0.0), seen=seen)


def write(root: pathlib.Path, name: str, frames: list[Still]) -> None:
    """One clip in Penn Action's layout; its pixels count from 1."""
    folder = root / 'frames' / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, still in enumerate(frames, 1):
        cv2.imwrite(str(folder / f'{number:06d}.jpg'), still.image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    joints = np.stack([still.joints for still in frames]) + 1
    height, width = frames[0].image.shape[:2]
    label = {
        'x': joints[..., 0],
        'y': joints[..., 1],
        'visibility': np.stack([still.seen for still in frames]),
        'bbox': np.stack([box(still) for still in frames]) + 1,
        'train': 1,
        'nframes': len(frames),
        'action': 'still',
        'dimensions': np.array([height, width, len(frames)]),
    }
    scipy.io.savemat(root / 'labels' / f'{name}.mat', label)


def pairs(path: pathlib.Path, label: np.ndarray, rng: np.random.Generator) -> list[Still]:
    """The two frames of a photograph; none where too few joints are seen or nothing can be read."""
    image = cv2.imread(str(path))
    if image is None:
        return []
    still = inside(Still(image, *penn_joints(label)))
    if still.seen.sum() < SEEN or extent(still)[1] < 8:
        return []
    first = inside(cut_out(still))
    frames = [first, inside(moved(first, rng))]
    return frames if min(frame.seen.sum() for frame in frames) >= SEEN else []


def main() -> None:
    """Makes ROOT of LSPET."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('folder', type=pathlib.Path)
    parser.add_argument('root', type=pathlib.Path)
    asked = parser.parse_args()
    for needed in ('joints.mat', 'images'):
        if not (asked.folder / needed).exists():
            parser.error(f'{asked.folder / needed}: missing, expected LSPET, unpacked')
    labels = scipy.io.loadmat(asked.folder / 'joints.mat')['joints'].transpose(2, 0, 1)
    (asked.root / 'labels').mkdir(parents=True, exist_ok=True)
    videos = []
    for index, label in enumerate(labels, 1):
        found = sorted((asked.folder / 'images').glob(f'im*{index:05d}.jpg'))
        frames = pairs(found[0], label, np.random.default_rng(index)) if found else []
        if frames:
            write(asked.root, f'{index:04d}', frames)
            videos.append({'video': index, 'source': f'lspet {index:05d}', 'nframes': 2})
    (asked.root / 'videos.json').write_text(json.dumps(videos))
    print(f'{asked.root}: {len(videos)} of {len(labels)} photographs')


if __name__ == '__main__':
    main()
