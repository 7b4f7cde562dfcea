"""The joints of each data set: names, mirror images, metric groups, bones.

The one place where a joint order is written down; joints are referred to by their index in it.
"""

import dataclasses

_OPPOSITE = {'left': 'right', 'right': 'left'}


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """The joints of one data set and how its metric reads them (paper section 4.1).

    Attributes:
      name: of the data set.
      joints: names, in the data set's order.
      groups: `(name, joints)` of each score the release reports.
      bones: pairs of joints to draw a line between.
      torso: two sets of joints; the distance between their ground-truth means is the length that
        errors are measured in. None: errors are measured in `unit` pixels.
      threshold: the largest error of a right joint, in torsos or units.
      unit: image pixels.
    """

    name: str
    joints: tuple[str, ...]
    groups: tuple[tuple[str, tuple[int, ...]], ...]
    bones: tuple[tuple[int, int], ...]
    torso: tuple[tuple[int, ...], tuple[int, ...]] | None
    threshold: float
    unit: float = 1.0

    @property
    def mirror(self) -> tuple[int, ...]:
        """`mirror[j]` is the joint that joint j becomes in a mirrored image."""
        swapped = (
            ' '.join(_OPPOSITE.get(word, word) for word in joint.split()) for joint in self.joints
        )
        return tuple(self.joints.index(joint) for joint in swapped)


PENN_ACTION = Skeleton(
    name='penn_action',
    joints=(
        'head',
        'left shoulder',
        'right shoulder',
        'left elbow',
        'right elbow',
        'left wrist',
        'right wrist',
        'left hip',
        'right hip',
        'left knee',
        'right knee',
        'left ankle',
        'right ankle',
    ),
    groups=(
        ('Head', (0,)),
        ('Shoulder', (1, 2)),
        ('Elbow', (3, 4)),
        ('Wrist', (5, 6)),
        ('Hip', (7, 8)),
        ('Knee', (9, 10)),
        ('Ankle', (11, 12)),
    ),
    bones=(
        (0, 1),
        (0, 2),
        (1, 2),
        (1, 3),
        (3, 5),
        (2, 4),
        (4, 6),
        (1, 7),
        (2, 8),
        (7, 8),
        (7, 9),
        (9, 11),
        (8, 10),
        (10, 12),
    ),
    torso=((1, 2), (7, 8)),
    threshold=0.2,
)

HUMAN36M = Skeleton(
    name='human36m',
    joints=(
        'right ankle',
        'right knee',
        'right hip',
        'left hip',
        'left knee',
        'left ankle',
        'pelvis',
        'thorax',
        'neck',
        'head',
        'right wrist',
        'right elbow',
        'right shoulder',
        'left shoulder',
        'left elbow',
        'left wrist',
    ),
    groups=(
        ('Head', (9,)),
        ('Shoulder', (12, 13)),
        ('Elbow', (11, 14)),
        ('Wrist', (10, 15)),
        ('Hip', (2, 3)),
        ('Knee', (1, 4)),
        ('Ankle', (0, 5)),
    ),
    bones=(
        (0, 1),
        (1, 2),
        (2, 6),
        (6, 3),
        (3, 4),
        (4, 5),
        (6, 7),
        (7, 8),
        (8, 9),
        (10, 11),
        (11, 12),
        (12, 8),
        (8, 13),
        (13, 14),
        (14, 15),
    ),
    torso=((8,), (2, 3)),
    threshold=0.2,
)

BBC_POSE = Skeleton(
    name='bbc_pose',
    joints=(
        'head',
        'right wrist',
        'left wrist',
        'right elbow',
        'left elbow',
        'right shoulder',
        'left shoulder',
    ),
    groups=(('Head', (0,)), ('Wrist', (1, 2)), ('Elbow', (3, 4)), ('Shoulder', (5, 6))),
    bones=((0, 5), (0, 6), (5, 6), (1, 3), (3, 5), (2, 4), (4, 6)),
    torso=None,
    threshold=6.0,
    unit=2.0,  # scored at half the resolution that its joints are given in
)
