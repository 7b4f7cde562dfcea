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

from ttp_jax.data.drawn.actions import (
    ARM,
    ARMS,
    BODY,
    LEG,
    LEGS,
    LIMITS,
    Course,
    choose_action,
    without_side,
)
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


_BONES = dict(  # body heights; widths are from the middle to one side
    trunk=0.285,
    head=0.135,
    shoulder=0.105,
    hip=0.062,
    upper_arm=0.165,
    forearm=0.15,
    thigh=0.24,
    shin=0.235,
)


def act(rng: np.random.Generator, frames: int) -> Motion:
    """Invents one person's motion; unit: body heights.

    Everyone has their own limb lengths, amplitudes, phases, view and path.
    """
    phase = rng.random() + np.arange(frames) / rng.uniform(16, 28)
    action = choose_action(rng)
    angles = {name: _course(name, action, phase, rng) for name in ARMS + LEGS + BODY}
    tumble = action.get('tumble', (0.0, 0.0, 0.0))[0]
    angles['roll'] += 2 * np.pi * tumble * phase
    yaw = _turn_of_body(rng, phase, in_plane=tumble != 0)
    joints = _skeleton(angles, yaw, _bones(rng))
    joints[..., 0] += _path(rng, frames)[:, None]
    return _project(joints, yaw, camera_pitch=rng.uniform(0, 0.2))


def _course(
    name: str, action: Mapping[str, Course], phase: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One angle or height over time, [frames], with this person's own amplitude, lag and sway."""
    rest, swing, lag = action.get(name, (0.0, 0.0, 0.0))
    swing, lag = swing * rng.uniform(0.75, 1.2), lag + rng.normal(0, 0.03)
    course = rest + swing * (0.5 - 0.5 * np.cos(2 * np.pi * (phase - lag)))
    if name != 'jump':  # swaying would lift the feet off the ground
        course = course + rng.normal(0, 0.05) + _sway(rng, phase / 2, rng.uniform(0, 0.1))
    return np.clip(course, *LIMITS.get(without_side(name), (-np.inf, np.inf)))


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
    """Sideways path, [frames] body heights: everyone sways, one in three walks across."""
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
    flex, out, bend, twist = (angles[f'{name}_{"lr"[side]}'] for name in ARM)
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
    flex, out, bend = (angles[f'{name}_{"lr"[side]}'] for name in LEG)
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
    path would leave it. Joints outside become invisible. Everything is rounded, so that pictures
    are the same on every machine.
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
    """The vector from mid-shoulder to mid-hip, and one as long, square to it.

    Args:
      joints: `[..., 13, 2]`.

    Returns:
      both vectors, `[..., 2]` in the joints' unit; the second points to the image's right for an
      upright person.
    """
    down = joints[..., HIPS, :].mean(axis=-2) - joints[..., SHOULDERS, :].mean(axis=-2)
    return down, np.stack([down[..., 1], -down[..., 0]], axis=-1)


def trunk_length(joints: np.ndarray) -> float:
    """Length of a person's trunk, in the unit of the joints `[frames, 13, 2]`.

    Where the trunk is foreshortened, the length follows from the thighs instead.
    """
    trunk = np.linalg.norm(trunk_axes(joints)[0], axis=-1)
    thigh = np.linalg.norm(joints[:, HIPS] - joints[:, KNEES], axis=-1)
    return float(max(np.percentile(trunk, 75), 0.8 * np.percentile(thigh, 75), 1e-6))
