"""How a drawn person moves: 13 joints over time.

A `Motion` is what `figure.paint_person` needs to know about one clip:
  joints      [frames, 13, 2]  (x, y), y down; image pixels (0-based, centres at integers) once
                               `fit_to_frame` has been through it, any unit before
  visibility  [frames, 13]     in {0, 1}
  depth       [frames, 13]     in the joints' unit, larger is nearer to the camera
  facing      [frames]         cosine of the body's turn: 1 faces the camera, -1 turned away
  heading     [frames]         sine of the turn: 1 looks to image right (of an upright person)
Joints are in Penn Action's order. Who faces the camera has the left shoulder on the image's right.

`act` invents motion with a 3-D skeleton, so that limbs foreshorten and cover each other as they
should; `label_motion.follow_label` takes it from Penn Action's labels instead.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from ttp_jax.data.skeletons import PENN_ACTION


def _pair(name: str) -> list[int]:
    return [PENN_ACTION.joints.index(f'{side} {name}') for side in ('left', 'right')]


HEAD = PENN_ACTION.joints.index('head')
SHOULDERS, ELBOWS, WRISTS = _pair('shoulder'), _pair('elbow'), _pair('wrist')  # left, right
HIPS, KNEES, ANKLES = _pair('hip'), _pair('knee'), _pair('ankle')


@dataclasses.dataclass(frozen=True, eq=False)
class Motion:
    """Joints of one person over time; see the module's docstring for shapes and units."""

    joints: np.ndarray
    visibility: np.ndarray
    depth: np.ndarray
    facing: np.ndarray
    heading: np.ndarray


# An action gives angles (radians) and heights (body heights) over its cycle as (rest, swing, lag):
# rest + swing * bump(phase - lag), where bump is a raised cosine between 0 and 1 of period 1.
#   arm_flex, leg_flex  forwards                   pitch, side, twist  trunk: forwards, to its left,
#   arm_out, leg_out    sideways                                       about its axis
#   elbow, knee         bend                       nod                 head forwards
#   twist_arm           elbow bends outwards       roll                body in the image plane
#                       rather than forwards       tumble              turns of that per cycle
# A limb's name without a side stands for both sides.
Course = tuple[float, float, float]

_ARM, _LEG = ('arm_flex', 'arm_out', 'elbow', 'twist_arm'), ('leg_flex', 'leg_out', 'knee')
_ARMS, _LEGS = (tuple(f'{name}_{side}' for name in limb for side in 'lr') for limb in (_ARM, _LEG))
_BODY = ('pitch', 'side', 'twist', 'roll', 'nod', 'jump')
_MIRRORED = ('side', 'twist', 'roll', 'tumble')  # change sign in the mirror

# fmt: off
ACTIONS: Mapping[str, Mapping[str, Course]] = {
    'jumping_jack': dict(
        arm_out=(0.2, 2.5, 0), elbow=(0.15, 0.3, 0), leg_out=(0.04, 0.5, 0),
        knee=(0.25, -0.2, 0), jump=(0, 0.07, -0.1)),
    'squat': dict(
        leg_flex=(0.05, 1.5, 0), knee=(0.05, 1.9, 0), leg_out=(0.15, 0.15, 0),
        pitch=(0, 0.65, 0), arm_flex=(0.1, 1.4, 0), elbow=(0.2, 0.2, 0)),
    'punch': dict(
        arm_flex_l=(0.5, 1, 0), elbow_l=(2.2, -2.1, 0), arm_flex_r=(0.5, 1, 0.5),
        elbow_r=(2.2, -2.1, 0.5), arm_out=(0.25, 0, 0), twist=(0.6, -1.2, 0),
        leg_flex_l=(0.5, 0.25, 0), knee_l=(0.5, 0.2, 0), leg_flex_r=(-0.3, -0.15, 0),
        knee_r=(0.3, 0.2, 0.5), leg_out=(0.15, 0, 0), pitch=(0.1, 0.2, 0)),
    'kick': dict(
        leg_flex_r=(-0.5, 2.1, 0), knee_r=(0.9, -0.8, 0.08), knee_l=(0.15, 0.15, 0.5),
        pitch=(0.15, -0.45, 0), arm_flex_l=(-0.4, 1.6, 0), arm_flex_r=(0.7, -1.2, 0),
        arm_out=(0.35, 0.4, 0), elbow=(0.5, 0.3, 0)),
    'side_kick': dict(
        leg_out_r=(0.1, 1.35, 0), knee_r=(0.9, -0.8, 0), side=(-0.05, 0.7, 0),
        knee_l=(0.15, 0.2, 0), arm_out_l=(0.4, 0.7, 0), arm_out_r=(0.3, 0.9, 0),
        elbow=(1.2, -0.6, 0), twist_arm=(0.8, 0, 0)),
    'wave': dict(
        arm_out_r=(1.9, 0.6, 0), elbow_r=(0.2, 1.2, 0), twist_arm_r=(1.57, 0, 0),
        arm_out_l=(0.5, 0.3, 0.5), elbow_l=(1.4, 0.3, 0), twist_arm_l=(-1.1, 0, 0),
        side=(-0.25, 0.5, 0), leg_out_l=(0.05, 0.3, 0), leg_out_r=(0.05, 0.3, 0.5),
        knee_l=(0.1, 0.5, 0.5), leg_flex_l=(0, 0.3, 0.5)),
    'run': dict(
        arm_flex_l=(-0.8, 1.7, 0.5), arm_flex_r=(-0.8, 1.7, 0), elbow=(1.5, 0.2, 0),
        leg_flex_l=(-0.5, 1.6, 0), knee_l=(0.2, 1.4, -0.2), leg_flex_r=(-0.5, 1.6, 0.5),
        knee_r=(0.2, 1.4, 0.3), pitch=(0.15, 0.1, 0), twist=(-0.25, 0.5, 0),
        jump=(0, 0.03, 0.2)),
    'high_knees': dict(
        leg_flex_l=(0, 1.7, 0), knee_l=(0.1, 1.8, 0), leg_flex_r=(0, 1.7, 0.5),
        knee_r=(0.1, 1.8, 0.5), elbow=(1.3, 0.4, 0), arm_flex_l=(0, 1.5, 0.5),
        arm_flex_r=(0, 1.5, 0), side=(-0.12, 0.24, 0)),
    'bend': dict(
        pitch=(-0.15, 1.6, 0), arm_flex=(2.9, -1.5, 0), elbow=(0.1, 0.2, 0),
        knee=(0.05, 0.35, 0), leg_flex=(0, 0.2, 0), leg_out=(0.12, 0.1, 0), nod=(0, 0.3, 0)),
    'lunge': dict(
        leg_flex_l=(0.1, 1.2, 0), knee_l=(0.1, 1.3, 0), leg_flex_r=(-0.05, -0.5, 0),
        knee_r=(0.1, 1.1, 0), pitch=(0, 0.2, 0), arm_flex_l=(0.1, -0.8, 0),
        arm_flex_r=(0.1, 1.3, 0), elbow=(0.3, 0.9, 0), arm_out=(0.15, 0.3, 0)),
    'side_lunge': dict(
        leg_out_l=(0.1, 0.75, 0), leg_out_r=(0.1, 0.5, 0), knee_r=(0.05, 1.2, 0),
        leg_flex_r=(0, 0.9, 0), side=(0.1, -0.5, 0), arm_out_l=(0.3, 1.3, 0),
        arm_out_r=(0.3, 0.9, 0), elbow=(0.2, 0.5, 0.5), pitch=(0, 0.3, 0)),
    'side_bend': dict(
        side=(-0.65, 1.3, 0), arm_out_l=(2.7, -2.3, 0), arm_out_r=(0.4, 2.3, 0),
        elbow=(0.4, 0.2, 0), leg_out=(0.3, 0.1, 0), twist_arm=(1.4, 0, 0),
        roll=(0.12, -0.24, 0), knee_l=(0.05, 0.3, 0), leg_flex_l=(0, 0.15, 0)),
    'throw': dict(
        arm_flex_r=(-0.7, 3, 0), elbow_r=(1.9, -1.6, 0.1), arm_out_r=(0.7, -0.3, 0),
        arm_flex_l=(1.3, -1.5, 0), elbow_l=(0.2, 0.8, 0), twist=(-0.7, 1.5, 0),
        leg_flex_l=(1.3, -1, 0.05), knee_l=(1.3, -0.9, 0), leg_flex_r=(0.1, -0.6, 0),
        knee_r=(0.4, 0.1, 0), pitch=(-0.25, 0.8, 0)),
    'swing': dict(
        twist=(-1.1, 2.2, 0), arm_flex=(1.1, 0.5, 0.5), arm_out_l=(-0.2, 0.4, 0),
        arm_out_r=(0.2, -0.4, 0), elbow=(0.2, 0.6, 0), knee_l=(0.6, -0.3, 0),
        knee_r=(0.3, 0.4, 0), leg_flex_l=(0.5, -0.3, 0), leg_flex_r=(0.2, 0.2, 0),
        leg_out=(0.25, 0, 0), pitch=(0.45, -0.2, 0), side=(-0.1, 0.2, 0)),
    'press': dict(
        leg_flex=(1.2, -1.15, 0), knee=(1.5, -1.4, 0), leg_out=(0.2, 0, 0),
        pitch=(0.7, -0.7, 0), arm_flex=(0.8, 2.2, 0.1), elbow=(2.2, -2.1, 0.1),
        arm_out=(0.3, 0.1, 0)),
    'cartwheel': dict(
        arm_out=(2.6, 0.3, 0), leg_out=(0.45, 0.45, 0), elbow=(0.1, 0, 0),
        knee=(0.05, 0.25, 0.5), tumble=(0.4, 0, 0)),
    'balance': dict(
        roll=(0, 0.55, 0), leg_out_l=(0.05, 1.1, 0), arm_out_l=(1.2, 0.8, 0),
        arm_out_r=(1.2, 0.9, 0.1), knee_r=(0.1, 0.25, 0), side=(0, 0.4, 0),
        elbow=(0.2, 0.3, 0)),
    'star_jump': dict(
        arm_out=(0.3, 2.1, 0), arm_flex=(0.6, -0.6, 0), elbow=(1.2, -1, 0),
        leg_out=(0.05, 0.65, 0), leg_flex=(0.8, -0.7, 0), knee=(1.3, -1.2, 0),
        pitch=(0.45, -0.5, 0), jump=(0, 0.12, 0)),
}
# Where a free motion may go, and what no motion exceeds: joints do not bend backwards.
_FREE_RANGES = dict(
    arm_flex=(-0.6, 2.4), arm_out=(0, 2.2), elbow=(0.1, 2.0), twist_arm=(-0.5, 1.6),
    leg_flex=(-0.5, 1.3), leg_out=(0, 0.7), knee=(0.05, 1.5), pitch=(-0.2, 0.8),
    side=(-0.5, 0.5), twist=(-0.7, 0.7), roll=(-0.25, 0.25), nod=(-0.2, 0.3), jump=(0, 0))
_LIMITS = dict(
    elbow=(0.03, 2.5), knee=(0.02, 2.3), leg_out=(-0.15, 1.6), arm_out=(-0.4, 3.0), jump=(0, 1))
_BONES = dict(  # body heights; widths are from the middle to one side
    trunk=0.285, head=0.135, shoulder=0.105, hip=0.062, upper_arm=0.165, forearm=0.15, thigh=0.24,
    shin=0.235)
# fmt: on


def act(rng: np.random.Generator, frames: int) -> Motion:
    """Invents one person's motion; unit: body heights.

    Everyone has their own limb lengths, amplitudes, phases, view and path.
    """
    phase = rng.random() + np.arange(frames) / rng.uniform(16, 28)
    action = _choose_action(rng)
    angles = {name: _course(name, action, phase, rng) for name in _ARMS + _LEGS + _BODY}
    tumble = action.get('tumble', (0.0, 0.0, 0.0))[0]
    angles['roll'] += 2 * np.pi * tumble * phase
    yaw = _turn_of_body(rng, phase, in_plane=tumble != 0)
    joints = _skeleton(angles, yaw, _bones(rng))
    joints[..., 0] += _path(rng, frames)[:, None]
    return _project(joints, yaw, camera_pitch=rng.uniform(0, 0.2))


def _choose_action(rng: np.random.Generator) -> dict[str, Course]:
    """One action, often with the arms of another; one person in five follows no list."""
    if rng.random() < 0.2:
        return _free_action(rng)
    name, other = (list(ACTIONS)[i] for i in rng.integers(len(ACTIONS), size=2))
    action, arms = _sided(ACTIONS[name]), _sided(ACTIONS[other])
    if 'tumble' not in action and rng.random() < 0.35:
        action |= {key: arms.get(key, (0.15, 0.2, 0.0)) for key in _ARMS}
    return _mirrored(action) if rng.random() < 0.5 else action


def _sided(action: Mapping[str, Course]) -> dict[str, Course]:
    """Names without a side ('elbow') become both sides ('elbow_l', 'elbow_r')."""
    limbs = _ARM + _LEG
    both = {f'{name}_{side}': action[name] for name in limbs if name in action for side in 'lr'}
    return both | {name: course for name, course in action.items() if name not in limbs}


def _mirrored(action: Mapping[str, Course]) -> dict[str, Course]:
    def other(name):
        return name[:-1] + {'l': 'r', 'r': 'l'}[name[-1]] if name in _ARMS + _LEGS else name

    def sign(name):
        return -1 if name in _MIRRORED else 1

    return {
        other(name): (sign(name) * rest, sign(name) * swing, lag)
        for name, (rest, swing, lag) in action.items()
    }


def _free_action(rng: np.random.Generator) -> dict[str, Course]:
    action = {}
    for name in _ARMS + _LEGS + _BODY:
        start, end = rng.uniform(*_FREE_RANGES[_without_side(name)], size=2)
        action[name] = start, end - start, rng.random()
    return action


def _without_side(name: str) -> str:
    return name.removesuffix('_l').removesuffix('_r')


def _course(
    name: str, action: Mapping[str, Course], phase: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One angle or height over time, [frames], with this person's own amplitude, lag and sway."""
    rest, swing, lag = action.get(name, (0.0, 0.0, 0.0))
    swing, lag = swing * rng.uniform(0.75, 1.2), lag + rng.normal(0, 0.03)
    course = rest + swing * (0.5 - 0.5 * np.cos(2 * np.pi * (phase - lag)))
    if name != 'jump':  # whose feet would leave the ground for no reason
        course = course + rng.normal(0, 0.05) + _sway(rng, phase / 2, rng.uniform(0, 0.1))
    return np.clip(course, *_LIMITS.get(_without_side(name), (-np.inf, np.inf)))


def _sway(rng: np.random.Generator, phase: np.ndarray, amplitude: float) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * (phase + rng.random()))


def _turn_of_body(rng: np.random.Generator, phase: np.ndarray, *, in_plane: bool) -> np.ndarray:
    """Turn about the vertical, [frames] radians: most people face the camera."""
    if in_plane:  # a cartwheel goes sideways
        return np.full(phase.shape, rng.choice([0.0, np.pi]))
    views = (0, 0.6), (np.pi / 2, 0.35), (-np.pi / 2, 0.35), (np.pi, 0.6)
    centre, spread = views[rng.choice(4, p=[0.85, 0.05, 0.05, 0.05])]
    turning = _sway(rng, phase * rng.uniform(0.3, 0.7), rng.uniform(0, 0.5))
    return centre + rng.uniform(-spread, spread) + turning


def _path(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Sideways path, [frames] body heights: everyone sways, one in three crosses the frame."""
    time = np.linspace(0, 1, frames)
    reach = 0.45 if rng.random() < 0.35 else 0.06
    return rng.uniform(-reach, reach) * time + _sway(
        rng, rng.uniform(0.5, 1.5) * time, rng.uniform(0, 0.05)
    )


def _bones(rng: np.random.Generator) -> dict[str, float]:
    return {name: length * rng.uniform(0.88, 1.14) for name, length in _BONES.items()}


def _skeleton(
    angles: Mapping[str, np.ndarray], yaw: np.ndarray, bones: Mapping[str, float]
) -> np.ndarray:
    """Forward kinematics, [frames, 13, 3]: x to image right, y up, z towards the camera.

    The lowest of hands, knees and feet is on the ground, or as high as the jump.
    """
    body = _turn('ZY', angles['roll'], yaw)
    trunk = body * _turn('XZY', angles['pitch'], -angles['side'], angles['twist'])
    neck = trunk.apply([0, bones['trunk'], 0])
    joints = np.zeros((*yaw.shape, 13, 3))
    joints[:, HEAD] = neck + (
        trunk * Rotation.from_rotvec(np.multiply.outer(angles['nod'], [1, 0, 0]))
    ).apply([0, bones['head'], 0])
    for side, sign in enumerate((1, -1)):  # left is towards +x
        shoulder = neck + trunk.apply([sign * bones['shoulder'], 0, 0])
        hip = body.apply([sign * bones['hip'], 0, 0])
        upper_arm, forearm = _arm(angles, side, trunk, bones)
        thigh, shin = _leg(angles, side, body, bones)
        for pair, place in (
            (SHOULDERS, shoulder),
            (ELBOWS, shoulder + upper_arm),
            (WRISTS, shoulder + upper_arm + forearm),
            (HIPS, hip),
            (KNEES, hip + thigh),
            (ANKLES, hip + thigh + shin),
        ):
            joints[:, pair[side]] = place
    lowest = joints[:, ANKLES + WRISTS + KNEES, 1].min(axis=1)
    joints[..., 1] += (angles['jump'] - lowest)[:, None]
    return joints


def _turn(axes: str, *angles: np.ndarray) -> Rotation:
    return Rotation.from_euler(axes, np.stack(angles, axis=-1))


def _arm(
    angles: Mapping[str, np.ndarray], side: int, trunk: Rotation, bones: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Upper arm and forearm as vectors, [frames, 3] each."""
    flex, out, bend, twist = (angles[f'{name}_{"lr"[side]}'] for name in _ARM)
    sign = (1, -1)[side]
    shoulder = trunk * _turn('XZ', -flex, sign * out)
    forearm = [sign * np.sin(twist) * np.sin(bend), -np.cos(bend), np.cos(twist) * np.sin(bend)]
    return (
        shoulder.apply([0, -bones['upper_arm'], 0]),
        shoulder.apply(bones['forearm'] * np.stack(forearm, axis=-1)),
    )


def _leg(
    angles: Mapping[str, np.ndarray], side: int, body: Rotation, bones: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Thigh and shin as vectors, [frames, 3] each."""
    flex, out, bend = (angles[f'{name}_{"lr"[side]}'] for name in _LEG)
    hip = body * _turn('XZ', -flex, (1, -1)[side] * out)
    shin = np.stack([np.zeros_like(bend), -np.cos(bend), -np.sin(bend)], axis=-1)
    return hip.apply([0, -bones['thigh'], 0]), hip.apply(bones['shin'] * shin)


def _project(joints: np.ndarray, yaw: np.ndarray, *, camera_pitch: float) -> Motion:
    """Parallel projection by a camera that looks slightly down."""
    across, up, near = np.moveaxis(joints, -1, 0)
    cos, sin = np.cos(camera_pitch), np.sin(camera_pitch)
    return Motion(
        joints=np.stack([across, sin * near - cos * up], axis=-1),
        visibility=np.ones(across.shape),
        depth=cos * near + sin * up,
        facing=np.cos(yaw),
        heading=np.sin(yaw),
    )


def fit_to_frame(motion: Motion, rng: np.random.Generator, size: int) -> Motion:
    """Puts a motion into a square frame of `size` pixels by one scale and one shift for the clip.

    A person's own extent (median over frames) becomes about 50 to 75 % of the frame, less where the
    path would leave it. Joints outside become invisible. Everything is rounded, so that drawing
    does not depend on a machine's last bit.
    """
    room = 0.35 * trunk_length(motion.joints)  # head, hands and feet reach beyond the joints
    low, high = motion.joints.min(axis=(0, 1)) - room, motion.joints.max(axis=(0, 1)) + room
    own = np.median((np.ptp(motion.joints, axis=1) + 2 * room).max(axis=-1))
    scale = min(rng.uniform(0.62, 0.78) * size / own, 0.98 * size / (high - low).max())
    slack = size - 1 - scale * (high - low)
    shift = rng.uniform(0.1, 0.9, size=2) * slack - scale * low
    joints = _rounded(motion.joints * scale + shift)
    inside = ((joints >= 0) & (joints <= size - 1)).all(axis=-1)
    return Motion(
        joints=joints,
        visibility=motion.visibility * inside,
        depth=_rounded(motion.depth * scale),
        facing=_rounded(motion.facing),
        heading=_rounded(motion.heading),
    )


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.round(values * 32) / 32


def trunk_axes(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mid-shoulder to mid-hip, and as long across it (image right for an upright person).

    Args:
      joints: `[..., 13, 2]`.

    Returns:
      both vectors, `[..., 2]` in the joints' unit.
    """
    down = joints[..., HIPS, :].mean(axis=-2) - joints[..., SHOULDERS, :].mean(axis=-2)
    return down, np.stack([down[..., 1], -down[..., 0]], axis=-1)


def trunk_length(joints: np.ndarray) -> float:
    """Length of a person's trunk, in the unit of the joints `[frames, 13, 2]`.

    The thighs vouch for it where the trunk is seen along the spine.
    """
    trunk = np.linalg.norm(trunk_axes(joints)[0], axis=-1)
    thigh = np.linalg.norm(joints[:, HIPS] - joints[:, KNEES], axis=-1)
    return float(max(np.percentile(trunk, 75), 0.8 * np.percentile(thigh, 75), 1e-6))
