"""The joints of each data set: names, mirror images, metric groups, bones.

The one place where a joint order is written down; joints are referred to by their index in it.
Where people bring labels of their own, the labels say what the joints are called and which bones
there are; sides, mirror images and groups follow from the names (`of_names`).
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence

import numpy as np

_OPPOSITE = {'left': 'right', 'right': 'left'}
# The words of a name: 'left_hip', 'Left Hip', 'leftHip', 'hip-L', 'LHip', 'lefthip' and 'Lhip' all
# have two.
_WORD = re.compile(r'[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_A-Za-z]+')
_SIDED = re.compile(  # no L or R before an ear: 'rear' is a word of its own
    r'([LR])([A-Z][a-z]*)'
    r'|([LRlr])(ankle|elbow|eye|foot|hand|heel|hip|knee|paw|shoulder|toe|wrist)'
    r'|((?i:left|right))([A-Za-z]{2,})'
)
OWN = 'own labels'  # the name of every skeleton that labels name
_SIDES = {'left': 'left', 'l': 'left', 'right': 'right', 'r': 'right'}


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
      threshold: the largest error of a right joint, in torsos, boxes or units.
      unit: image pixels.
      by_box: errors are measured in longer sides of the box around the labelled joints instead.
    """

    name: str
    joints: tuple[str, ...]
    groups: tuple[tuple[str, tuple[int, ...]], ...]
    bones: tuple[tuple[int, int], ...]
    torso: tuple[tuple[int, ...], tuple[int, ...]] | None
    threshold: float
    unit: float = 1.0
    by_box: bool = False

    @property
    def mirror(self) -> tuple[int, ...]:
        """`mirror[j]` is the joint that joint j becomes in a mirrored image.

        A joint whose counterpart does not exist becomes itself.
        """
        index = _index(self.joints)
        found = [index.get(_key(joint, mirrored=True), j) for j, joint in enumerate(self.joints)]
        return tuple(other if found[other] == j else j for j, other in enumerate(found))

    @property
    def sides(self) -> tuple[str, ...]:
        """Of each joint 'left', 'right', or '' for the middle of the body."""
        return tuple(
            _side(joint) if mirrored != j else ''
            for j, (joint, mirrored) in enumerate(zip(self.joints, self.mirror))
        )

    @property
    def bone_ends(self) -> np.ndarray:
        """The bones as indices `[bones, 2]`, to take joints with; there may be none."""
        return np.array(self.bones, int).reshape(-1, 2)

    @property
    def places_unseen(self) -> bool:
        """Whether labels say where a joint is that is not seen; labels people bring do not."""
        return self.name != OWN

    @property
    def limit(self) -> str:
        """The largest error of a right joint, in words."""
        if self.by_box:
            return f'{self.threshold:g} box'
        if self.torso is None:
            return f'{self.threshold * self.unit:g} px of the image'
        return f'{self.threshold:g} torso'


def _words(joint: str) -> list[str]:
    """The words of a joint's name, in small letters: 'left', 'hip'."""
    words: list[str] = []
    for word in _WORD.findall(joint):
        side = _SIDED.fullmatch(word)
        words += filter(None, side.groups()) if side else [word]
    return [word.lower() for word in words]


def _key(joint: str, *, mirrored: bool = False) -> tuple[str, ...]:
    """What names the same joint, however it is written; mirrored: the one on the other side."""
    words = [_SIDES.get(word, word) for word in _words(joint)]
    return tuple(_OPPOSITE.get(word, word) if mirrored else word for word in words)


def _index(joints: Sequence[str]) -> dict[tuple[str, ...], int]:
    """The joint that each key names; keys that several joints share name none of them."""
    every = [_key(joint) for joint in joints]
    return {key: j for j, key in enumerate(every) if every.count(key) == 1}


def _side(joint: str) -> str:
    return next((_SIDES[word] for word in _words(joint) if word in _SIDES), '')


def of_names(joints: Sequence[str], bones: Iterable[tuple[int, int]] = ()) -> Skeleton:
    """The skeleton that labels name.

    A joint is right within a tenth of the box around the labels; one that is alone, which has no
    such box, within five pixels.
    Left and right of a kind are scored together. A torso, for the scores that need one, is there
    where two shoulders and two hips are named.

    Raises:
      ValueError: there is no joint, a name is empty or there twice, or a bone has an end that is
        no joint.
    """
    joints = tuple(joints)
    if not joints or not all(isinstance(joint, str) and joint.strip() for joint in joints):
        raise ValueError(f'joints are {joints}, expected one name at least, none of them empty')
    if twice := [joint for joint in joints if joints.count(joint) > 1]:
        raise ValueError(f'joint {twice[0]!r} is named twice, expected each once')
    bones = tuple((int(first), int(second)) for first, second in bones)
    if wrong := [bone for bone in bones if not all(0 <= end < len(joints) for end in bone)]:
        raise ValueError(f'bone {wrong[0]} has an end that is none of {len(joints)} joints')
    if len(joints) == 1:  # no box can be put around it
        return Skeleton(OWN, joints, _groups(joints), bones, None, 5.0)
    return Skeleton(OWN, joints, _groups(joints), bones, _torso(joints), 0.1, by_box=True)


def _groups(joints: Sequence[str]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Joints of one name without its side, in the order of their first."""
    groups: dict[str, list[int]] = {}
    for j, joint in enumerate(joints):
        words = [word for word in _words(joint) if word not in _SIDES] or [joint]
        groups.setdefault(' '.join(words).capitalize(), []).append(j)
    return tuple((name, tuple(members)) for name, members in groups.items())


def _torso(joints: Sequence[str]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    index = _index(joints)
    ends = [
        tuple(index[key] for side in ('left', 'right') for key in _ways(side, part) if key in index)
        for part in ('shoulder', 'hip')
    ]
    return (ends[0], ends[1]) if all(len(end) == 2 for end in ends) else None


def _ways(side: str, part: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The two ways to name a joint of a side: left hip, hip left."""
    return (side, part), (part, side)


def sources(joints: Sequence[str], old: Sequence[str]) -> list[int | None]:
    """For each joint the one of the same name among `old`, however it is written; None: none."""
    index, known = _index(old), {joint: j for j, joint in enumerate(old)}
    return [known.get(joint, index.get(_key(joint))) for joint in joints]


def to_text(skeleton: Skeleton) -> str:
    """The names and bones of a skeleton that labels name, for a config."""
    return json.dumps({'joints': skeleton.joints, 'bones': skeleton.bones})


def from_text(text: str) -> Skeleton:
    """The inverse of `to_text`. Raises ValueError for anything else."""
    try:
        tree = json.loads(text)
        return of_names(tree['joints'], tree['bones'])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'no skeleton ({error}), expected JSON of joints and bones') from None


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
