"""What drawn people do: the courses of a body's angles over one cycle of an action.

Contract: an action gives angles (radians) and heights (body heights) over its cycle, each as
(rest, swing, lag) for `rest + swing * bump(phase - lag)`, where bump is a raised cosine of period 1
between 0 and 1.
  arm_flex, leg_flex  forwards                   pitch, side, twist  trunk: forwards, to its left,
  arm_out, leg_out    sideways                                       about its axis
  elbow, knee         bend                       nod                 head forwards
  twist_arm           elbow bends outwards       roll                body in the image plane
                      rather than forwards       tumble              turns of that per cycle
A limb's name without a side stands for both sides.
"""

from collections.abc import Mapping

import numpy as np

Course = tuple[float, float, float]
Range = tuple[float, float]

ARM, LEG = ('arm_flex', 'arm_out', 'elbow', 'twist_arm'), ('leg_flex', 'leg_out', 'knee')
ARMS, LEGS = (tuple(f'{name}_{side}' for name in limb for side in 'lr') for limb in (ARM, LEG))
BODY = ('pitch', 'side', 'twist', 'roll', 'nod', 'jump')
_MIRRORED = ('side', 'twist', 'roll', 'tumble')  # change sign in the mirror

ACTIONS: Mapping[str, Mapping[str, Course]] = {
    'jumping_jack': dict(
        arm_out=(0.2, 2.5, 0),
        elbow=(0.15, 0.3, 0),
        leg_out=(0.04, 0.5, 0),
        knee=(0.25, -0.2, 0),
        jump=(0, 0.07, -0.1),
    ),
    'squat': dict(
        leg_flex=(0.05, 1.5, 0),
        knee=(0.05, 1.9, 0),
        leg_out=(0.15, 0.15, 0),
        pitch=(0, 0.65, 0),
        arm_flex=(0.1, 1.4, 0),
        elbow=(0.2, 0.2, 0),
    ),
    'punch': dict(
        arm_flex_l=(0.5, 1, 0),
        elbow_l=(2.2, -2.1, 0),
        arm_flex_r=(0.5, 1, 0.5),
        elbow_r=(2.2, -2.1, 0.5),
        arm_out=(0.25, 0, 0),
        twist=(0.6, -1.2, 0),
        leg_flex_l=(0.5, 0.25, 0),
        knee_l=(0.5, 0.2, 0),
        leg_flex_r=(-0.3, -0.15, 0),
        knee_r=(0.3, 0.2, 0.5),
        leg_out=(0.15, 0, 0),
        pitch=(0.1, 0.2, 0),
    ),
    'kick': dict(
        leg_flex_r=(-0.5, 2.1, 0),
        knee_r=(0.9, -0.8, 0.08),
        knee_l=(0.15, 0.15, 0.5),
        pitch=(0.15, -0.45, 0),
        arm_flex_l=(-0.4, 1.6, 0),
        arm_flex_r=(0.7, -1.2, 0),
        arm_out=(0.35, 0.4, 0),
        elbow=(0.5, 0.3, 0),
    ),
    'side_kick': dict(
        leg_out_r=(0.1, 1.35, 0),
        knee_r=(0.9, -0.8, 0),
        side=(-0.05, 0.7, 0),
        knee_l=(0.15, 0.2, 0),
        arm_out_l=(0.4, 0.7, 0),
        arm_out_r=(0.3, 0.9, 0),
        elbow=(1.2, -0.6, 0),
        twist_arm=(0.8, 0, 0),
    ),
    'wave': dict(
        arm_out_r=(1.9, 0.6, 0),
        elbow_r=(0.2, 1.2, 0),
        twist_arm_r=(1.57, 0, 0),
        arm_out_l=(0.5, 0.3, 0.5),
        elbow_l=(1.4, 0.3, 0),
        twist_arm_l=(-1.1, 0, 0),
        side=(-0.25, 0.5, 0),
        leg_out_l=(0.05, 0.3, 0),
        leg_out_r=(0.05, 0.3, 0.5),
        knee_l=(0.1, 0.5, 0.5),
        leg_flex_l=(0, 0.3, 0.5),
    ),
    'run': dict(
        arm_flex_l=(-0.8, 1.7, 0.5),
        arm_flex_r=(-0.8, 1.7, 0),
        elbow=(1.5, 0.2, 0),
        leg_flex_l=(-0.5, 1.6, 0),
        knee_l=(0.2, 1.4, -0.2),
        leg_flex_r=(-0.5, 1.6, 0.5),
        knee_r=(0.2, 1.4, 0.3),
        pitch=(0.15, 0.1, 0),
        twist=(-0.25, 0.5, 0),
        jump=(0, 0.03, 0.2),
    ),
    'high_knees': dict(
        leg_flex_l=(0, 1.7, 0),
        knee_l=(0.1, 1.8, 0),
        leg_flex_r=(0, 1.7, 0.5),
        knee_r=(0.1, 1.8, 0.5),
        elbow=(1.3, 0.4, 0),
        arm_flex_l=(0, 1.5, 0.5),
        arm_flex_r=(0, 1.5, 0),
        side=(-0.12, 0.24, 0),
    ),
    'bend': dict(
        pitch=(-0.15, 1.6, 0),
        arm_flex=(2.9, -1.5, 0),
        elbow=(0.1, 0.2, 0),
        knee=(0.05, 0.35, 0),
        leg_flex=(0, 0.2, 0),
        leg_out=(0.12, 0.1, 0),
        nod=(0, 0.3, 0),
    ),
    'lunge': dict(
        leg_flex_l=(0.1, 1.2, 0),
        knee_l=(0.1, 1.3, 0),
        leg_flex_r=(-0.05, -0.5, 0),
        knee_r=(0.1, 1.1, 0),
        pitch=(0, 0.2, 0),
        arm_flex_l=(0.1, -0.8, 0),
        arm_flex_r=(0.1, 1.3, 0),
        elbow=(0.3, 0.9, 0),
        arm_out=(0.15, 0.3, 0),
    ),
    'side_lunge': dict(
        leg_out_l=(0.1, 0.75, 0),
        leg_out_r=(0.1, 0.5, 0),
        knee_r=(0.05, 1.2, 0),
        leg_flex_r=(0, 0.9, 0),
        side=(0.1, -0.5, 0),
        arm_out_l=(0.3, 1.3, 0),
        arm_out_r=(0.3, 0.9, 0),
        elbow=(0.2, 0.5, 0.5),
        pitch=(0, 0.3, 0),
    ),
    'side_bend': dict(
        side=(-0.65, 1.3, 0),
        arm_out_l=(2.7, -2.3, 0),
        arm_out_r=(0.4, 2.3, 0),
        elbow=(0.4, 0.2, 0),
        leg_out=(0.3, 0.1, 0),
        twist_arm=(1.4, 0, 0),
        roll=(0.12, -0.24, 0),
        knee_l=(0.05, 0.3, 0),
        leg_flex_l=(0, 0.15, 0),
    ),
    'throw': dict(
        arm_flex_r=(-0.7, 3, 0),
        elbow_r=(1.9, -1.6, 0.1),
        arm_out_r=(0.7, -0.3, 0),
        arm_flex_l=(1.3, -1.5, 0),
        elbow_l=(0.2, 0.8, 0),
        twist=(-0.7, 1.5, 0),
        leg_flex_l=(1.3, -1, 0.05),
        knee_l=(1.3, -0.9, 0),
        leg_flex_r=(0.1, -0.6, 0),
        knee_r=(0.4, 0.1, 0),
        pitch=(-0.25, 0.8, 0),
    ),
    'swing': dict(
        twist=(-1.1, 2.2, 0),
        arm_flex=(1.1, 0.5, 0.5),
        arm_out_l=(-0.2, 0.4, 0),
        arm_out_r=(0.2, -0.4, 0),
        elbow=(0.2, 0.6, 0),
        knee_l=(0.6, -0.3, 0),
        knee_r=(0.3, 0.4, 0),
        leg_flex_l=(0.5, -0.3, 0),
        leg_flex_r=(0.2, 0.2, 0),
        leg_out=(0.25, 0, 0),
        pitch=(0.45, -0.2, 0),
        side=(-0.1, 0.2, 0),
    ),
    'press': dict(
        leg_flex=(1.2, -1.15, 0),
        knee=(1.5, -1.4, 0),
        leg_out=(0.2, 0, 0),
        pitch=(0.7, -0.7, 0),
        arm_flex=(0.8, 2.2, 0.1),
        elbow=(2.2, -2.1, 0.1),
        arm_out=(0.3, 0.1, 0),
    ),
    'cartwheel': dict(
        arm_out=(2.6, 0.3, 0),
        leg_out=(0.45, 0.45, 0),
        elbow=(0.1, 0, 0),
        knee=(0.05, 0.25, 0.5),
        tumble=(0.4, 0, 0),
    ),
    'balance': dict(
        roll=(0, 0.55, 0),
        leg_out_l=(0.05, 1.1, 0),
        arm_out_l=(1.2, 0.8, 0),
        arm_out_r=(1.2, 0.9, 0.1),
        knee_r=(0.1, 0.25, 0),
        side=(0, 0.4, 0),
        elbow=(0.2, 0.3, 0),
    ),
    'star_jump': dict(
        arm_out=(0.3, 2.1, 0),
        arm_flex=(0.6, -0.6, 0),
        elbow=(1.2, -1, 0),
        leg_out=(0.05, 0.65, 0),
        leg_flex=(0.8, -0.7, 0),
        knee=(1.3, -1.2, 0),
        pitch=(0.45, -0.5, 0),
        jump=(0, 0.12, 0),
    ),
}
# Where a free motion may go, and what no motion exceeds: joints do not bend backwards.
_FREE_RANGES: Mapping[str, Range] = dict(
    arm_flex=(-0.6, 2.4),
    arm_out=(0, 2.2),
    elbow=(0.1, 2.0),
    twist_arm=(-0.5, 1.6),
    leg_flex=(-0.5, 1.3),
    leg_out=(0, 0.7),
    knee=(0.05, 1.5),
    pitch=(-0.2, 0.8),
    side=(-0.5, 0.5),
    twist=(-0.7, 0.7),
    roll=(-0.25, 0.25),
    nod=(-0.2, 0.3),
    jump=(0, 0),
)
LIMITS: Mapping[str, Range] = dict(
    elbow=(0.03, 2.5), knee=(0.02, 2.3), leg_out=(-0.15, 1.6), arm_out=(-0.4, 3.0), jump=(0, 1)
)


def choose_action(rng: np.random.Generator) -> dict[str, Course]:
    """One action, often with the arms of another; one person in five does none of those listed."""
    if rng.random() < 0.2:
        return _free_action(rng)
    name, other = (list(ACTIONS)[i] for i in rng.integers(len(ACTIONS), size=2))
    action, arms = _sided(ACTIONS[name]), _sided(ACTIONS[other])
    if 'tumble' not in action and rng.random() < 0.35:
        action |= {key: arms.get(key, (0.15, 0.2, 0.0)) for key in ARMS}
    return _mirrored(action) if rng.random() < 0.5 else action


def _sided(action: Mapping[str, Course]) -> dict[str, Course]:
    """Names without a side ('elbow') become both sides ('elbow_l', 'elbow_r')."""
    limbs = ARM + LEG
    both = {f'{name}_{side}': action[name] for name in limbs if name in action for side in 'lr'}
    return both | {name: course for name, course in action.items() if name not in limbs}


def _mirrored(action: Mapping[str, Course]) -> dict[str, Course]:
    """The same action with left and right exchanged."""

    def other(name):
        return name[:-1] + {'l': 'r', 'r': 'l'}[name[-1]] if name in ARMS + LEGS else name

    def sign(name):
        return -1 if name in _MIRRORED else 1

    return {
        other(name): (sign(name) * rest, sign(name) * swing, lag)
        for name, (rest, swing, lag) in action.items()
    }


def _free_action(rng: np.random.Generator) -> dict[str, Course]:
    """Every angle goes its own way, within what a body can do."""
    action = {}
    for name in ARMS + LEGS + BODY:
        start, end = rng.uniform(*_FREE_RANGES[without_side(name)], size=2)
        action[name] = start, end - start, rng.random()
    return action


def without_side(name: str) -> str:
    """'elbow_l' to 'elbow'; other names as they are."""
    return name.removesuffix('_l').removesuffix('_r')
