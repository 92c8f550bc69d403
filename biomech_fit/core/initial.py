"""The first pose: a closed-form placement of the trunk, then robust least squares on triangulated points from several starts."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax import Array

from biomech_fit.core.body import BodyModel
from biomech_fit.core.kinematics import Kinematics
from biomech_fit.core.program import program
from biomech_fit.core.residuals import point_distance
from biomech_fit.core.robust import geman_mcclure

POINT_STD_M = 0.03
"""Of a triangulated keypoint about the model's: detector noise, keypoint offset and calibration error together."""
ITERATIONS = 40
TURNS = 4
"""Starts, turned about the vertical: a left-right confused trunk must not decide."""


class FirstPose(NamedTuple):
    """The best of the starts."""

    x: Array
    """(N,) with the root's rotation vector zero or small."""
    reference: Array
    """(3, 3)"""
    scales: Array
    """(S,)"""
    error_m: Array
    """() median distance of the used points."""
    soles: Array
    """(P, 3) m, the model's sole points."""


class PoseStarter:
    """Compiled once per body model and keypoint set."""

    def __init__(self, body: BodyModel):
        self.body, self.kinematics = body, Kinematics(body)
        self._rest, self._reference = rest_pose(body)
        self.template = np.asarray(program(self._at_rest)())
        freedom = self.kinematics.moves[body.keypoint_body].sum(1)
        self._stiffness = np.float32(1 / (1 + (freedom - freedom.min()) ** 2))
        """Keypoints with few joints between them and the root place the trunk."""
        self.find = program(self._find)

    def _at_rest(self) -> Array:
        """Keypoints (K, 3) m of the nominal body in its rest pose. One program: op by op it would be hundreds to compile."""
        scales = jnp.zeros(len(self.body.scale_names))
        placed = self.kinematics.poses(jnp.asarray(self._rest, jnp.float32)[None], jnp.asarray(self._reference, jnp.float32), scales)
        return self.kinematics.points(placed, scales, self.body.keypoint_body, np.float32(self.body.keypoint_position))[0]

    def _find(self, points: Array, information: Array) -> FirstPose:
        """Pose from points (K, 3) with relative weights (K,) >= 0 (0 = missing; its point may be anything finite)."""
        turns = np.arange(TURNS) * 2 * np.pi / TURNS
        yaw = np.array([[[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]] for a in turns], np.float32)
        rotation, root = _place(self.template, points, information * self._stiffness)
        template_root = np.float32(self._rest[:3]) if self.kinematics.free_root else np.zeros(3, np.float32)

        def start(turn: Array) -> tuple[Array, FirstPose]:
            x = jnp.asarray(self._rest, jnp.float32)
            reference = jnp.asarray(self._reference, jnp.float32)
            if self.kinematics.free_root:
                reference = rotation @ turn @ reference
                x = x.at[:3].set(rotation @ turn @ (template_root - root[0]) + root[1])
            return self._descend(x, reference, points, information / POINT_STD_M**2)

        cost, poses = jax.vmap(start)(jnp.asarray(yaw))
        best = jnp.argmin(jnp.where(jnp.isfinite(cost), cost, jnp.inf))
        return FirstPose(*(a[best] for a in poses))

    def _descend(self, x: Array, reference: Array, points: Array, information: Array) -> tuple[Array, FirstPose]:
        body, n, s = self.body, self.kinematics.n_coordinates, self.kinematics.n_scales
        local = np.float32(body.keypoint_position)
        offsets = jnp.zeros((len(body.keypoint_names), 3), jnp.float32)
        finite = np.isfinite(body.pose_std)
        pose_information = np.float32(np.where(finite, 1 / np.where(finite, body.pose_std, 1.0) ** 2, 0.0))
        lower, upper = np.float32(np.clip(body.lower, -1e6, 1e6)), np.float32(np.clip(body.upper, -1e6, 1e6))

        precision = np.float32(body.scale_precision)

        def linearise(state: Array, widen: Array) -> tuple[Array, Array, Array, Array]:
            """Cost, normal equations and the points' distances at coordinates and scales (N + S,)."""
            x, scales = state[:n], state[n:]
            poses = self.kinematics.poses(x[None], reference, scales)
            keypoints = self.kinematics.keypoints(poses, scales, body.keypoint_body, local, offsets)
            info, cost = point_distance(keypoints.position, points[None], information[None], geman_mcclure, 4.0 * widen)
            beyond = jnp.maximum(x - upper, 0) - jnp.maximum(lower - x, 0)
            outside = (beyond != 0) / 0.05**2
            away = x - np.float32(body.pose_mean)
            cost = cost[0] + 0.5 * jnp.sum(outside * beyond**2 + pose_information * away**2) + 0.5 * scales @ precision @ scales
            moves = jnp.concatenate([keypoints.by_pose, keypoints.by_scale], -1)[0]
            matrix = jnp.einsum("kan,kab,kbm->nm", moves, info.matrix[0], moves)
            matrix = matrix + jnp.diag(jnp.concatenate([outside + pose_information, jnp.zeros(s)]) + 1e-3)
            matrix = matrix.at[n:, n:].add(precision)
            rhs = jnp.einsum("kan,ka->n", moves, info.vector[0])
            rhs = rhs - jnp.concatenate([outside * beyond + pose_information * away, precision @ scales])
            return cost, matrix, rhs, jnp.linalg.norm(keypoints.position[0] - points, axis=-1)

        placed = 3 if body.has_free_root else 0  # where the body is, is not limited

        def step(i, carry):
            # The state and the candidate are evaluated side by side: one copy of the kinematics to compile, and costs at the same kernel width.
            state, candidate, damping, _, _ = carry
            both = jnp.stack([state, candidate])
            cost, matrix, rhs, distance = jax.vmap(linearise, in_axes=(0, None))(both, jnp.maximum(8.0 * 0.8**i, 1.0))
            better = cost[1] < cost[0]
            pick = better.astype(int)
            damping = jnp.clip(jnp.where(better, damping * 0.3, damping * 8), 1e-6, 1e3)
            state = both[pick]
            scale = 1 / jnp.sqrt(jnp.diag(matrix[pick]))
            scaled = matrix[pick] * scale[:, None] * scale + damping * jnp.eye(n + s)
            delta = scale * jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(scaled), True), scale * rhs[pick])
            delta = delta * jnp.minimum(1.0, 0.6 / jnp.maximum(jnp.max(jnp.abs(delta[placed:])), 1e-6))
            return state, state + delta, damping, cost[pick], distance[pick]

        first = jnp.concatenate([x, jnp.zeros(s, jnp.float32)])
        blank = jnp.zeros(points.shape[0], jnp.float32)
        state, _, _, cost, distance = jax.lax.fori_loop(0, ITERATIONS, step, (first, first, jnp.float32(1e-2), jnp.float32(jnp.inf), blank))
        seen = jnp.where(information > 0, distance, jnp.nan)
        feet = list(body.foot_points.values())
        poses = self.kinematics.poses(state[None, :n], reference, state[n:])
        soles = self.kinematics.points(poses, state[n:], np.array([b for b, _ in feet], int), np.float32([p for _, p in feet]).reshape(-1, 3))[0]
        return cost, FirstPose(state[:n], reference, state[n:], jnp.nanmedian(seen), soles)


def _place(template: np.ndarray, points: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    """Rotation of the weighted template onto the points (Kabsch 1976) and both centroids."""
    weight = weight / jnp.maximum(jnp.sum(weight), 1e-9)
    a, b = weight @ template, weight @ points
    u, _, vt = jnp.linalg.svd(((points - b) * weight[:, None]).T @ (template - a))
    sign = jnp.array([1.0, 1.0, jnp.linalg.det(u @ vt)])
    return (u * sign) @ vt, (a, b)


def rest_pose(body: BodyModel) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (N,) of the pose prior's mean (MuJoCo's qpos0 for the root) and the root's orientation (3, 3) there."""
    m = body.mj_model
    x = np.clip(np.asarray(body.pose_mean, float), body.lower, body.upper)
    reference = np.eye(3)
    if body.has_free_root:
        x[:3], x[3:6] = m.qpos0[:3], 0.0
        flat = np.zeros(9)
        mujoco.mju_quat2Mat(flat, m.qpos0[3:7])
        reference = flat.reshape(3, 3)
    return x, reference
