"""Reprojection and point residuals, reduced to one 3 x 3 information matrix per keypoint.

All cameras' information about one keypoint in one frame is summed before it meets the body's Jacobian, so that cost hardly grows with their number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from biomech_fit.core import rotation
from biomech_fit.core.point_residuals import PointObservations
from biomech_fit.core.projection import CameraArrays, distort_and_jacobian, intrinsic_jacobian
from biomech_fit.core.robust import Kernel

Lens = Callable[[CameraArrays, Array], tuple[Array, Array, Array]]
"""Points (T, C, K, 3) in the cameras' frames to pixels (T, C, K, 2), their Jacobian (T, C, K, 2, 3) and validity (T, C, K)."""

CAMERA_STATES = 7
"""Per camera: rotation vector (3, camera axes), centre (3, world), clock offset (1)."""

LENS_STATES = {"none": 0, "focal": 1, "focal_distortion": 3}
"""Per camera, on request (`refine.intrinsics`): the logarithm of a factor on the focal lengths, and what is added to k1 and k2."""
LensJacobian = Callable[[CameraArrays, Array, Array], list[Array]]
"""Points (T, C, K, 3) in the cameras' frames and their pixels to the pixels' derivatives (T, C, K, 2) by each lens state."""


class PointInformation(NamedTuple):
    """What the observations say of T x K points: information, and its product with the residual."""

    matrix: Array
    """(T, K, 3, 3) 1/m^2."""
    vector: Array
    """(T, K, 3) 1/m: J^T W r with r = observed - predicted."""
    change: Array | None = None
    """(T, K, 3, 3) 1/m^2 about how far the point has moved since the frame before; None = only places are observed."""


class CameraInformation(NamedTuple):
    """The same for the cameras' own S states (`CAMERA_STATES`, then the lens states) and their coupling to the points."""

    point_coupling: Array
    """(T, C, S, K, 3)"""
    matrix: Array
    """(T, C, S, S)"""
    vector: Array
    """(T, C, S)"""


class Observations(NamedTuple):
    """Detected keypoints of T frames, C cameras and K keypoints."""

    uv: Array
    """(T, C, K, 2) px; anything finite where the weight is 0."""
    information: Array
    """(T, C, K) 1/px^2 before the robust kernel; 0 = missing."""
    delay: Array
    """(T, C) s: the camera's stamp minus the frame's stamp."""
    share: Array
    """(T,) how many independent frames each stands for: less than 1 where errors are correlated in time. The robust kernel does not feel it."""
    points: PointObservations | None = None
    """3D points; None = the solver takes none."""
    change: Array | None = None
    """(T,) information of the change of an error since the frame before, as a multiple of the error's own: errors that are correlated in time are known to
    change little, however large they are. 0 = nothing is known of the change; None = of no change at all."""


def make_lens(has_distortion: bool, has_fisheye: bool) -> Lens:
    """The cameras' lens functions, side by side; the flags leave out what no camera of the rig has."""

    def lens(cameras: CameraArrays, points: Array) -> tuple[Array, Array, Array]:
        return distort_and_jacobian(_side_by_side(cameras), points, has_distortion=has_distortion, has_fisheye=has_fisheye)

    return lens


def make_lens_jacobian(lens_states: int, has_fisheye: bool) -> LensJacobian | None:
    """The derivatives by the lens states; None where there are none."""
    if not lens_states:
        return None

    def jacobian(cameras: CameraArrays, points: Array, uv: Array) -> list[Array]:
        return intrinsic_jacobian(_side_by_side(cameras), points, uv, lens_states, has_fisheye=has_fisheye)

    return jacobian


def _side_by_side(cameras: CameraArrays) -> CameraArrays:
    """The lens functions are elementwise: a camera whose entries are (C, 1) is C cameras, and the arrays need not be turned for a vmap."""
    return cameras._replace(
        focal=cameras.focal.T[..., None],
        centre=cameras.centre.T[..., None],
        distortion=cameras.distortion.T[..., None],
        fisheye=cameras.fisheye[:, None],
        max_tan_squared=cameras.max_tan_squared[:, None],
    )


def corrected_cameras(cameras: CameraArrays, correction: Array) -> CameraArrays:
    """Cameras with rotation vector and centre corrections (C, 6): R = exp(w) R0, c = c0 + d, t = -R c."""
    turn = rotation.exp(correction[:, :3]) @ cameras.rotation
    centre = -jnp.squeeze(jnp.swapaxes(cameras.rotation, -1, -2) @ cameras.translation[..., None], -1) + correction[:, 3:6]
    return cameras._replace(rotation=turn, translation=-jnp.squeeze(turn @ centre[..., None], -1))


def corrected_lenses(cameras: CameraArrays, correction: Array) -> CameraArrays:
    """Cameras with lens states (C, 1 or 3)."""
    cameras = cameras._replace(focal=cameras.focal * jnp.exp(correction[:, :1]))
    return cameras if correction.shape[1] == 1 else cameras._replace(distortion=cameras.distortion.at[:, :2].add(correction[:, 1:]))


def reprojection(
    points: Array,
    velocity: Array,
    cameras: CameraArrays,
    lens: Lens,
    clock: Array,
    observed: Observations,
    kernel: Kernel,
    scale: Array,
    lens_jacobian: LensJacobian | None = None,
) -> tuple[PointInformation, CameraInformation, Array, Array]:
    """Robust reprojection residuals of points (T, K, 3) moving at velocity (T, K, 3) m/s in already corrected cameras with clock offsets (C,) s.

    A camera that stamps t and exposes at t + clock sees the point at points + velocity (delay + clock).
    Returns the points' and the cameras' information, the error in pixels (T, C, K) (NaN-free; meaningless at weight 0) and the robust cost.

    An error r that is a first-order autoregressive process of correlation rho has, with information w = 1 / sigma^2 of a single frame,
    -2 log p = sum_t (r_t - rho r_t-1)^2 w / (1 - rho^2) = sum_t share w r_t^2 + change w (r_t - r_t-1)^2, share = (1 - rho) / (1 + rho),
    change = rho / (1 - rho^2). The gradient is exact; of the second term's information only that on the points' movement is kept.
    """
    # Components first, keypoints last: loops then run over whole vectors, and products with the body's Jacobian need no transposition.
    shift = (observed.delay + clock)[:, :, None]
    moving = [velocity[:, None, :, a] for a in range(3)]
    seen = [points[:, None, :, a] + moving[a] * shift for a in range(3)]
    turn, place = cameras.rotation[:, None], cameras.translation[:, None]
    in_camera = [sum(turn[..., a, b] * seen[b] for b in range(3)) + place[..., a] for a in range(3)]
    joined = jnp.stack(in_camera, -1)
    uv, by_camera_point, visible = lens(cameras, joined)
    error = [observed.uv[..., i] - uv[..., i] for i in range(2)]
    squared = error[0] * error[0] + error[1] * error[1]
    information = observed.information * visible
    share = observed.share[:, None, None]
    cost, weight = kernel(squared * information, scale)
    single = weight * information
    weight = single * share
    rows = [[by_camera_point[..., i, :][..., a] for a in range(3)] for i in range(2)]
    by_point = [[sum(row[b] * turn[..., b, a] for b in range(3)) for a in range(3)] for row in rows]
    # Rotation about the camera's centre moves the point by w x p_cam; moving the centre moves it the other way; the clock moves it along its velocity.
    x, y, z = in_camera
    by_turn = [[y * row[2] - z * row[1], z * row[0] - x * row[2], x * row[1] - y * row[0]] for row in rows]
    by_clock = [sum(row[a] * moving[a] for a in range(3)) for row in by_point]
    frames, count, k = squared.shape
    states = [[by_turn[i][a] for i in range(2)] for a in range(3)] + [[-by_point[i][a] for i in range(2)] for a in range(3)] + [by_clock]
    if lens_jacobian is not None:
        states += [[row[..., i] for i in range(2)] for row in lens_jacobian(cameras, joined, uv)]
    by_state = jnp.stack([part for row in states for part in row], 2).reshape(frames, count, len(states), 2, k)
    point_rows = jnp.stack([by_point[i][a] for a in range(3) for i in range(2)], 2).reshape(frames, count, 3, 2, k)
    weighted = point_rows * weight[:, :, None, None]
    errors = jnp.stack(error, 2)
    pull, change = errors * weight[:, :, None], None
    matrix = jnp.sum(weighted[:, :, :, None] * point_rows[:, :, None], (1, 4))
    if observed.change is not None:
        both = observed.change[1:, None, None] * jnp.sqrt(single[1:] * single[:-1])
        apart = (errors[1:] - errors[:-1]) * both[:, :, None]
        pull = pull.at[1:].add(apart).at[:-1].add(-apart)
        moved = jnp.sum((point_rows[1:] * both[:, :, None, None])[:, :, :, None] * point_rows[1:, :, None], (1, 4))
        change = jnp.moveaxis(jnp.pad(moved, ((1, 0), (0, 0), (0, 0), (0, 0))), -1, 1)
    vector = jnp.sum(point_rows * pull[:, :, None], (1, 3))
    coupling = sum(by_state[:, :, :, None, i] * weighted[:, :, None, :, i] for i in range(2))
    flat = by_state.reshape(frames, count, len(states), 2 * k)
    state_weighted = (by_state * weight[:, :, None, None]).reshape(frames, count, len(states), 2 * k)
    camera_matrix = state_weighted @ jnp.swapaxes(flat, -1, -2)
    camera_vector = jnp.squeeze(flat @ pull.reshape(frames, count, 2 * k, 1), -1)
    point = PointInformation(jnp.moveaxis(matrix, -1, 1), jnp.swapaxes(vector, 1, 2), change)
    camera = CameraInformation(jnp.swapaxes(coupling, -1, -2), camera_matrix, camera_vector)
    return point, camera, jnp.sqrt(squared), jnp.sum(cost * share)


def point_distance(points: Array, observed: Array, information: Array, kernel: Kernel, scale: Array) -> tuple[PointInformation, Array]:
    """Robust distance of points (T, K, 3) to observed 3D points with information (T, K) 1/m^2; returns it and the cost per frame (T,)."""
    error = observed - points
    cost, weight = kernel(jnp.sum(error * error, -1) * information, scale)
    weight = weight * information
    return PointInformation(weight[..., None, None] * jnp.eye(3, dtype=points.dtype), weight[..., None] * error), jnp.sum(cost, -1)
