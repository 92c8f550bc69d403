"""Reprojection and point residuals, reduced to one 3 x 3 information matrix per keypoint.

All cameras' information about one keypoint in one frame is summed before it meets the body's Jacobian, so that cost hardly grows with their number.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from biomech_fit.core import rotation
from biomech_fit.core.projection import CameraArrays, distort_and_jacobian
from biomech_fit.core.robust import Kernel

Lens = Callable[[CameraArrays, Array], tuple[Array, Array, Array]]
"""Points (T, C, K, 3) in the cameras' frames to pixels (T, C, K, 2), their Jacobian (T, C, K, 2, 3) and validity (T, C, K)."""

CAMERA_STATES = 7
"""Per camera: rotation vector (3, camera axes), centre (3, world), clock offset (1)."""


class PointInformation(NamedTuple):
    """What the observations say of T x K points: information, and its product with the residual."""

    matrix: Array
    """(T, K, 3, 3) 1/m^2."""
    vector: Array
    """(T, K, 3) 1/m: J^T W r with r = observed - predicted."""


class CameraInformation(NamedTuple):
    """The same for the cameras' own states and their coupling to the points."""

    point_coupling: Array
    """(T, C, 7, K, 3)"""
    matrix: Array
    """(T, C, 7, 7)"""
    vector: Array
    """(T, C, 7)"""


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


def make_lens(has_distortion: bool, has_fisheye: bool) -> Lens:
    """The cameras' lens functions, side by side; the flags leave out what no camera of the rig has."""
    return jax.vmap(partial(distort_and_jacobian, has_distortion=has_distortion, has_fisheye=has_fisheye), in_axes=(0, 1), out_axes=1)


def corrected_cameras(cameras: CameraArrays, correction: Array) -> CameraArrays:
    """Cameras with rotation vector and centre corrections (C, 6): R = exp(w) R0, c = c0 + d, t = -R c."""
    turn = rotation.exp(correction[:, :3]) @ cameras.rotation
    centre = -jnp.squeeze(jnp.swapaxes(cameras.rotation, -1, -2) @ cameras.translation[..., None], -1) + correction[:, 3:6]
    return cameras._replace(rotation=turn, translation=-jnp.squeeze(turn @ centre[..., None], -1))


def reprojection(
    points: Array, velocity: Array, cameras: CameraArrays, lens: Lens, clock: Array, observed: Observations, kernel: Kernel, scale: Array
) -> tuple[PointInformation, CameraInformation, Array, Array]:
    """Robust reprojection residuals of points (T, K, 3) moving at velocity (T, K, 3) m/s in already corrected cameras with clock offsets (C,) s.

    A camera that stamps t and exposes at t + clock sees the point at points + velocity (delay + clock).
    Returns the points' and the cameras' information, the error in pixels (T, C, K) (NaN-free; meaningless at weight 0) and the robust cost.
    """
    shift = (observed.delay + clock)[:, :, None, None]
    seen = points[:, None] + velocity[:, None] * shift
    turn = cameras.rotation[None]
    in_camera = seen @ jnp.swapaxes(turn, -1, -2) + cameras.translation[None, :, None]
    uv, by_camera_point, visible = lens(cameras, in_camera)
    error = observed.uv - uv
    squared = jnp.sum(error * error, -1)
    information = observed.information * visible
    share = observed.share[:, None, None]
    cost, weight = kernel(squared * information, scale)
    weight = weight * information * share
    by_point = by_camera_point @ turn[:, :, None]
    weighted = by_point * weight[..., None, None]
    matrix = jnp.einsum("tckia,tckib->tkab", weighted, by_point)
    vector = jnp.einsum("tckia,tcki->tka", weighted, error)
    # Rotation about the camera's centre moves the point by w x p_cam; moving the centre moves it the other way; the clock moves it along its velocity.
    by_turn = -by_camera_point @ rotation.skew(in_camera)
    by_clock = jnp.sum(by_point * velocity[:, None, :, None], -1)
    by_state = jnp.concatenate([by_turn, -by_point, by_clock[..., None]], -1)
    coupling = jnp.einsum("tckia,tckib->tcakb", by_state, weighted)
    state_weighted = by_state * weight[..., None, None]
    camera_matrix = jnp.einsum("tckia,tckib->tcab", state_weighted, by_state)
    camera_vector = jnp.einsum("tckia,tcki->tca", state_weighted, error)
    return PointInformation(matrix, vector), CameraInformation(coupling, camera_matrix, camera_vector), jnp.sqrt(squared), jnp.sum(cost * share)


def point_distance(points: Array, observed: Array, information: Array, kernel: Kernel, scale: Array) -> tuple[PointInformation, Array]:
    """Robust distance of points (T, K, 3) to observed 3D points with information (T, K) 1/m^2; returns it and the cost per frame (T,)."""
    error = observed - points
    cost, weight = kernel(jnp.sum(error * error, -1) * information, scale)
    weight = weight * information
    return PointInformation(weight[..., None, None] * jnp.eye(3, dtype=points.dtype), weight[..., None] * error), jnp.sum(cost, -1)
