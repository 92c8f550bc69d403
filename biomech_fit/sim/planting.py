"""Keeps the feet on the ground: a smooth trajectory near the mean curves whose planted heel, ball and toe do not move.

Published joint angles of many people, put on one body, make its feet slide and sink by centimetres. Here the trajectory of pelvis and legs is the solution of a
sparse nonlinear least-squares problem: small smooth deviations from the curves; planted points with zero velocity (or the belt's) at floor height; no point
below the floor; footholds beside the path at half a step width. Kinematics by MuJoCo C, Jacobians from its joint axes and anchors, banded Cholesky by LAPACK.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.linalg import solveh_banded

LEG_JOINTS = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle", "mtp_angle")
PLANNED = tuple(f"{name}_{side}" for side in "rl" for name in LEG_JOINTS)
STATE = 6 + len(PLANNED)
"""Pelvis position in the world (3), yaw, tilt, list, then the legs' hinges. R_world_pelvis = Rz(yaw) C Rz(tilt) Rx(list), C turns y up into z up."""

CURVE_STD = np.concatenate(
    [[0.03, 0.012, 1.0], np.deg2rad([2.0, 1.5, 1.5]), np.deg2rad(np.tile([4.0, 3.0, 5.0, 5.0, 2.5, 5.0, 5.0], 2))]
)
"""(STATE,) m and rad: spread of healthy people round the means (Kadaba et al. 1990), loose where the means say little. First two: along and across the path."""
JERK_STD = np.concatenate([[15.0, 15.0, 40.0], [150.0, 80.0, 80.0], np.tile([500.0, 300.0, 400.0, 700.0, 900.0, 700.0, 2500.0], 2)])
"""(STATE,) m/s^3 and rad/s^3 of the deviation from the means; order of the means' own jerk."""
SLIDE_STD_M_S = 0.01
HEIGHT_STD_M = 0.001
FLOOR_SOFTNESS_M = 0.002
FOOTHOLD_STD_M = 0.01
SWING = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""C: body axes (x forward, y up, z right) to the z-up world."""


@dataclass(frozen=True, eq=False)
class PlantingProblem:
    """Inputs on N equidistant nodes. Feet in the order right, left; points in the order heel, ball, toe."""

    period_s: float
    reference: np.ndarray
    """(N, STATE)"""
    path_tangent: np.ndarray
    """(N, 2) unit vector of the path."""
    weight: np.ndarray
    """(N, 2, 3) 0..1: planted."""
    clearance_m: np.ndarray
    """(N, 2, 3) least heights."""
    foothold: np.ndarray
    """(N, 2, 2) m: path point that the foothold lies beside."""
    foothold_heading: np.ndarray
    """(N, 2) rad."""
    half_width_m: float
    toe_out_rad: float
    belt_velocity: np.ndarray
    """(3,) m/s"""


class Legs:
    """Positions and derivatives of the six sole points of a MuJoCo model."""

    def __init__(self, model: mujoco.MjModel, points: list[tuple[int, np.ndarray]]):
        self.model = model
        self.data = mujoco.MjData(model)
        self.points = points
        self.joint_ids = [model.joint(name).id for name in PLANNED]
        self.qpos_ids = model.jnt_qposadr[self.joint_ids]
        self.chains = []
        for body, _ in points:
            above = set()
            while body:
                above.add(int(body))
                body = model.body_parentid[body]
            self.chains.append([k for k, j in enumerate(self.joint_ids) if int(model.jnt_bodyid[j]) in above])

    def evaluate(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sole points (N, 6, 3) in the world, m, and their Jacobian (N, 6, 3, STATE)."""
        count = len(state)
        model, data = self.model, self.data
        quaternion = root_quaternion(state[:, 3:6])
        position = np.empty((count, len(self.points), 3))
        anchor = np.empty((count, len(self.joint_ids), 3))
        axis = np.empty_like(anchor)
        bodies = [body for body, _ in self.points]
        local = np.array([point for _, point in self.points])
        data.qpos[:] = model.qpos0
        for i in range(count):
            data.qpos[:3] = state[i, :3]
            data.qpos[3:7] = quaternion[i]
            data.qpos[self.qpos_ids] = state[i, 6:]
            mujoco.mj_kinematics(model, data)
            position[i] = data.xpos[bodies] + np.einsum("pij,pj->pi", data.xmat[bodies].reshape(-1, 3, 3), local)
            anchor[i] = data.xanchor[self.joint_ids]
            axis[i] = data.xaxis[self.joint_ids]
        jacobian = np.zeros((count, len(self.points), 3, STATE))
        jacobian[..., :3] = np.eye(3)
        arm = position - state[:, None, :3]
        for k, root_axis in enumerate(_root_axes(state[:, 3:6])):
            jacobian[..., 3 + k] = np.cross(root_axis[:, None], arm)
        for p, chain in enumerate(self.chains):
            for k in chain:
                jacobian[:, p, :, 6 + k] = np.cross(axis[:, k], position[:, p] - anchor[:, k])
        return position, jacobian


def root_rotation(angles: np.ndarray) -> np.ndarray:
    """(N, 3) yaw, tilt, list (rad) to (N, 3, 3) R_world_pelvis."""
    def turn(a: np.ndarray, first: int, second: int) -> np.ndarray:
        out = np.tile(np.eye(3), (len(a), 1, 1))
        out[:, first, first] = out[:, second, second] = np.cos(a)
        out[:, second, first] = np.sin(a)
        out[:, first, second] = -np.sin(a)
        return out

    return turn(angles[:, 0], 0, 1) @ SWING @ turn(angles[:, 1], 0, 1) @ turn(angles[:, 2], 1, 2)


def root_quaternion(angles: np.ndarray) -> np.ndarray:
    """(N, 3) yaw, tilt, list (rad) to (N, 4) wxyz."""
    def about(a: np.ndarray, axis: int) -> np.ndarray:
        out = np.zeros((len(a), 4))
        out[:, 0], out[:, 1 + axis] = np.cos(0.5 * a), np.sin(0.5 * a)
        return out

    swing = np.tile([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0], (len(angles), 1))
    return _product(_product(_product(about(angles[:, 0], 2), swing), about(angles[:, 1], 2)), about(angles[:, 2], 0))


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    w = a[:, :1] * b[:, :1] - np.sum(a[:, 1:] * b[:, 1:], axis=1, keepdims=True)
    return np.concatenate([w, a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + np.cross(a[:, 1:], b[:, 1:])], axis=1)


def _root_axes(angles: np.ndarray) -> list[np.ndarray]:
    """World axes (N, 3) about which yaw, tilt and list turn the pelvis."""
    zero = np.zeros_like(angles[:, 0])
    yaw = np.tile([0.0, 0.0, 1.0], (len(angles), 1))
    after_yaw = root_rotation(np.stack([angles[:, 0], zero, zero], axis=1))
    after_tilt = root_rotation(np.stack([angles[:, 0], angles[:, 1], zero], axis=1))
    return [yaw, after_yaw[:, :, 2], after_tilt[:, :, 0]]


class _Normal:
    """Block-banded normal equations: `blocks[d][i]` couples node i + d (rows) with node i (columns), up to three nodes apart."""

    def __init__(self, count: int, size: int):
        self.blocks = [np.zeros((count - d, size, size)) for d in range(4)]
        self.gradient = np.zeros((count, size))

    def add(self, residual: np.ndarray, jacobian: np.ndarray) -> None:
        """Residuals (N, R) of one node each, with derivatives (N, R, size)."""
        self.blocks[0] += np.swapaxes(jacobian, 1, 2) @ jacobian
        self.gradient += np.einsum("nrs,nr->ns", jacobian, residual)

    def add_pair(self, residual: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
        """Residuals (N - 1, R) of a node (`first`, (N - 1, R, size)) and the one after it (`second`)."""
        self.blocks[0][:-1] += np.swapaxes(first, 1, 2) @ first
        self.blocks[0][1:] += np.swapaxes(second, 1, 2) @ second
        self.blocks[1] += np.swapaxes(second, 1, 2) @ first
        self.gradient[:-1] += np.einsum("nrs,nr->ns", first, residual)
        self.gradient[1:] += np.einsum("nrs,nr->ns", second, residual)

    def add_third_difference(self, deviation: np.ndarray, weight: np.ndarray) -> None:
        """Third differences of (N, size) deviations; weight (size,) is the inverse standard deviation of one difference."""
        c = np.array([-1.0, 3.0, -3.0, 1.0])
        count = len(deviation) - 3
        residual = sum(c[a] * deviation[a : a + count] for a in range(4))
        diagonal = np.arange(deviation.shape[1])
        for a in range(4):
            self.gradient[a : a + count] += c[a] * residual * weight**2
            for b in range(a + 1):
                self.blocks[a - b][b : b + count, diagonal, diagonal] += c[a] * c[b] * weight**2

    def step(self, damping: float) -> np.ndarray:
        """The Gauss-Newton step (N, size)."""
        count, size = self.gradient.shape
        band = np.zeros((4 * size, count * size))
        for d, block in enumerate(self.blocks):
            for row in range(size):
                for column in range(size):
                    below = d * size + row - column
                    if below >= 0:
                        band[below, column::size][: count - d] = block[:, row, column]
        band[0] *= 1.0 + damping
        return -solveh_banded(band, self.gradient.ravel(), lower=True, overwrite_ab=True, check_finite=False).reshape(count, size)


def plant(legs: Legs, problem: PlantingProblem, iterations: int = 8) -> np.ndarray:
    """Solves the problem by Gauss-Newton from its reference. Returns the trajectory (N, STATE)."""
    h = problem.period_s
    reference = problem.reference.copy()
    state = reference.copy()
    tangent = problem.path_tangent
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    weight = problem.weight.reshape(len(state), 6)
    pair = np.sqrt(weight[1:] * weight[:-1])
    floor = problem.clearance_m.reshape(len(state), 6)
    for iteration in range(iterations):
        point, jacobian = legs.evaluate(state)
        if iteration == 0:
            # Start with the lowest planted point on the floor.
            height = np.min(np.where(weight > 0.5, point[..., 2], np.inf), axis=1)
            known = np.isfinite(height)
            lift = np.interp(np.arange(len(state)), np.nonzero(known)[0], height[known])
            state[:, 2] -= lift
            reference[:, 2] = np.mean(state[:, 2])
            point[..., 2] -= lift[:, None]
        equations = _Normal(len(state), STATE)
        deviation = state - reference
        curve = np.zeros((len(state), STATE, STATE))
        curve[:, range(STATE), range(STATE)] = 1.0 / CURVE_STD
        curve[:, 0, :2] = tangent / CURVE_STD[0]
        curve[:, 1, :2] = normal / CURVE_STD[1]
        equations.add(np.einsum("nrs,ns->nr", curve, deviation), curve)
        equations.add_third_difference(deviation, 1.0 / (JERK_STD * h**3))
        # Planted points stand still ...
        slide = (point[1:] - point[:-1] - h * problem.belt_velocity) / (h * SLIDE_STD_M_S) * pair[..., None]
        scale = (pair / (h * SLIDE_STD_M_S))[..., None, None]
        flat = (len(state) - 1, 18)
        equations.add_pair(slide.reshape(flat), (-scale * jacobian[:-1]).reshape(*flat, STATE), (scale * jacobian[1:]).reshape(*flat, STATE))
        # ... on the floor, and nothing is below it.
        height, height_jacobian = point[..., 2], jacobian[..., 2, :]
        equations.add(weight * height / HEIGHT_STD_M, (weight / HEIGHT_STD_M)[..., None] * height_jacobian)
        # A smooth hinge: with a sharp one the set of active nodes flips from one iteration to the next.
        depth = floor - height
        # It starts blunt and becomes sharper.
        softness = max(FLOOR_SOFTNESS_M, 0.016 * 0.5**iteration)
        root = np.sqrt(depth**2 + softness**2)
        equations.add(0.5 * (depth + root) / softness, (-0.5 * (1.0 + depth / root) / softness)[..., None] * height_jacobian)
        for foot, side in ((0, -1.0), (1, 1.0)):
            heading = problem.foothold_heading[:, foot]
            across = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
            heel, toe = point[:, 3 * foot], point[:, 3 * foot + 2]
            heel_jacobian, toe_jacobian = jacobian[:, 3 * foot], jacobian[:, 3 * foot + 2]
            planted = problem.weight[:, foot, 0]
            place = np.einsum("nk,nk->n", across, heel[:, :2] - problem.foothold[:, foot]) - side * problem.half_width_m
            place_jacobian = np.einsum("nk,nks->ns", across, heel_jacobian[:, :2])
            length = np.linalg.norm(toe[:, :2] - heel[:, :2], axis=1)
            yaw = np.einsum("nk,nk->n", across, toe[:, :2] - heel[:, :2]) - side * length * np.sin(problem.toe_out_rad)
            yaw_jacobian = np.einsum("nk,nks->ns", across, toe_jacobian[:, :2] - heel_jacobian[:, :2])
            gain = planted / FOOTHOLD_STD_M
            equations.add(np.stack([gain * place, gain * yaw], axis=1), gain[:, None, None] * np.stack([place_jacobian, yaw_jacobian], axis=1))
        step = equations.step(1e-6)
        # Angles move at most half a radian at once: far steps leave the region where the linearisation holds.
        state = state + step * min(1.0, 0.5 / max(np.abs(step[:, 6:]).max(), 1e-9))
    return state
