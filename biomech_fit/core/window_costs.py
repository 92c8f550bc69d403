"""Every cost of the window as normal equations: observations, contact, motion, ranges, priors and what left the window."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from biomech_fit.core import spline
from biomech_fit.core.body import BodyModel
from biomech_fit.core.contact import ContactNoise, contact
from biomech_fit.core.frame_terms import Kept, Linearisation, PoseTerms, chain_on_control_points, cross_on_control_points, joined
from biomech_fit.core.kinematics import Keypoints, Kinematics
from biomech_fit.core.linear import ORDER, ArrowSystem, Chain, chain_with_head
from biomech_fit.core.motion import ChainTerms, lingering, motion_prior, pose_terms
from biomech_fit.core.point_residuals import PointCosts, point_terms
from biomech_fit.core.projection import CameraArrays
from biomech_fit.core.residuals import (
    CAMERA_STATES,
    PointInformation,
    corrected_cameras,
    corrected_lenses,
    make_lens,
    make_lens_jacobian,
    reprojection,
)
from biomech_fit.core.robust import KERNELS
from biomech_fit.core.window import SlowLayout, SlowPrior, Window

COMMON_CLOCK = 100.0
"""The mean of all clocks is held by so much more information than it has from their own priors."""


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
    points: PointCosts | None = None
    """How observed 3D points are compared; None = there are none."""
    contact: ContactNoise | None = None
    """Feet rest on the floor; None = nothing is assumed."""
    contact_samples: float = 1 / 3
    """How many independent samples of contact one frame stands for."""
    kernel: str = "geman_mcclure"
    kernel_scale: float = 4.0
    jerk_scale: float = 1.0
    acceleration_scale: float = 1.0
    pose_std_factor: float = 1.0
    pose_memory_s: float | None = None
    """Unseen poses linger for about so long; None = every `motion.POSE_MEMORY_S` is a new sample of the pose prior."""
    limit_std: float = 0.05
    damping: float = 1e-4
    memory_s: float = 120.0
    """What left the window is forgotten with this time constant."""
    renewed_share: float = 1 / 3
    """Of the window's frames, the newest: what a step with held slow states linearises anew. The poses of the others hardly move."""
    linear_solver: str = "banded"
    has_distortion: bool = True
    has_fisheye: bool = False
    lens_states: int = 0
    """Lens states of each camera that are estimated, too (`residuals.LENS_STATES`)."""


class WindowCosts:
    """The costs for one body model, number of cameras and keypoint set, ready to be traced by jit."""

    def __init__(self, body: BodyModel, n_cameras: int, options: SolverOptions):
        if np.any(body.keypoint_body < 0):
            raise ValueError("the solver takes only keypoints that the body model has")
        self.body, self.options = body, options
        self.kinematics = Kinematics(body)
        estimated = n_cameras if options.refine_cameras else 0
        self.layout = SlowLayout(len(body.scale_names), len(body.keypoint_names), estimated, options.contact is not None, options.lens_states)
        if self.layout.has_floor and not body.foot_points:
            raise ValueError("a model without sole points cannot stand on a floor")
        self._renewed = max(round(options.frames * options.renewed_share), 1)
        self._kernel = KERNELS[options.kernel]
        self.lens = make_lens(options.has_distortion, options.has_fisheye)
        self._lens_jacobian = make_lens_jacobian(options.lens_states, options.has_fisheye)
        rows = _row_order(body)
        self.jerk_std = jnp.asarray(body.jerk_std[rows] * options.jerk_scale, jnp.float32)
        self.acceleration_std = jnp.asarray(body.acceleration_std[rows] * options.acceleration_scale, jnp.float32)
        self._pose_mean = jnp.asarray(body.pose_mean, jnp.float32)
        self._pose_std = jnp.asarray(np.where(np.isfinite(body.pose_std), body.pose_std * options.pose_std_factor, 1e6), jnp.float32)
        self._lower, self._upper = (jnp.asarray(np.clip(a, -1e6, 1e6), jnp.float32) for a in (body.lower, body.upper))
        self.keypoint_local = np.asarray(body.keypoint_position, np.float32)
        self._sole_body = np.array([b for b, _ in body.foot_points.values()], np.int32)
        self._sole_local = np.array([p for _, p in body.foot_points.values()], np.float32)

    def linearise(self, window: Window, widen: Array) -> Linearisation:
        """Observations' information on the frames' poses and the slow states at the current estimate."""
        value, slope = spline.basis(window.u, window.control.shape[0])
        return self.linearise_at(value @ window.control, slope @ window.control, window, widen)

    def renew(self, window: Window, kept: Kept, count: int | None = None) -> tuple[PoseTerms, Kept]:
        """Every frame's terms at the current estimate with the slow states held: the newest frames' made anew (`count` of them, None = the share in the
        options), the others' carried over."""
        value, slope = spline.basis(window.u, window.control.shape[0])
        x, by_u = value @ window.control, slope @ window.control
        new = slice(len(x) - (count or self._renewed), None)
        newest = window._replace(u=window.u[new], valid=window.valid[new], observed=jax.tree.map(lambda a: a[new], window.observed))
        made = Kept(self.linearise_at(x[new], by_u[new], newest, jnp.float32(1.0)).poses, x[new], by_u[new])
        old = jax.tree.map(lambda a: a[: new.start], kept)
        carried = old.at(x[: new.start], by_u[: new.start], window.valid[: new.start])
        return joined(carried, made.terms), joined(old, made)

    def linearise_at(self, x: Array, by_u: Array, window: Window, widen: Array) -> Linearisation:
        """The same at poses x (T, N) and their derivatives by u, wherever these come from; `window.reference` may be each frame's own, (T, 3, 3)."""
        layout, body = self.layout, self.body
        scales, offsets, cameras, clock = self.unpack(window)
        poses = self.kinematics.poses(x, window.reference, scales)
        keypoints = self.kinematics.keypoints(poses, scales, body.keypoint_body, self.keypoint_local, offsets)
        velocity = self.keypoint_velocity(keypoints, by_u)
        observed = window.observed._replace(information=window.observed.information * window.valid[:, None, None])
        point, camera, _, cost = reprojection(
            keypoints.position, velocity, cameras, self.lens, clock, observed, self._kernel, self.options.kernel_scale * widen, self._lens_jacobian
        )
        joined = None
        if self.options.points is not None:
            seen = observed.points._replace(information=observed.points.information * window.valid[:, None])
            terms = point_terms(keypoints.position, seen, observed.share, self.options.points, self._kernel, self.options.kernel_scale * widen)
            point, joined, cost = PointInformation(point.matrix + terms.matrix, point.vector + terms.vector), terms.joined, cost + terms.cost
        frames, k = keypoints.position.shape[:2]
        k3, n, s = 3 * k, self.kinematics.n_coordinates, layout.n_scales
        # Components before keypoints, as the residuals and the kinematics make them.
        by_pose, by_scale = jnp.swapaxes(keypoints.by_pose, 1, 2), jnp.swapaxes(keypoints.by_scale, 1, 2)
        turn, matrix, vector = (jnp.moveaxis(a, 1, -1) for a in (keypoints.by_offset, point.matrix, point.vector))
        weighted, weighted_scale = _apply(matrix, by_pose), _apply(matrix, by_scale)
        flat, flat_scale = by_pose.reshape(frames, k3, n), by_scale.reshape(frames, k3, s)
        if joined is not None:
            square = joined.reshape(frames, k3, k3)
            weighted, weighted_scale = weighted + (square @ flat).reshape(weighted.shape), weighted_scale + (square @ flat_scale).reshape(weighted_scale.shape)
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
        if joined is not None:
            corner = corner.at[layout.offsets, layout.offsets].add(jnp.einsum("tajk,takbl,tbil->kjli", turn, joined, turn).reshape(k3, k3))
        corner_rhs = [jnp.squeeze(gradient @ flat_scale, 1).sum(0), jnp.sum(turn * vector[:, :, None], (0, 1)).T.reshape(-1)]
        if layout.n_cameras:
            states, own = (CAMERA_STATES + layout.n_lens) * layout.n_cameras, layout.by_camera
            coupling = jnp.swapaxes(camera.point_coupling, -1, -2).reshape(frames, states, 3, k)
            by_camera = coupling.reshape(frames, states, k3) @ flat
            if layout.n_lens:
                each = by_camera.reshape(frames, layout.n_cameras, -1, n)
                cross += [each[:, :, :CAMERA_STATES].reshape(frames, -1, n), each[:, :, CAMERA_STATES:].reshape(frames, -1, n)]
            else:
                cross.append(by_camera)
            camera_scale = _total(coupling.reshape(frames, states, k3) @ flat_scale)
            camera_offset = jnp.sum(coupling[:, :, :, None] * turn[:, None], (0, 2))
            corner = _both(corner, layout.scales, own, camera_scale.T)
            corner = _both(corner, layout.offsets, own, camera_offset.transpose(2, 1, 0).reshape(k3, states))
            block, vector = _block_diagonal(camera.matrix.sum(0)), camera.vector.sum(0)
            if layout.n_lens:
                corner = corner.at[np.ix_(own, own)].set(block)
                corner_rhs += [vector[:, :CAMERA_STATES].reshape(-1), vector[:, CAMERA_STATES:].reshape(-1)]
            else:
                corner = corner.at[own, own].set(block)
                corner_rhs.append(vector.reshape(-1))
        pose, rhs, rate, rate_rhs = jnp.swapaxes(flat, 1, 2) @ weighted.reshape(frames, k3, n), jnp.squeeze(gradient @ flat, 1), None, None
        if self.options.contact is not None:
            motion = by_u / self.options.spacing_s
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
        change = None
        if point.change is not None:
            change = jnp.swapaxes(flat, 1, 2) @ _apply(jnp.moveaxis(point.change, 1, -1), by_pose).reshape(frames, k3, n)
        return Linearisation(cost, PoseTerms(pose, rhs, rate, rate_rhs, change), tuple(cross), corner, jnp.concatenate(corner_rhs))

    def system(self, window: Window, lin: Linearisation, damping: Array) -> ArrowSystem:
        """Observations, motion, ranges, pose prior, slow prior and head as one linear system for the step."""
        chain, prior = self.chain(window, lin.poses, damping), self.slow_precision(window.prior, window.slow)
        head, head_rhs, split = window.head.information, _head_rhs(window), ORDER * window.control.shape[1]
        cross = cross_on_control_points(window, lin).at[:ORDER].add(head[:split, split:].reshape(ORDER, -1, len(prior)))
        corner = lin.corner + prior + head[split:, split:]
        corner_rhs = lin.corner_rhs + prior @ (window.prior.mean - window.slow) + head_rhs[split:]
        return ArrowSystem(chain.diagonal, chain.band, cross, corner, chain.rhs, corner_rhs)

    def chain(self, window: Window, terms: PoseTerms, damping: Array) -> Chain:
        """The same for the poses alone, the slow states known."""
        observed = chain_on_control_points(window, terms)
        motion, diagonal, gradient = self.priors(window)
        # Damping is relative to the observations alone: the motion prior's stiff modes would otherwise hold back the slow ones.
        diagonal = diagonal + motion.diagonal + damping * jnp.diagonal(observed.diagonal, axis1=1, axis2=2)
        split = ORDER * window.control.shape[1]
        chain = Chain(
            observed.diagonal + jax.vmap(jnp.diag)(diagonal),
            observed.band + jax.vmap(jax.vmap(jnp.diag))(motion.coupling),
            observed.rhs - motion.gradient - gradient,
        )
        return chain_with_head(chain, window.head.information[:split, :split], _head_rhs(window)[:split])

    def priors(self, window: Window) -> tuple[ChainTerms, Array, Array]:
        """Motion terms, and information and gradient of ranges and weak pose prior, on the control points."""
        spacing = self.options.spacing_s
        return self.motion(window.control), *self.pose_terms(window.control, spacing)

    def pose_terms(self, x: Array, share_s: float) -> tuple[Array, Array]:
        """Information and gradient of ranges and weak pose prior on poses (Q, N) that each stand for `share_s` of time."""
        memory = self.options.pose_memory_s
        return pose_terms(x, share_s, self._lower, self._upper, self.options.limit_std, self._pose_mean, self._pose_std, memory)

    def motion(self, control: Array) -> ChainTerms:
        """Motion terms alone, on some control points (Q, N) in a row."""
        terms = motion_prior(control, self.options.spacing_s, self.jerk_std, self.acceleration_std)
        if self.options.pose_memory_s is None:
            return terms
        more = lingering(control, self.options.spacing_s, self.options.pose_memory_s, self._pose_std)
        return ChainTerms(*(a + b for a, b in zip(terms, more, strict=True)))

    def slow_precision(self, prior: SlowPrior, slow: Array) -> Array:
        """The slow states' prior information at an estimate (M,).

        All clocks together can be turned back without any picture's objection: the motion is only moved in time. The mean of those that are on time is held.
        """
        precision = prior.precision
        if not (self.options.robust_clock and self.layout.n_cameras):
            return precision
        clock = np.arange(self.layout.cameras.start + CAMERA_STATES - 1, self.layout.cameras.stop, CAMERA_STATES)
        deviation = (slow - prior.mean)[clock]
        own = jnp.diagonal(precision)[clock]
        robust = own / (1 + own * deviation * deviation)
        together = COMMON_CLOCK * robust[:, None] * robust / jnp.sum(robust)
        return precision.at[clock[:, None], clock].set(jnp.diag(robust) + together)

    def keypoint_velocity(self, keypoints: Keypoints, slope: Array) -> Array:
        """(T, K, 3) m/s, from the poses' derivative by u (T, N)."""
        return jnp.squeeze(keypoints.by_pose @ (slope / self.options.spacing_s)[:, None, :, None], -1)

    def unpack(self, window: Window) -> tuple[Array, Array, CameraArrays, Array]:
        """Scales (S,), offsets (K, 3), corrected cameras and clock offsets (C,)."""
        layout, slow = self.layout, window.slow
        offsets = slow[layout.offsets].reshape(-1, 3)
        if not layout.n_cameras:
            return slow[layout.scales], offsets, window.cameras, jnp.zeros(window.cameras.focal.shape[0], slow.dtype)
        states = slow[layout.cameras].reshape(-1, CAMERA_STATES)
        cameras = corrected_cameras(window.cameras, states[:, :6])
        if layout.n_lens:
            cameras = corrected_lenses(cameras, slow[layout.lenses].reshape(-1, layout.n_lens))
        return slow[layout.scales], offsets, cameras, states[:, 6]


def _head_rhs(window: Window) -> Array:
    """(ORDER N + M,) the head's right side at the current estimate."""
    deviation = jnp.concatenate([window.control[:ORDER].reshape(-1), window.slow]) - window.head.anchor
    return window.head.vector - window.head.information @ deviation


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


def _both(matrix: Array, rows: slice, columns: slice | np.ndarray, block: Array) -> Array:
    """Set an off-diagonal block and its transpose."""
    return matrix.at[rows, columns].set(block).at[columns, rows].set(block.T)


def _block_diagonal(blocks: Array) -> Array:
    """(B, n, n) to (B n, B n)."""
    count, n, _ = blocks.shape
    index = jnp.arange(count)
    return jnp.zeros((count, n, count, n), blocks.dtype).at[index, :, index].set(blocks).reshape(count * n, count * n)
