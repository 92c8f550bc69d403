"""Joint angles of KinePose's chain from its joints' positions: every frame by itself, or all frames of a sequence at once (see `kinepose_protocol.py`)."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from kinepose_start import STRAIGHTENED, closed_form, through_straight
from scipy.spatial.transform import Rotation

from biomech_fit.core import spline
from biomech_fit.core.body import BodyModel
from biomech_fit.core.linear import ORDER, Chain, SlowShare, solve_banded_held
from biomech_fit.core.point_residuals import PointCosts, PointObservations
from biomech_fit.core.projection import camera_arrays
from biomech_fit.core.quaternions import matrix_to_quat, quat_to_matrix
from biomech_fit.core.readout import rotation_vector_matrix
from biomech_fit.core.solver import WindowSolver
from biomech_fit.core.window import SlowPrior, empty_window
from biomech_fit.core.window_costs import SolverOptions, WindowCosts

SPACING_S = 1 / 30
"""A frame's time: the paper has none; it gives the motion prior its meaning."""
EXACT_STD_M = 3e-5
"""What noise-free points are taken to be uncertain by: as little as single precision bears beside the prior of what they do not show."""
LIMIT_STD = 0.003
"""rad: a range of motion is this soft."""
FRAME_ITERATIONS, ITERATIONS = 10, 3


class FrameSolver:
    """Every frame by itself, many side by side: damped Gauss-Newton on the points and the pose prior, from a start in closed form."""

    def __init__(self, body: BodyModel, point_std_m: float):
        self.point_std_m = point_std_m
        self.mapped = body.keypoint_body >= 0
        self.body = _with(body, self.mapped)
        self.costs = WindowCosts(self.body, 0, _options(1))
        self._solve = jax.jit(self._descend)

    def solve(self, points: np.ndarray, in_time: bool = False) -> np.ndarray:
        """(S, T, nq) of points (S, T, K, 3); `in_time`: the start in closed form has the other frames of a sequence in view."""
        xyz = points[:, :, self.mapped]
        angles, turn, root = closed_form(self.body, xyz, in_time)
        flat = xyz.reshape(-1, *xyz.shape[2:])
        turn, root = turn.reshape(-1, 3, 3), root.reshape(-1, 3)
        # In the pelvis' frame of the start all frames have one reference orientation.
        local = np.einsum("tji,tkj->tki", turn, flat - root[:, None])
        start = np.concatenate([np.zeros((len(flat), 6)), angles.reshape(len(flat), -1)], 1)
        x = np.asarray(self._solve(np.float32(start), np.float32(local)), float)
        quat = np.array([matrix_to_quat(r @ rotation_vector_matrix(phi)) for r, phi in zip(turn, x[:, 3:6], strict=True)])
        place = root + np.einsum("tij,tj->ti", turn, x[:, :3])
        return np.concatenate([place, quat, x[:, 6:]], 1).reshape(*points.shape[:2], -1)

    def _descend(self, x: jax.Array, points: jax.Array) -> jax.Array:
        costs, none = self.costs, jnp.zeros(0, jnp.float32)
        offsets = jnp.zeros((points.shape[1], 3), jnp.float32)
        lower, upper = jnp.float32(self.body.lower), jnp.float32(self.body.upper)
        prior = jnp.float32(np.where(np.isfinite(self.body.pose_std), self.body.pose_std, 1e3)) ** -2

        def step(i: jax.Array, x: jax.Array) -> jax.Array:
            poses = costs.kinematics.poses(x, jnp.eye(3, dtype=x.dtype), none)
            seen = costs.kinematics.keypoints(poses, none, self.body.keypoint_body, costs.keypoint_local, offsets)
            moves = seen.by_pose.reshape(len(x), -1, x.shape[1]) / self.point_std_m
            error = (points - seen.position).reshape(len(x), -1, 1) / self.point_std_m
            beyond = jnp.maximum(x - upper, 0) - jnp.maximum(lower - x, 0)
            outside = (beyond != 0) / LIMIT_STD**2
            matrix = jnp.swapaxes(moves, 1, 2) @ moves
            damping = 0.1 * 0.2**i * jnp.diagonal(matrix, axis1=1, axis2=2)
            matrix = matrix + jax.vmap(jnp.diag)(outside + prior + damping)
            rhs = (jnp.swapaxes(moves, 1, 2) @ error)[..., 0] - outside * beyond - prior * (x - jnp.float32(self.body.pose_mean))
            return x + jnp.clip(_solved(matrix, rhs), -0.5, 0.5)

        return jax.lax.fori_loop(0, FRAME_ITERATIONS, step, x)


class TemporalSolver:
    """All frames of a sequence at once on one spline with a knot at each frame, many sequences side by side; it starts from the frames' own solutions."""

    def __init__(self, body: BodyModel, frames: int, point_std_m: float):
        self._middle, self.frames = frames // 2, FrameSolver(body, point_std_m)
        self.body, self.mapped = self.frames.body, self.frames.mapped
        options = _options(frames)
        # Ranges bind control points, and those of a joint that straightens from one frame to the next overshoot: the frames' own solutions keep these ranges.
        free = np.isin(self.body.coordinate_names, STRAIGHTENED)
        unbound = replace(self.body, lower=np.where(free, -np.inf, self.body.lower), upper=np.where(free, np.inf, self.body.upper))
        self.solver = WindowSolver(unbound, 0, options)
        m, n = self.solver.layout.size, self.body.mj_model.nv
        prior = SlowPrior(np.zeros(m), 1e8 * np.eye(m))
        window = empty_window(options.knots, frames, np.zeros(n), np.eye(3), camera_arrays([]), self.mapped.sum(), prior, np.zeros(m), has_points=True)
        head = type(window.head)(*(np.zeros(shape, np.float32) for shape in ((3 * n + m,) * 2, 3 * n + m, 3 * n + m)))
        self._blank = window._replace(u=np.arange(frames, dtype=np.float32), valid=np.ones(frames, np.float32), head=head)
        self._value = np.asarray(spline.basis(self._blank.u, options.knots)[0], float)
        # The smoothest control points whose spline goes through given frames.
        rough = np.diff(np.eye(options.knots), 2, axis=0)
        self._fit = np.linalg.solve(self._value.T @ self._value + 1e-6 * rough.T @ rough, self._value.T)
        self._solve = jax.jit(self._descend)

    def _system(self, control: jax.Array, reference: jax.Array, xyz: jax.Array) -> Chain:
        """Of one sequence's points (T, K, 3) at its control points (Q, N)."""
        seen = PointObservations(xyz, jnp.full(xyz.shape[:2], self.frames.point_std_m**-2, jnp.float32))
        observed = self._blank.observed._replace(share=jnp.ones(len(xyz), jnp.float32), points=seen)
        window, costs = self._blank._replace(reference=reference, observed=observed), self.solver.costs
        at = window._replace(control=control)
        return costs.chain(at, costs.linearise(at, jnp.float32(1.0)).poses, jnp.float32(0.0))

    def _descend(self, control: jax.Array, reference: jax.Array, xyz: jax.Array) -> jax.Array:
        """Poses (S, T, N) of points (S, T, K, 3), from control points (S, Q, N)."""
        count, knots, n = control.shape
        share = SlowShare(*(jnp.zeros(shape, jnp.float32) for shape in ((1, n, n), (1, n, 1), (1, 1))))

        def step(_: int, control: jax.Array) -> jax.Array:
            each = jax.vmap(self._system)(control, reference, xyz)
            # One long chain with nothing between the sequences: single matrices are factorised faster than batches of them.
            chain = Chain(*(a.reshape(count * knots, *a.shape[2:]) for a in each))
            change = solve_banded_held(chain, jnp.eye(1, count * knots), share).step.reshape(control.shape)
            return control + jnp.clip(change, -0.5, 0.5)

        return jnp.float32(self._value) @ jax.lax.fori_loop(0, ITERATIONS, step, control)

    def solve(self, points: np.ndarray) -> np.ndarray:
        """(S, T, nq) of points (S, T, K, 3)."""
        qpos = self.frames.solve(points, in_time=True)
        turn = quat_to_matrix(qpos[..., 3:7])
        reference = turn[:, self._middle]
        phi = Rotation.from_matrix((np.swapaxes(reference, 1, 2)[:, None] @ turn).reshape(-1, 3, 3)).as_rotvec().reshape(*qpos.shape[:2], 3)
        angles = through_straight(self.body, qpos[..., 7:])
        control = self._fit @ np.concatenate([qpos[..., :3], phi, angles], -1)
        xyz = points[:, :, self.mapped]
        x = np.asarray(self._solve(np.float32(control), np.float32(reference), np.float32(xyz)), float)
        turned = reference[:, None] @ Rotation.from_rotvec(x[..., 3:6].reshape(-1, 3)).as_matrix().reshape(*x.shape[:2], 3, 3)
        quat = Rotation.from_matrix(turned.reshape(-1, 3, 3)).as_quat(scalar_first=True).reshape(*x.shape[:2], 4)
        return np.concatenate([x[..., :3], quat, x[..., 6:]], -1)


def _with(body: BodyModel, mapped: np.ndarray) -> BodyModel:
    """The body with only the keypoints that it has."""
    names = tuple(np.array(body.keypoint_names)[mapped])
    return replace(
        body, keypoint_names=names, keypoint_body=body.keypoint_body[mapped], keypoint_position=body.keypoint_position[mapped],
        keypoint_offset_std=body.keypoint_offset_std[mapped],
    )  # fmt: skip


def _options(frames: int) -> SolverOptions:
    return SolverOptions(
        frames=frames, knots=frames + ORDER, spacing_s=SPACING_S, refine_cameras=False, points=PointCosts(), kernel="none", limit_std=LIMIT_STD,
    )  # fmt: skip


def _solved(matrix: jax.Array, rhs: jax.Array) -> jax.Array:
    """(T, N) of positive definite (T, N, N), scaled to a unit diagonal for float32."""
    scale = 1 / jnp.sqrt(jnp.diagonal(matrix, axis1=1, axis2=2))
    factor = jnp.linalg.cholesky(matrix * scale[:, :, None] * scale[:, None, :])
    return scale * jax.scipy.linalg.cho_solve((factor, True), (scale * rhs)[..., None])[..., 0]
