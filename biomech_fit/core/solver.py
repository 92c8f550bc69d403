"""The fixed-lag smoother: a sliding window of poses on a spline, with slow states, solved by structured Gauss-Newton on every new frame.

    shift:     when time passes the last knot, fold the oldest spline interval into a Gaussian prior (marginalisation) and add a control point
    advance:   append the new frame, a few Gauss-Newton iterations, read out the newest and the lagged frame

Every cost is in `residuals` and `motion`, the linear algebra in `linear`, what enters and leaves in `window`. All arrays have fixed shapes, so everything
is compiled once, before the first frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from biomech_fit.core import spline
from biomech_fit.core.body import BodyModel
from biomech_fit.core.contact import ContactNoise, contact
from biomech_fit.core.kinematics import Keypoints, Kinematics
from biomech_fit.core.linear import ORDER, ArrowSolution, ArrowSystem, assemble_chain, solve_banded, solve_dense
from biomech_fit.core.motion import ChainTerms, motion_prior, pose_terms
from biomech_fit.core.projection import CameraArrays
from biomech_fit.core.residuals import CAMERA_STATES, Observations, corrected_cameras, make_lens, reprojection
from biomech_fit.core.result import Readout, Result
from biomech_fit.core.robust import KERNELS
from biomech_fit.core.window import Head, SlowLayout, Window, append, extend, recentre


@dataclass(frozen=True)
class SolverOptions:
    """Static choices and constants of a solver."""

    frames: int = 34
    """Frame slots: the most frames that lie on the window's spline."""
    knots: int = 19
    """Control points; knots - 3 intervals."""
    spacing_s: float = 1 / 30
    leaving_frames: int = 4
    """The most frames of one interval."""
    refine_cameras: bool = True
    robust_clock: bool = False
    """Clock offsets have a heavy-tailed (Cauchy) prior: most cameras are on time, and one may be far off."""
    contact: ContactNoise | None = None
    """Feet rest on the floor; None = nothing is assumed."""
    contact_samples: float = 1 / 3
    """How many independent samples of contact one frame stands for."""
    kernel: str = "geman_mcclure"
    kernel_scale: float = 4.0
    jerk_scale: float = 1.0
    acceleration_scale: float = 1.0
    pose_std_factor: float = 1.0
    limit_std: float = 0.05
    damping: float = 1e-4
    memory_s: float = 120.0
    """What left the window is forgotten with this time constant."""
    linear_solver: str = "banded"
    has_distortion: bool = True
    has_fisheye: bool = False


class _Linearisation(NamedTuple):
    """Observations' normal equations in T poses and the slow states."""

    cost: Array
    diagonal: Array
    """(T, N, N)"""
    cross: tuple[Array, ...]
    """Parts of the slow states by poses: scales (T, S, N), offsets (T, 3, K, N), cameras (T, 7 C, N), floor (T, FLOOR_STATES, N)."""
    corner: Array
    """(M, M)"""
    rhs: Array
    """(T, N)"""
    corner_rhs: Array
    """(M,)"""
    rate: Array | None = None
    """(T, N, N) in the poses' derivative by u."""
    rate_rhs: Array | None = None
    """(T, N)"""


class WindowSolver:
    """Compiled window solver for one body model, number of cameras and keypoint set. Holds no state: `Window` goes in and out."""

    def __init__(self, body: BodyModel, n_cameras: int, options: SolverOptions):
        if np.any(body.keypoint_body < 0):
            raise ValueError("the solver takes only keypoints that the body model has")
        self.body, self.options = body, options
        self.kinematics = Kinematics(body)
        self.layout = SlowLayout(len(body.scale_names), len(body.keypoint_names), n_cameras if options.refine_cameras else 0, options.contact is not None)
        if self.layout.has_floor and not body.foot_points:
            raise ValueError("a model without sole points cannot stand on a floor")
        self._kernel = KERNELS[options.kernel]
        self._lens = make_lens(options.has_distortion, options.has_fisheye)
        self._solve = {"banded": solve_banded, "dense": solve_dense}[options.linear_solver]
        rows = _row_order(body)
        self._jerk_std = jnp.asarray(body.jerk_std[rows] * options.jerk_scale, jnp.float32)
        self._acceleration_std = jnp.asarray(body.acceleration_std[rows] * options.acceleration_scale, jnp.float32)
        self._pose_mean = jnp.asarray(body.pose_mean, jnp.float32)
        self._pose_std = jnp.asarray(np.where(np.isfinite(body.pose_std), body.pose_std * options.pose_std_factor, 1e6), jnp.float32)
        self._lower, self._upper = (jnp.asarray(np.clip(a, -1e6, 1e6), jnp.float32) for a in (body.lower, body.upper))
        self._local = np.asarray(body.keypoint_position, np.float32)
        self._sole_body = np.array([b for b, _ in body.foot_points.values()], np.int32)
        self._sole_local = np.array([p for _, p in body.foot_points.values()], np.float32)
        self._advance_compiled = jax.jit(self._advance, donate_argnums=0)
        self._shift_compiled = jax.jit(self._shift)

    # --- the entry points ---------------------------------------------------------------------------------------------------------------------

    def advance(
        self, window: Window, uv: Array, information: Array, delay: Array, share: Array, u: Array, late: Array, iterations: Array, widen: Array
    ) -> tuple[Window, Result]:
        """Take one frame (C, K, 2), (C, K), (C,), () (see `Observations`) at u, which must lie in the last interval; then `iterations` Gauss-Newton steps.

        The robust kernel starts `widen` times wider (graduated non-convexity; 1 = steady state). `late` is the slot of the lagged frame to read out.
        A frame at u < 0 is not taken: the window is only solved again. The window that is passed in is used up.
        """
        taken, result = self._advance_compiled(window, uv, information, delay, share, u, late, iterations, widen)
        return taken._replace(head=window.head), result

    def shift(self, window: Window) -> Window:
        """Move the window on by one knot: marginalise what touches the first control point, then extend the spline.

        This one step is in float64, and so is the head it makes (numpy): the stiff motion prior is subtracted from itself here, and float32's rounding
        would add up, shift by shift, to negative information on what the prior alone knows.
        """
        with jax.enable_x64(True):
            moved = self._shift_compiled(window)
        return moved._replace(head=jax.device_get(moved.head))

    def _advance(
        self, window: Window, uv: Array, information: Array, delay: Array, share: Array, u: Array, late: Array, iterations: Array, widen: Array
    ) -> tuple[Window, Result]:
        taken = append(window, uv, information, delay, share, u)
        window = jax.tree.map(lambda a, b: jnp.where(u < 0, b, a), taken, window)

        def body(_, carry):
            window, widen, _, _ = carry
            lin = self._linearise(window, widen)
            system = self._system(window, lin, self.options.damping * (widen - 1))
            at, _ = spline.basis(self._wanted(window, late), self.options.knots)
            solution = self._solve(system, at)
            turn = jnp.max(jnp.abs(solution.step[:, 3 if self.kinematics.free_root else 0 :]))
            shrink = jnp.minimum(1.0, 0.5 / jnp.maximum(turn, 1e-6))
            step = shrink * self._settled(window.last_step, solution.step)
            window = window._replace(control=window.control + step, last_step=step, slow=window.slow + shrink * solution.slow_step)
            return window, jnp.maximum(widen * 0.7, 1.0), solution, lin.cost

        shapes = jax.eval_shape(lambda w: body(0, (w, widen, None, None)), window)
        blank = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes[2:])
        window, _, solution, cost = jax.lax.fori_loop(0, iterations, body, (window, widen, *blank))
        return window, Result(self._readout(window, late, solution), window.slow, solution.slow, cost)

    def _shift(self, window: Window) -> Window:
        exact = jax.tree.map(lambda a: a if a.dtype == bool else a.astype(jnp.float64), window)
        if self.kinematics.free_root:
            # The chart is only left when it must be: moving it bends the spline a little.
            exact = jax.lax.cond(jnp.sum(exact.control[-1, 3:6] ** 2) > 0.5**2, recentre, lambda w: w, exact)
        moved = extend(exact, self._marginalise(exact))
        rounded = jax.tree.map(lambda new, old: new.astype(old.dtype), moved, window)
        return rounded._replace(head=moved.head)

    # --- Gauss-Newton -------------------------------------------------------------------------------------------------------------------------

    def _linearise(self, window: Window, widen: Array) -> _Linearisation:
        """Observations' information on the frames' poses and the slow states at the current estimate."""
        layout, body = self.layout, self.body
        scales, offsets, cameras, clock = self._unpack(window)
        value, slope = spline.basis(window.u, window.control.shape[0])
        poses = self.kinematics.poses(value @ window.control, window.reference, scales)
        keypoints = self.kinematics.keypoints(poses, scales, body.keypoint_body, self._local, offsets)
        velocity = self._keypoint_velocity(keypoints, slope @ window.control)
        observed = window.observed._replace(information=window.observed.information * window.valid[:, None, None])
        point, camera, _, cost = reprojection(
            keypoints.position, velocity, cameras, self._lens, clock, observed, self._kernel, self.options.kernel_scale * widen
        )
        frames, k = keypoints.position.shape[:2]
        k3, n, s = 3 * k, self.kinematics.n_coordinates, layout.n_scales
        # Components before keypoints, as the residuals and the kinematics make them.
        by_pose, by_scale = jnp.swapaxes(keypoints.by_pose, 1, 2), jnp.swapaxes(keypoints.by_scale, 1, 2)
        turn, matrix, vector = (jnp.moveaxis(a, 1, -1) for a in (keypoints.by_offset, point.matrix, point.vector))
        weighted, weighted_scale = _apply(matrix, by_pose), _apply(matrix, by_scale)
        flat, flat_scale = by_pose.reshape(frames, k3, n), by_scale.reshape(frames, k3, s)
        turned = jnp.swapaxes(turn, 1, 2)
        offset_matrix = jnp.sum(_sandwich(turn, matrix), 0)
        gradient = vector.reshape(frames, 1, k3)
        cross = [jnp.swapaxes(flat_scale, 1, 2) @ weighted.reshape(frames, k3, n), _apply(turned, weighted)]
        corner = jnp.zeros((layout.size, layout.size), window.slow.dtype)
        whole = (frames * k3, s)
        corner = corner.at[layout.scales, layout.scales].set(flat_scale.reshape(whole).T @ weighted_scale.reshape(whole))
        scale_offset = _total(_apply(turned, weighted_scale)).transpose(2, 1, 0).reshape(s, k3)
        corner = _both(corner, layout.scales, layout.offsets, scale_offset)
        corner = corner.at[layout.offsets, layout.offsets].set(_block_diagonal(offset_matrix.transpose(2, 0, 1)))
        corner_rhs = [jnp.squeeze(gradient @ flat_scale, 1).sum(0), jnp.sum(turn * vector[:, :, None], (0, 1)).T.reshape(-1)]
        if layout.n_cameras:
            states = CAMERA_STATES * layout.n_cameras
            coupling = jnp.swapaxes(camera.point_coupling, -1, -2).reshape(frames, states, 3, k)
            cross.append(coupling.reshape(frames, states, k3) @ flat)
            camera_scale = _total(coupling.reshape(frames, states, k3) @ flat_scale)
            camera_offset = jnp.sum(coupling[:, :, :, None] * turn[:, None], (0, 2))
            corner = _both(corner, layout.scales, layout.cameras, camera_scale.T)
            corner = _both(corner, layout.offsets, layout.cameras, camera_offset.transpose(2, 1, 0).reshape(k3, states))
            corner = corner.at[layout.cameras, layout.cameras].set(_block_diagonal(camera.matrix.sum(0)))
            corner_rhs.append(camera.vector.sum(0).reshape(-1))
        pose, rhs, rate, rate_rhs = jnp.swapaxes(flat, 1, 2) @ weighted.reshape(frames, k3, n), jnp.squeeze(gradient @ flat, 1), None, None
        if self.options.contact is not None:
            motion = slope @ window.control / self.options.spacing_s
            soles = self.kinematics.keypoints(poses, scales, self._sole_body, self._sole_local, jnp.zeros((len(self._sole_body), 3), motion.dtype))
            share = self.options.contact_samples * window.valid
            feet = contact(soles, motion, window.up, window.slow[layout.floor], share, self.options.contact)
            rate, rate_rhs = feet.rate / self.options.spacing_s**2, feet.rate_rhs / self.options.spacing_s
            pose, rhs = pose + feet.joint[:, :n, :n], rhs + feet.joint_rhs[:, :n]
            cross[0] = cross[0] + feet.joint[:, n : n + s, :n]
            cross.append(feet.joint[:, n + s :, :n])
            total = feet.joint.sum(0)[n:, n:]
            corner = corner.at[layout.scales, layout.scales].add(total[:s, :s])
            corner = _both(corner, layout.scales, layout.floor, total[:s, s:])
            corner = corner.at[layout.floor, layout.floor].set(total[s:, s:])
            slow_rhs = feet.joint_rhs.sum(0)[n:]
            corner_rhs = [corner_rhs[0] + slow_rhs[:s], *corner_rhs[1:], slow_rhs[s:]]
        return _Linearisation(cost, pose, tuple(cross), corner, rhs, jnp.concatenate(corner_rhs), rate, rate_rhs)

    def _system(self, window: Window, lin: _Linearisation, damping: Array) -> ArrowSystem:
        """Observations, motion, ranges, pose prior, slow prior and head as one linear system for the step."""
        observed = self._on_control_points(window, lin)
        motion, diagonal, gradient = self._priors(window)
        # Damping is relative to the observations alone: the motion prior's stiff modes would otherwise hold back the slow ones.
        diagonal = diagonal + motion.diagonal + damping * jnp.diagonal(observed.diagonal, axis1=1, axis2=2)
        deviation = jnp.concatenate([window.control[:ORDER].reshape(-1), window.slow]) - window.head.anchor
        head, prior = window.head.information, self._slow_precision(window)
        head_rhs = window.head.vector - head @ deviation
        n = window.control.shape[1]
        split = ORDER * n
        blocks = head[:split, :split].reshape(ORDER, n, ORDER, n)
        full = observed.diagonal + jax.vmap(jnp.diag)(diagonal)
        band = observed.band + jax.vmap(jax.vmap(jnp.diag))(motion.coupling)
        for i in range(ORDER):
            full = full.at[i].add(blocks[i, :, i])
            for d in range(ORDER - 1 - i):
                band = band.at[i, d].add(blocks[i, :, i + d + 1])
        return ArrowSystem(
            full,
            band,
            observed.cross.at[:ORDER].add(head[:split, split:].reshape(ORDER, n, -1)),
            lin.corner + prior + head[split:, split:],
            (observed.rhs - motion.gradient - gradient).at[:ORDER].add(head_rhs[:split].reshape(ORDER, n)),
            lin.corner_rhs + prior @ (window.prior.mean - window.slow) + head_rhs[split:],
        )

    def _on_control_points(self, window: Window, lin: _Linearisation) -> ArrowSystem:
        """Spread the frames' normal equations over the control points that carry them."""
        value, slope = spline.basis(window.u, window.control.shape[0])
        knots, n = window.control.shape
        parts = [(value.T @ part.reshape(len(part), -1)).reshape(knots, *part.shape[1:]) for part in lin.cross]
        parts[1] = jnp.swapaxes(parts[1], 1, 2).reshape(knots, -1, n)
        cross = jnp.swapaxes(jnp.concatenate(parts, 1), 1, 2)
        rhs, matrices, carried = value.T @ lin.rhs, lin.diagonal, value
        if lin.rate is not None:
            rhs, matrices, carried = rhs + slope.T @ lin.rate_rhs, jnp.concatenate([matrices, lin.rate]), jnp.concatenate([value, slope])
        flat = matrices.reshape(-1, n * n)
        diagonal = ((carried * carried).T @ flat).reshape(knots, n, n)
        band = []
        for d in range(1, ORDER + 1):
            weight = jnp.pad(carried[:, :-d] * carried[:, d:], ((0, 0), (0, d)))
            band.append((weight.T @ flat).reshape(knots, n, n))
        return ArrowSystem(diagonal, jnp.stack(band, 1), cross, lin.corner, rhs, lin.corner_rhs)

    def _priors(self, window: Window) -> tuple[ChainTerms, Array, Array]:
        """Motion terms, and information and gradient of ranges and weak pose prior, on the control points."""
        spacing = self.options.spacing_s
        motion = motion_prior(window.control, spacing, self._jerk_std, self._acceleration_std)
        terms = pose_terms(window.control, spacing, self._lower, self._upper, self.options.limit_std, self._pose_mean, self._pose_std)
        return motion, *terms

    def _slow_precision(self, window: Window) -> Array:
        """The slow states' prior information at the current estimate."""
        precision = window.prior.precision
        if not (self.options.robust_clock and self.layout.n_cameras):
            return precision
        clock = np.arange(self.layout.cameras.start + CAMERA_STATES - 1, self.layout.cameras.stop, CAMERA_STATES)
        deviation = (window.slow - window.prior.mean)[clock]
        own = precision[clock, clock]
        return precision.at[clock, clock].set(own / (1 + own * deviation * deviation))

    def _keypoint_velocity(self, keypoints: Keypoints, slope: Array) -> Array:
        """(T, K, 3) m/s, from the poses' derivative by u (T, N)."""
        return jnp.squeeze(keypoints.by_pose @ (slope / self.options.spacing_s)[:, None, :, None], -1)

    def _settled(self, last: Array, step: Array) -> Array:
        """Halve the steps of control points that turn back on themselves: where residuals stay large (a biased foot, say) Gauss-Newton overshoots, and
        would swing for ever. The newest control points are left free: their steps follow the noise of new frames, not a swing."""
        settled = (jnp.arange(step.shape[0]) < step.shape[0] - ORDER - 1)[:, None]
        return jnp.where(settled & (last * step < 0), 0.5 * step, step)

    # --- what leaves ----------------------------------------------------------------------------------------------------------------------------

    def _marginalise(self, window: Window) -> Head:
        """Everything that touches the first control point, reduced to a prior on the next ones and the slow states (Schur complement)."""
        n, m, few = window.control.shape[1], self.layout.size, ORDER + 1
        start = jnp.argmax(window.valid > 0)
        take = self.options.leaving_frames
        u, valid = (jax.lax.dynamic_slice_in_dim(a, start, take) for a in (window.u, window.valid))
        observed = Observations(*(jax.lax.dynamic_slice_in_dim(a, start, take) for a in window.observed))
        leaving = window._replace(control=window.control[:few], u=jnp.minimum(u, 1.0), valid=valid * (u < 1), observed=observed)
        lin = self._linearise(leaving, jnp.float32(1.0))
        spread = self._on_control_points(leaving, lin)
        motion, diagonal, gradient = self._priors(leaving)
        rest = motion_prior(leaving.control[1:], self.options.spacing_s, self._jerk_std, self._acceleration_std)
        band = spread.band + jax.vmap(jax.vmap(jnp.diag))(motion.coupling.at[1:].add(-rest.coupling))
        full = spread.diagonal + jax.vmap(jnp.diag)(motion.diagonal.at[1:].add(-rest.diagonal))
        full = full.at[0].add(jnp.diag(diagonal[0]))
        rhs = (spread.rhs - motion.gradient.at[1:].add(-rest.gradient)).at[0].add(-gradient[0])
        split = ORDER * n
        deviation = jnp.concatenate([window.control[:ORDER].reshape(-1), window.slow]) - window.head.anchor
        head, head_vector = window.head.information, window.head.vector - window.head.information @ deviation
        chain = assemble_chain(full, band).at[:split, :split].add(head[:split, :split])
        cross = spread.cross.reshape(few * n, m).at[:split].add(head[:split, split:])
        vector = rhs.reshape(-1).at[:split].add(head_vector[:split])
        factor = jnp.linalg.cholesky(chain[:n, :n])
        root = jax.scipy.linalg.solve_triangular(factor, jnp.concatenate([chain[:n, n:], cross[:n], vector[:n, None]], 1), lower=True)
        update = root[:, :-1].T @ root
        coupled = cross[n:] - update[:split, split:-1]
        points, slow = chain[n:, n:] - update[:split, :split], lin.corner + head[split:, split:] - update[split:, split:-1]
        information = jnp.block([[0.5 * (points + points.T), coupled], [coupled.T, 0.5 * (slow + slow.T)]])
        vector = jnp.concatenate([vector[n:], lin.corner_rhs + head_vector[split:]]) - update[:, -1]
        # Uniform forgetting: it keeps the null space of what was learned, which fading single states would not.
        keep = jnp.float32(np.exp(-self.options.spacing_s / self.options.memory_s))
        anchor = jnp.concatenate([window.control[1:few].reshape(-1), window.slow])
        return Head(keep * information, keep * vector, anchor)

    # --- what comes out -------------------------------------------------------------------------------------------------------------------------

    def _wanted(self, window: Window, late: Array) -> Array:
        """(2,) positions of the newest and the lagged frame."""
        return jnp.stack([window.u[-1], window.u[late]])

    def _readout(self, window: Window, late: Array, solution: ArrowSolution) -> Readout:
        layout, body = self.layout, self.body
        scales, offsets, cameras, clock = self._unpack(window)
        value, slope = spline.basis(self._wanted(window, late), self.options.knots)
        x, by_u = value @ window.control, slope @ window.control
        poses = self.kinematics.poses(x, window.reference, scales)
        points = self.kinematics.keypoints(poses, scales, body.keypoint_body, self._local, offsets)
        speed = self._keypoint_velocity(points, by_u)
        slots = jnp.stack([jnp.asarray(window.u.shape[0] - 1, late.dtype), late])
        delay, seen = window.observed.delay[slots] + clock, window.observed.uv[slots]
        in_camera = (points.position[:, None] + speed[:, None] * delay[:, :, None, None]) @ jnp.swapaxes(cameras.rotation, -1, -2)[None]
        uv, _, _ = self._lens(cameras, in_camera + cameras.translation[None, :, None])
        # Keypoint covariance: pose and scales jointly, then each keypoint's own offset.
        s, k = layout.n_scales, layout.n_keypoints
        with_scales = solution.pose_slow[:, :, :s]
        corner = jnp.broadcast_to(solution.slow[:s, :s], (2, s, s))
        joint = jnp.concatenate(
            [jnp.concatenate([solution.pose, with_scales], 2), jnp.concatenate([jnp.swapaxes(with_scales, 1, 2), corner], 2)], 1
        )
        moves, turn = jnp.concatenate([points.by_pose, points.by_scale], -1), points.by_offset
        own = jnp.concatenate([solution.pose_slow[:, :, layout.offsets], jnp.broadcast_to(solution.slow[:s, layout.offsets], (2, s, 3 * k))], 1)
        own = own.reshape(2, -1, k, 3).transpose(0, 2, 1, 3)
        own_block = solution.slow[layout.offsets, layout.offsets].reshape(k, 3, k, 3)[jnp.arange(k), :, jnp.arange(k)]
        turned = jnp.swapaxes(turn, -1, -2)
        both = moves @ own @ turned
        covariance = moves @ joint[:, None] @ jnp.swapaxes(moves, -1, -2) + both + jnp.swapaxes(both, -1, -2) + turn @ own_block @ turned
        centres = self.kinematics.points(poses, scales, body.joint_centre_body, np.float32(body.joint_centre_position))
        return Readout(
            x,
            by_u / self.options.spacing_s,
            window.reference,
            solution.pose,
            points.position,
            speed,
            covariance,
            centres,
            jnp.linalg.norm(seen - uv, axis=-1),
            uv,
        )

    def _unpack(self, window: Window) -> tuple[Array, Array, CameraArrays, Array]:
        """Scales (S,), offsets (K, 3), corrected cameras and clock offsets (C,)."""
        layout, slow = self.layout, window.slow
        offsets = slow[layout.offsets].reshape(-1, 3)
        if not layout.n_cameras:
            return slow[layout.scales], offsets, window.cameras, jnp.zeros(window.cameras.focal.shape[0], slow.dtype)
        states = slow[layout.cameras].reshape(-1, CAMERA_STATES)
        return slow[layout.scales], offsets, corrected_cameras(window.cameras, states[:, :6]), states[:, 6]


def _total(terms: Array) -> Array:
    """Sum over the frames (T, ...), as a product: XLA would fuse a sum with what makes the terms, and then run over them column by column."""
    return (jnp.ones((1, len(terms)), terms.dtype) @ terms.reshape(len(terms), -1)).reshape(terms.shape[1:])


def _apply(matrix: Array, vectors: Array) -> Array:
    """(T, 3, 3, K) by (T, 3, K, n), keypoint by keypoint."""
    return jnp.stack([sum(matrix[:, a, b, :, None] * vectors[:, b] for b in range(3)) for a in range(3)], 1)


def _sandwich(turn: Array, matrix: Array) -> Array:
    """(T, 3, 3, K): turn^T matrix turn of each keypoint."""
    inner = [[sum(matrix[:, a, b] * turn[:, b, j] for b in range(3)) for j in range(3)] for a in range(3)]
    return jnp.stack([jnp.stack([sum(turn[:, a, i] * inner[a][j] for a in range(3)) for j in range(3)], 1) for i in range(3)], 1)


def _row_order(body: BodyModel) -> np.ndarray:
    """(N,) which named coordinate each row of the solver stands for.

    The root's rows are world x, y, z and turns about the pelvis' x (forward), y (up) and z (right);
    its names are OpenSim's: forward, up, right; tilt, list, rotation.
    """
    rows = np.arange(body.mj_model.nv)
    if body.has_free_root:
        rows[:6] = 0, 2, 1, 4, 5, 3
    return rows


def _both(matrix: Array, rows: slice, columns: slice, block: Array) -> Array:
    """Set an off-diagonal block and its transpose."""
    return matrix.at[rows, columns].set(block).at[columns, rows].set(block.T)


def _block_diagonal(blocks: Array) -> Array:
    """(B, n, n) to (B n, B n)."""
    count, n, _ = blocks.shape
    index = jnp.arange(count)
    return jnp.zeros((count, n, count, n), blocks.dtype).at[index, :, index].set(blocks).reshape(count * n, count * n)
