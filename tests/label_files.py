"""Somebody's own labels, small: a creature of four joints that wanders, as COCO and DeepLabCut."""

import csv
import json

import cv2
import numpy as np
import video_files
import yaml

PARTS = ('snout', 'leftEar', 'rightEar', 'tail_base')
BONES = (('snout', 'leftEar'), ('snout', 'rightEar'), ('snout', 'tail_base'))
_OFFSETS = np.array([[12, 0], [6, -6], [6, 6], [-12, 0]], float)
_PAINT = ((250, 80, 80), (80, 250, 80), (80, 80, 250), (240, 240, 60))


def joints_at(t, start=(20.0, 24.0), speed=(1.5, 0.5)):
    """Where its joints are in frame t, `[4, 2]`."""
    return np.array(start) + np.array(speed) * t + _OFFSETS


def picture(joints, size=(56, 72)):
    """A creature, `[height, width, 3]` uint8 RGB."""
    image = np.full((*size, 3), 60, np.uint8)
    image[:, :, 0] += np.arange(size[1], dtype=np.uint8)
    for point, colour in zip(joints, _PAINT):
        cv2.circle(image, tuple(np.round(point).astype(int).tolist()), 4, colour, -1)
    return image


def _write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def coco(root, takes=('a', 'b', 'c'), frames=6, labelled=(0, 2, 5), unlabelled='d'):
    """A folder of sequences, labelled in some frames; one sequence has no label at all."""
    categories = [
        {
            'id': 1,
            'name': 'creature',
            'keypoints': list(PARTS),
            'skeleton': [[PARTS.index(a) + 1, PARTS.index(b) + 1] for a, b in BONES],
        }
    ]
    images, annotations = [], []
    for take in (*takes, *unlabelled):
        for t in range(frames):
            joints = joints_at(t)
            name = f'{take}/{t + 1:03d}.png'
            _write(root / name, picture(joints))
            images.append({'id': len(images), 'file_name': name, 'height': 56, 'width': 72})
            if take in takes and t in labelled:
                low, high = joints.min(axis=0) - 4, joints.max(axis=0) + 4
                points = np.column_stack([joints, [2, 2, 1, 2]])
                annotations.append(
                    {
                        'id': len(annotations),
                        'image_id': len(images) - 1,
                        'category_id': 1,
                        'bbox': [*low.tolist(), *(high - low + 1).tolist()],
                        'keypoints': points.ravel().tolist(),
                    }
                )
    tree = {'images': images, 'annotations': annotations, 'categories': categories}
    (root / 'labels.json').write_text(json.dumps(tree))
    return root


def deeplabcut(root, *, individuals=('',), labelled=(1, 4, 7, 10), frames=12):
    """A project of one video with labels and one without; several creatures if they have names."""
    starts = {name: (20.0, 16.0 + 22 * i) for i, name in enumerate(individuals)}

    def shown(t):
        image = picture(joints_at(t, starts[individuals[0]]))
        for name in individuals[1:]:
            image = np.maximum(image, picture(joints_at(t, starts[name])))
        return image

    (root / 'videos').mkdir(parents=True)
    film = np.stack([shown(t) for t in range(frames)])
    for name in ('lab.mp4', 'spare.mp4'):
        video_files.encode(root / 'videos' / name, film)
    named = individuals != ('',)
    config = {
        'Task': 'test',
        'scorer': 'me',
        'bodyparts': 'MULTI!' if named else list(PARTS),
        'multianimalbodyparts': list(PARTS),
        'skeleton': [list(bone) for bone in (*BONES, ('objectA', 'snout'))],
        'video_sets': {
            f'C:\\elsewhere\\{name}': {'crop': '0, 72, 0, 56'} for name in ('lab.mp4', 'spare.mp4')
        },
    }
    (root / 'config.yaml').write_text(yaml.safe_dump(config))
    folder = root / 'labeled-data' / 'lab'
    for t in labelled:
        _write(folder / f'img{t:03d}.png', film[t])
    columns = [(name, part, axis) for name in individuals for part in PARTS for axis in 'xy']
    with (folder / 'CollectedData_me.csv').open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['scorer', '', '', *['me'] * len(columns)])
        if named:
            writer.writerow(['individuals', '', '', *(name for name, _, _ in columns)])
        writer.writerow(['bodyparts', '', '', *(part for _, part, _ in columns)])
        writer.writerow(['coords', '', '', *(axis for _, _, axis in columns)])
        for t in labelled:
            joints = {name: joints_at(t, start) for name, start in starts.items()}
            cells = [joints[n][PARTS.index(p), 'xy'.index(a)] for n, p, a in columns]
            if t == labelled[0]:
                cells[6:8] = ['', '']  # a tail that nobody could see
            writer.writerow(['labeled-data', 'lab', f'img{t:03d}.png', *cells])
    return root
