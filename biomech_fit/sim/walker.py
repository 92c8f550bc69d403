"""The walking subject: from a course and a body to a smooth motion of all coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.interpolate import BSpline, make_interp_spline

from biomech_fit.sim import gait_curves
from biomech_fit.sim.contacts import FootPlan, plan_foot
from biomech_fit.sim.path import DENSE_HZ, Course, smooth_noise
from biomech_fit.sim.planting import PLANNED, STATE, Legs, PlantingProblem, plant, root_quaternion, root_rotation

NODE_HZ = 100.0
REFERENCE_LEG_M = 0.93
REFERENCE_STEP_M = 0.70
"""The mean curves belong to about this hip height and step."""


@dataclass(frozen=True, eq=False)
class WalkStyle:
    """How this person walks."""

    step_width_m: float = 0.10
    toe_out_rad: float = np.deg2rad(7.0)
    arm_swing: float = 1.0
    asymmetry: float = 0.0
    clearance_m: float = 0.012
    variability: float = 0.03


@dataclass(frozen=True, eq=False)
class Motion:
    """A motion that can be evaluated at any time within its range; five times continuously differentiable."""

    model: mujoco.MjModel
    spline: BSpline
    """Time (s) to pelvis position (3), yaw, tilt, list and the model's hinges in its own order."""
    start_s: float
    end_s: float
    feet: tuple[FootPlan, FootPlan]
    """Right, left."""

    def qpos(self, time_s: np.ndarray) -> np.ndarray:
        """(T,) s to (T, nq) MuJoCo positions: pelvis in the z-up world, quaternion wxyz, hinges in rad."""
        state = self.spline(np.asarray(time_s, float))
        return np.concatenate([state[:, :3], root_quaternion(state[:, 3:6]), state[:, 6:]], axis=1)

    def coordinates(self, time_s: np.ndarray) -> np.ndarray:
        """(T,) s to (T, 6 + hinges) OpenSim coordinates: pelvis_tx, ty, tz (m), tilt, list, rotation, hinges (rad).

        In the y-up axes R_ground_pelvis = Rz(tilt) Rx(list) Ry(rotation).
        """
        state = self.spline(np.asarray(time_s, float))
        to_world = root_rotation(np.zeros((1, 3)))[0]
        rotation = to_world.T @ root_rotation(state[:, 3:6])
        bend = np.arcsin(np.clip(rotation[:, 2, 1], -1.0, 1.0))
        tilt = np.arctan2(-rotation[:, 0, 1], rotation[:, 1, 1])
        turn = np.arctan2(-rotation[:, 2, 0], rotation[:, 2, 2])
        root = np.stack([state[:, 0], state[:, 2], -state[:, 1], np.unwrap(tilt), bend, np.unwrap(turn)], axis=1)
        return np.concatenate([root, state[:, 6:]], axis=1)


def sole_points(model: mujoco.MjModel, foot_points: dict[str, tuple[int, np.ndarray]]) -> list[tuple[int, np.ndarray]]:
    """Heel, ball and toe of the right and the left sole (body, position in m). The ball lies under the toe joint, at the mean height of heel and toe."""
    points = []
    for side, name in (("r", "R"), ("l", "L")):
        heel, toe = foot_points[f"{name}Heel"], foot_points[f"{name}Toe"]
        toes = model.body(f"toes_{side}")
        joint = np.asarray(toes.pos, float)
        toe_height = joint[1] + toe[1][1]
        ball = np.array([joint[0], 0.5 * (heel[1][1] + toe_height), joint[2]])
        points += [heel, (int(model.body(f"calcn_{side}").id), ball), toe]
    return points


def build_motion(
    model: mujoco.MjModel,
    foot_points: dict[str, tuple[int, np.ndarray]],
    course: Course,
    speed_m_s: float,
    cadence_steps_min: float,
    style: WalkStyle,
    rng: np.random.Generator,
) -> Motion:
    """Puts the mean curves on this body along the course and plants its feet.

    Units: m, rad, s. The model is `biomech_body.xml` or a scaled copy of it (its joint and body names are needed).
    """
    every = int(DENSE_HZ / NODE_HZ)
    time = course.time_s[::every]
    legs = Legs(model, sole_points(model, foot_points))
    leg_length = _hip_height(model, legs)
    standing, speed = course.standing[::every], course.speed[::every]
    # Step length from speed and cadence; the curves' excursion follows the step in units of leg length.
    pace = np.sqrt(np.maximum(speed, 1e-6) / max(speed_m_s, 1e-6))
    step_m = speed / np.maximum(pace * cadence_steps_min / 60.0, 1e-3)
    amplitude = np.clip(step_m / REFERENCE_STEP_M * REFERENCE_LEG_M / leg_length, 0.0, 1.4)
    sides = {"r": (course.phase, 1.0 - 0.5 * style.asymmetry), "l": (course.phase + 0.5 + 0.1 * style.asymmetry, 1.0 + 0.5 * style.asymmetry)}
    feet = {side: plan_foot(course, phase, style.clearance_m) for side, (phase, _) in sides.items()}
    wander = smooth_noise(rng, time, 0.7, (model.nq,))
    values: dict[str, np.ndarray] = {}
    for side, (phase, gain) in sides.items():
        size = amplitude * gain
        values |= {f"{name}_{side}": value for name, value in gait_curves.leg_angles(phase[::every], size, standing).items()}
        values[f"mtp_angle_{side}"] = -values[f"mtp_angle_{side}"]  # OpenSim counts toes down as positive.
        arm = gait_curves.arm_angles(phase[::every], size * style.arm_swing, standing)
        values |= {f"{name}_{side}": value for name, value in arm.items()}
    pelvis = gait_curves.pelvis_angles(course.phase[::every], amplitude, standing)
    values |= _trunk_and_arms(pelvis, values, style)

    reference = np.zeros((len(time), STATE))
    heading = course.heading[::every]
    normal = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    # The pelvis sways over the standing foot by about 2 cm to either side (Winter 1991): right at the middle of right stance.
    sway = -0.018 * np.cos(2 * np.pi * (course.phase[::every] - 0.30)) * (1.0 - standing)
    reference[:, :2] = course.position[::every] + sway[:, None] * normal
    reference[:, :2] += 0.006 * smooth_noise(rng, time, 1.5, (2,))
    reference[:, 3] = heading + pelvis["pelvis_rotation"]
    reference[:, 4], reference[:, 5] = pelvis["pelvis_tilt"], pelvis["pelvis_list"]
    for k, name in enumerate(PLANNED):
        reference[:, 6 + k] = values[name] + np.deg2rad(30.0) * style.variability * wander[:, k]
    problem = PlantingProblem(
        period_s=1.0 / NODE_HZ,
        reference=reference,
        path_tangent=np.stack([np.cos(heading), np.sin(heading)], axis=1),
        weight=np.stack([feet[s].weight[::every] for s in "rl"], axis=1),
        clearance_m=np.stack([feet[s].clearance_m[::every] for s in "rl"], axis=1),
        foothold=np.stack([_at(course.time_s, course.position, feet[s].mid_stance_s[::every]) for s in "rl"], axis=1),
        foothold_heading=np.stack([np.interp(feet[s].mid_stance_s[::every], course.time_s, course.heading) for s in "rl"], axis=1),
        half_width_m=0.5 * style.step_width_m,
        toe_out_rad=style.toe_out_rad,
        belt_velocity=np.array([-course.belt_speed, 0.0, 0.0]),
    )
    planted = plant(legs, problem)
    nodes = np.empty((len(time), 6 + model.njnt - 1))
    nodes[:, :6] = planted[:, :6]
    for j in range(1, model.njnt):
        name = model.joint(j).name
        if name in PLANNED:
            nodes[:, 5 + j] = planted[:, 6 + PLANNED.index(name)]
        else:
            nodes[:, 5 + j] = values[name] + np.deg2rad(30.0) * style.variability * wander[:, j]
    return Motion(model, make_interp_spline(time, nodes, k=5), float(time[0]), float(time[-1]), (feet["r"], feet["l"]))


def _trunk_and_arms(pelvis: dict[str, np.ndarray], values: dict[str, np.ndarray], style: WalkStyle) -> dict[str, np.ndarray]:
    """Trunk and head stay nearly upright and turn against the pelvis (Murray 1967; Stokes et al. 1989); arms hang a little abducted, thumbs in front."""
    tilt, bend, turn = pelvis["pelvis_tilt"], pelvis["pelvis_list"], pelvis["pelvis_rotation"]
    thorax_turn = -0.6 * turn * style.arm_swing
    out = {
        "lumbar_extension": np.deg2rad(-2.0) - tilt,
        "lumbar_bending": -0.8 * bend,
        "lumbar_rotation": thorax_turn - turn,
        "neck_flexion": np.full_like(tilt, np.deg2rad(4.0)) - 0.3 * (tilt - np.mean(tilt)),
        "neck_bending": -0.2 * bend,
        "neck_rotation": -0.8 * thorax_turn,
    }
    for side in "rl":
        still = np.zeros_like(tilt)
        out[f"arm_add_{side}"] = still - np.deg2rad(9.0)
        out[f"arm_rot_{side}"] = still + np.deg2rad(8.0) + 0.15 * values[f"arm_flex_{side}"]
        out[f"pro_sup_{side}"] = still + np.deg2rad(75.0)
        out[f"wrist_flex_{side}"] = still + np.deg2rad(6.0) + 0.1 * values[f"arm_flex_{side}"]
        out[f"wrist_dev_{side}"] = still + np.deg2rad(2.0)
    return out


def _hip_height(model: mujoco.MjModel, legs: Legs) -> float:
    """Mean height of the hips over the soles with straight legs, m."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    hips = np.mean([data.xpos[model.body(f"femur_{s}").id, 2] for s in "rl"])
    return float(hips - np.mean([(data.xpos[b] + data.xmat[b].reshape(3, 3) @ p)[2] for b, p in legs.points]))


def _at(time_s: np.ndarray, values: np.ndarray, when_s: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(when_s, time_s, values[:, k]) for k in range(values.shape[1])], axis=1)
