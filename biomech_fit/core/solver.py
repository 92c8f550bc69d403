"""The fixed-lag smoother: a sliding window of poses with slow states, solved by structured Gauss-Newton on every new frame.

    advance:   marginalise the oldest frame -> append the new one at its predicted pose -> a few Gauss-Newton iterations -> read out the newest and the lagged frame

Every cost is in `residuals` and `motion`, the linear algebra in `linear`, what enters and leaves in `window`. All arrays have fixed shapes, so everything
is compiled once, by `compile`, before the first frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from biomech_fit.core import rotation
from biomech_fit.core.body import BodyModel
from biomech_fit.core.kinematics import BodyPoses, Keypoints, Kinematics
from biomech_fit.core.linear import ORDER, ArrowSolution, ArrowSystem, solve_banded, solve_dense
from biomech_fit.core.motion import motion_prior, pose_terms
from biomech_fit.core.projection import CameraArrays
from biomech_fit.core.residuals import CAMERA_STATES, Observations, corrected_cameras, make_lens, reprojection
from biomech_fit.core.robust import KERNELS
from biomech_fit.core.window import Head, SlowLayout, Window, append, predict, recentre


@dataclass(frozen=True)
class SolverOptions:
    """Static choices and constants of a solver."""

    frames: int = 32
    lag_frames: int = 15
    refine_cameras: bool = True
    kernel: str = "geman_mcclure"
    kernel_scale: float = 4.0
    jerk_scale: float = 1.0
    acceleration_scale: float = 1.0
    pose_std_factor: float = 1.0
    limit_std: float = 0.05
    damping: float = 1e-4
    linear_solver: str = "banded"
    has_distortion: bool = True
    has_fisheye: bool = False


class Readout(NamedTuple):
    """One frame of the window, as arrays for the host."""

    x: Array
    """(N,)"""
    velocity: Array
    """(N,)"""
    reference: Array
    """(3, 3)"""
    covariance: Array
    """(N, N)"""
    keypoints: Array
    """(K, 3) m."""
    keypoint_velocity: Array
    """(K, 3) m/s."""
    keypoint_variance: Array
    """(K, 3) m^2."""
    joint_centres: Array
    """(J, 3) m."""
    error_px: Array
    """(C, K) reprojection error; meaningless where nothing was observed."""
    uv: Array
    """(C, K, 2) px, reprojected keypoints."""


class Result(NamedTuple):
    """What one call of `advance` or `settle` returns besides the window."""

    newest: Readout
    lagged: Readout
    slow: Array
    """(M,)"""
    slow_covariance: Array
    """(M, M)"""
    cost: Array
    """() robust reprojection cost of the window before the last step."""


class _Linearisation(NamedTuple):
    """The window at its current estimate."""

    poses: BodyPoses
    keypoints: Keypoints
    velocity: Array
    error_px: Array
    cost: Array
    diagonal: Array
    cross: Array
    corner: Array
    rhs: Array
    corner_rhs: Array


class WindowSolver:
    """Compiled window solver for one body model, rig and keypoint set. Holds no state: `Window` goes in and out."""

    def __init__(self, body: BodyModel, cameras: CameraArrays, options: SolverOptions):
        if np.any(body.keypoint_body < 0):
            raise ValueError("the solver takes only keypoints that the body model has")
        self.body, self.cameras, self.options = body, cameras, options
        self.kinematics = Kinematics(body)
        n_cameras = cameras.focal.shape[0]
        self.layout = SlowLayout(len(body.scale_names), len(body.keypoint_names), n_cameras if options.refine_cameras else 0)
        self._kernel = KERNELS[options.kernel]
        self._lens = make_lens(options.has_distortion, options.has_fisheye)
        self._solve = {"banded": solve_banded, "dense": solve_dense}[options.linear_solver]
        self._jerk_std = jnp.asarray(body.jerk_std * options.jerk_scale, jnp.float32)
        self._acceleration_std = jnp.asarray(body.acceleration_std * options.acceleration_scale, jnp.float32)
        self._pose_std = jnp.asarray(np.where(np.isfinite(body.pose_std), body.pose_std * options.pose_std_factor, 1e6), jnp.float32)
        self._lower, self._upper = (jnp.asarray(np.clip(a, -1e6, 1e6), jnp.float32) for a in (body.lower, body.upper))
        self._local = np.asarray(body.keypoint_position, np.float32)
        self.advance = jax.jit(self._advance, donate_argnums=0)
        self.settle = jax.jit(self._settle, donate_argnums=0)

    # --- the two entry points -----------------------------------------------------------------------------------------------------------------

    def _advance(self, window: Window, uv: Array, information: Array, delay: Array, step_s: Array, iterations: Array) -> tuple[Window, Result]:
        """Take one frame (C, K, 2), (C, K), (C,), step_s after the last; `iterations` Gauss-Newton steps."""
        window = self._marginalise(window, step_s)
        window = append(window, uv, information, delay, step_s, predict(window, step_s))
        return self._iterate(recentre(window), iterations, jnp.float32(1.0))

    def _settle(self, window: Window, iterations: Array, widen: Array) -> tuple[Window, Result]:
        """Iterate on the window as it is, the robust kernel first `widen` times wider (graduated non-convexity)."""
        return self._iterate(recentre(window), iterations, widen)

    # --- Gauss-Newton -------------------------------------------------------------------------------------------------------------------------

    def _iterate(self, window: Window, iterations: Array, widen: Array) -> tuple[Window, Result]:
        def body(_, carry):
            window, widen, _, _ = carry
            lin = self._linearise(window, widen)
            solution = self._solve(self._system(window, lin, self.options.damping * widen), self.options.lag_frames)
            turn = jnp.max(jnp.abs(solution.step[:, 3:])) if self.kinematics.free_root else jnp.max(jnp.abs(solution.step))
            shrink = jnp.minimum(1.0, 0.5 / jnp.maximum(turn, 1e-6))
            window = window._replace(x=window.x + shrink * solution.step, slow=window.slow + shrink * solution.slow_step)
            return window, jnp.maximum(widen * 0.7, 1.0), solution, lin.cost

        shapes = jax.eval_shape(lambda w: body(0, (w, widen, None, None)), window)
        blank = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes[2:])
        window, _, solution, cost = jax.lax.fori_loop(0, iterations, body, (window, widen, *blank))
        return window, self._result(window, solution, cost)

    def _linearise(self, window: Window, widen: Array) -> _Linearisation:
        """Observations' information on poses and slow states at the current estimate."""
        layout, body = self.layout, self.body
        scales, offsets, cameras, clock = self._unpack(window.slow)
        poses = self.kinematics.poses(window.x, window.reference, scales)
        keypoints = self.kinematics.keypoints(poses, scales, body.keypoint_body, self._local, offsets)
        velocity = _time_derivative(keypoints.position, window.time, window.valid)
        observed = window.observed._replace(information=window.observed.information * window.valid[:, None, None])
        point, camera, error, cost = reprojection(
            keypoints.position, velocity, cameras, self._lens, clock, observed, self._kernel, self.options.kernel_scale * widen
        )
        frames, n = window.x.shape
        s, k3 = layout.n_scales, 3 * layout.n_keypoints
        moves = jnp.concatenate([keypoints.by_pose, keypoints.by_scale], -1)
        weighted = point.matrix @ moves
        flat = moves.reshape(frames, k3, n + s)
        block = jnp.swapaxes(flat, 1, 2) @ weighted.reshape(frames, k3, n + s)
        gradient = jnp.squeeze(point.vector.reshape(frames, 1, k3) @ flat, 1)
        offset_block = point.matrix @ keypoints.by_offset
        by_offset = jnp.swapaxes(jnp.swapaxes(weighted, -1, -2) @ keypoints.by_offset, 1, 2).reshape(frames, n + s, k3)
        turned = jnp.swapaxes(keypoints.by_offset, -1, -2)
        cross = [block[:, :n, n:], by_offset[:, :n]]
        corner = jnp.zeros((layout.size, layout.size), window.x.dtype)
        corner = corner.at[layout.scales, layout.scales].set(block[:, n:, n:].sum(0))
        corner = _both(corner, layout.scales, layout.offsets, by_offset[:, n:].sum(0))
        diagonal_blocks = jnp.sum(turned @ offset_block, 0)
        corner = corner.at[layout.offsets, layout.offsets].set(_block_diagonal(diagonal_blocks))
        corner_rhs = [gradient[:, n:].sum(0), jnp.sum(turned @ point.vector[..., None], (0, 3)).reshape(-1)]
        if layout.n_cameras:
            states = CAMERA_STATES * layout.n_cameras
            coupling = camera.point_coupling.reshape(frames, states, k3)
            camera_body = coupling @ flat
            camera_offset = jnp.einsum("tskb,tkbo->sko", camera.point_coupling.reshape(frames, states, -1, 3), keypoints.by_offset)
            cross.append(jnp.swapaxes(camera_body[:, :, :n], 1, 2))
            corner = _both(corner, layout.scales, layout.cameras, camera_body[:, :, n:].sum(0).T)
            corner = _both(corner, layout.offsets, layout.cameras, camera_offset.reshape(states, k3).T)
            corner = corner.at[layout.cameras, layout.cameras].set(_block_diagonal(camera.matrix.sum(0)))
            corner_rhs.append(camera.vector.sum(0).reshape(-1))
        return _Linearisation(
            poses, keypoints, velocity, error, cost, block[:, :n, :n], jnp.concatenate(cross, 2), corner, gradient[:, :n], jnp.concatenate(corner_rhs)
        )

    def _system(self, window: Window, lin: _Linearisation, damping: Array) -> ArrowSystem:
        """Observations, motion, ranges, pose prior, slow prior and head as one linear system for the step."""
        frames, n = window.x.shape
        motion, diagonal, gradient = self._priors(window)
        pinned = 1 - window.valid
        diagonal = diagonal * window.valid[:, None] + motion.diagonal + pinned[:, None]
        diagonal = diagonal + damping * (diagonal + jnp.diagonal(lin.diagonal, axis1=1, axis2=2))
        rhs = lin.rhs - gradient * window.valid[:, None] - motion.gradient
        deviation = jnp.concatenate([window.x[:ORDER].reshape(-1), window.slow]) - window.head.anchor
        head_rhs = window.head.vector - window.head.information @ deviation
        split = ORDER * n
        prior = window.prior
        return ArrowSystem(
            lin.diagonal + jax.vmap(jnp.diag)(diagonal),
            motion.coupling,
            lin.cross,
            lin.corner + prior.precision + window.head.information[split:, split:],
            rhs.at[:ORDER].add(head_rhs[:split].reshape(ORDER, n)),
            lin.corner_rhs + prior.precision @ (prior.mean - window.slow) + head_rhs[split:],
            window.head.information[:split, :split],
            window.head.information[:split, split:],
        )

    def _priors(self, window: Window):
        """Motion terms, and information and gradient of ranges and weak pose prior."""
        motion = motion_prior(window.x, window.time, window.valid, self._jerk_std, self._acceleration_std)
        step = jnp.clip(jnp.diff(window.time, append=window.time[-1:] + window.time[-1:] - window.time[-2:-1]), 1e-3, 0.2)
        mean = jnp.asarray(self.body.pose_mean, jnp.float32)
        diagonal, gradient = pose_terms(window.x, step, self._lower, self._upper, self.options.limit_std, mean, self._pose_std)
        return motion, diagonal, gradient

    # --- what leaves ----------------------------------------------------------------------------------------------------------------------------

    def _marginalise(self, window: Window, step_s: Array) -> Window:
        """Fold the oldest frame into the head (Schur complement at the current estimate); its slow part then walks for step_s."""
        n, m = window.x.shape[1], self.layout.size
        first = window._replace(
            x=window.x[: ORDER + 1],
            time=window.time[: ORDER + 1],
            valid=window.valid[: ORDER + 1],
            observed=Observations(*(a[: ORDER + 1] for a in window.observed)),
        )
        seen = first.observed._replace(information=first.observed.information.at[1:].set(0.0))
        lin = self._linearise(first._replace(observed=seen), jnp.float32(1.0))
        motion, diagonal, gradient = self._priors(first)
        valid = window.valid[0]
        # The motion terms of these four frames that do not touch the first stay in the window; take only those that do.
        rest = motion_prior(first.x[1:], first.time[1:], first.valid[1:], self._jerk_std, self._acceleration_std)
        motion_diagonal, motion_gradient = motion.diagonal.at[1:].add(-rest.diagonal), motion.gradient.at[1:].add(-rest.gradient)
        coupling = motion.coupling.at[1:].add(-rest.coupling)
        size = (ORDER + 1) * n + m
        frames = slice(0, (ORDER + 1) * n)
        slow = slice((ORDER + 1) * n, size)
        matrix = jnp.zeros((size, size), window.x.dtype).at[frames, frames].set(_chain_matrix(motion_diagonal, coupling))
        vector = jnp.zeros(size, window.x.dtype).at[frames].set(-motion_gradient.reshape(-1))
        matrix = matrix.at[:n, :n].add(lin.diagonal[0] + jnp.diag(diagonal[0] * valid + (1 - valid)))
        vector = vector.at[:n].add(lin.rhs[0] - gradient[0] * valid)
        matrix = _both(matrix, slice(0, n), slow, lin.cross[0])
        matrix = matrix.at[slow, slow].add(lin.corner)
        vector = vector.at[slow].add(lin.corner_rhs)
        kept = np.r_[0 : ORDER * n, (ORDER + 1) * n : size]
        deviation = jnp.concatenate([window.x[:ORDER].reshape(-1), window.slow]) - window.head.anchor
        matrix = matrix.at[kept[:, None], kept].add(window.head.information)
        vector = vector.at[kept].add(window.head.vector - window.head.information @ deviation)
        root = jax.scipy.linalg.solve_triangular(
            jnp.linalg.cholesky(matrix[:n, :n]), jnp.concatenate([matrix[:n, n:], vector[:n, None]], 1), lower=True
        )
        border, right = root[:, :-1], root[:, -1]
        information = matrix[n:, n:] - border.T @ border
        vector = vector[n:] - border.T @ right
        # A random walk of variance q per second lowers the conditional information h of each slow state to h / (1 + q h dt).
        walk = window.prior.walk * step_s * jnp.maximum(jnp.diag(information)[ORDER * n :], 0.0)
        fade = jnp.concatenate([jnp.ones(ORDER * n, walk.dtype), 1 / jnp.sqrt(1 + walk)])
        information = 0.5 * (information + information.T) * fade[:, None] * fade
        anchor = jnp.concatenate([window.x[1 : ORDER + 1].reshape(-1), window.slow])
        return window._replace(head=Head(information, vector * fade, anchor))

    # --- what comes out -------------------------------------------------------------------------------------------------------------------------

    def _result(self, window: Window, solution: ArrowSolution, cost: Array) -> Result:
        late = self.options.lag_frames
        newest = self._readout(window, window.x.shape[0] - 1, solution.newest, solution.newest_slow, solution.slow)
        lagged = self._readout(window, window.x.shape[0] - 1 - late, solution.lagged, solution.lagged_slow, solution.slow)
        return Result(newest, lagged, window.slow, solution.slow, cost)

    def _readout(self, window: Window, frame: int, covariance: Array, with_slow: Array, slow_covariance: Array) -> Readout:
        layout, body = self.layout, self.body
        scales, offsets, cameras, clock = self._unpack(window.slow)
        rows = slice(frame - 2, frame + 1) if frame == window.x.shape[0] - 1 else slice(frame - 1, frame + 2)
        at = 2 if frame == window.x.shape[0] - 1 else 1
        x, time, valid = window.x[rows], window.time[rows], window.valid[rows]
        poses = self.kinematics.poses(x, window.reference, scales)
        points = self.kinematics.keypoints(poses, scales, body.keypoint_body, self._local, offsets)
        speed = _time_derivative(points.position, time, valid)[at : at + 1]
        observed = Observations(*(a[frame : frame + 1] for a in window.observed))
        here = points.position[at : at + 1]
        in_camera = (here[:, None] + speed[:, None] * (observed.delay + clock)[:, :, None, None]) @ jnp.swapaxes(cameras.rotation, -1, -2)[None]
        uv, _, _ = self._lens(cameras, in_camera + cameras.translation[None, :, None])
        error = jnp.linalg.norm(observed.uv - uv, axis=-1)
        # Keypoint variance: pose and scales jointly, then each keypoint's own offset.
        s = layout.n_scales
        joint = jnp.block([[covariance, with_slow[:, :s]], [with_slow[:, :s].T, slow_covariance[:s, :s]]])
        moves = jnp.concatenate([points.by_pose[at], points.by_scale[at]], -1)
        turn = points.by_offset[at]
        k = layout.n_keypoints
        own = jnp.concatenate([with_slow[:, layout.offsets], slow_covariance[:s, layout.offsets]], 0).reshape(-1, k, 3)
        own_block = slow_covariance[layout.offsets, layout.offsets].reshape(k, 3, k, 3)[jnp.arange(k), :, jnp.arange(k)]
        variance = jnp.sum((moves @ joint) * moves, -1)
        variance += 2 * jnp.sum((moves @ own.transpose(1, 0, 2)) * turn, -1) + jnp.sum((turn @ own_block) * turn, -1)
        centres = self.kinematics.points(poses, scales, body.joint_centre_body, np.float32(body.joint_centre_position))[at]
        return Readout(
            window.x[frame],
            _time_derivative(x, time, valid)[at],
            window.reference,
            covariance,
            here[0],
            speed[0],
            jnp.maximum(variance, 0.0),
            centres,
            error[0],
            uv[0],
        )

    def _unpack(self, slow: Array) -> tuple[Array, Array, CameraArrays, Array]:
        """Scales (S,), offsets (K, 3), corrected cameras and clock offsets (C,)."""
        layout = self.layout
        offsets = slow[layout.offsets].reshape(-1, 3)
        if not layout.n_cameras:
            return slow[layout.scales], offsets, self.cameras, jnp.zeros(self.cameras.focal.shape[0], slow.dtype)
        states = slow[layout.cameras].reshape(-1, CAMERA_STATES)
        return slow[layout.scales], offsets, corrected_cameras(self.cameras, states[:, :6]), states[:, 6]


def _time_derivative(values: Array, time: Array, valid: Array) -> Array:
    """Central differences along axis 0, one-sided (second order where three frames exist) at the ends; zero where a neighbour is missing."""
    shape = (-1,) + (1,) * (values.ndim - 1)
    step = jnp.maximum(jnp.diff(time), 1e-4)
    use = (valid[1:] * valid[:-1]).reshape(shape)
    slope = jnp.diff(values, axis=0) / step.reshape(shape) * use
    weight = step.reshape(shape) * use
    middle = (slope[1:] * weight[:-1] + slope[:-1] * weight[1:]) / jnp.maximum(weight[1:] + weight[:-1], 1e-6)
    one_sided = (use[1:] + use[:-1]) < 2
    middle = jnp.where(one_sided, slope[1:] + slope[:-1], middle)
    last = slope[-1] + 0.5 * (slope[-1] - slope[-2]) * use[-2] * use[-1]
    return jnp.concatenate([slope[:1], middle, last[None]])


def _both(matrix: Array, rows: slice, columns: slice, block: Array) -> Array:
    """Set an off-diagonal block and its transpose."""
    return matrix.at[rows, columns].set(block).at[columns, rows].set(block.T)


def _block_diagonal(blocks: Array) -> Array:
    """(B, n, n) to (B n, B n)."""
    count, n, _ = blocks.shape
    index = jnp.arange(count)
    return jnp.zeros((count, n, count, n), blocks.dtype).at[index, :, index].set(blocks).reshape(count * n, count * n)


def _chain_matrix(diagonal: Array, coupling: Array) -> Array:
    """Motion terms (T, N), (T, ORDER, N) of a few frames as a full matrix (T N, T N)."""
    frames, n = diagonal.shape
    blocks = jnp.zeros((frames, n, frames, n), diagonal.dtype)
    index = jnp.arange(n)
    for t in range(frames):
        blocks = blocks.at[t, index, t, index].set(diagonal[t])
        for d in range(min(ORDER, frames - t - 1)):
            blocks = blocks.at[t, index, t + d + 1, index].set(coupling[t, d]).at[t + d + 1, index, t, index].set(coupling[t, d])
    return blocks.reshape(frames * n, frames * n)


