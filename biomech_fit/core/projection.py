"""Projection of points into all cameras at once (JAX), with analytic Jacobians.

The lens models are OpenCV's: radial-tangential with rational terms (``cv2.projectPoints``) and equidistant fisheye (Kannala & Brandt 2006,
``cv2.fisheye``). Shapes are static and nothing branches on values, so everything can be jitted and vmapped over cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from biomech_fit.core.camera import MIN_DEPTH_M, Camera

_UNLIMITED = 1e30
"""Finite stand-in for 'no fold-over' that float32 holds."""


class CameraArrays(NamedTuple):
    """C cameras as arrays; take ``[c]`` of each, or ``jax.vmap`` over axis 0, for the single-camera functions below."""

    focal: jax.Array
    """(C, 2) px."""
    centre: jax.Array
    """(C, 2) px, principal point."""
    distortion: jax.Array
    """(C, 8) k1 k2 p1 p2 k3 k4 k5 k6; fisheye: k1 k2 k3 k4 and zeros."""
    fisheye: jax.Array
    """(C,) bool."""
    rotation: jax.Array
    """(C, 3, 3) world to camera."""
    translation: jax.Array
    """(C, 3) m: x_cam = rotation @ x_world + translation."""
    size: jax.Array
    """(C, 2) px, width and height."""
    max_tan_squared: jax.Array
    """(C,) squared tangent of the off-axis angle where the lens model folds over; points beyond it are invalid."""


def camera_arrays(cameras: Sequence[Camera], dtype: jnp.dtype | type = jnp.float32) -> CameraArrays:
    """Stack calibrated cameras (see `CameraArrays` for shapes and units)."""
    distortion = np.zeros((len(cameras), 8))
    for row, camera in zip(distortion, cameras, strict=True):
        row[: len(camera.distortion)] = camera.distortion

    def real(values: list, *shape: int) -> jax.Array:
        return jnp.asarray(np.array(values, float).reshape(len(cameras), *shape), dtype)

    return CameraArrays(
        focal=real([(c.matrix[0, 0], c.matrix[1, 1]) for c in cameras], 2),
        centre=real([c.matrix[:2, 2] for c in cameras], 2),
        distortion=jnp.asarray(distortion, dtype),
        fisheye=jnp.asarray([c.is_fisheye for c in cameras], bool),
        rotation=real([c.rotation for c in cameras], 3, 3),
        translation=real([c.translation for c in cameras], 3),
        size=real([(c.width, c.height) for c in cameras], 2),
        max_tan_squared=real([min(c.max_tan_squared, _UNLIMITED) for c in cameras]),
    )


def lens_flags(cameras: Sequence[Camera]) -> tuple[bool, bool]:
    """``(has_distortion, has_fisheye)``: the static flags of the functions below; a pinhole-only rig then pays for no lens model."""
    return any(c.has_distortion and not c.is_fisheye for c in cameras), any(c.is_fisheye for c in cameras)


def distort_and_jacobian(
    camera: CameraArrays, p_cam: jax.Array, *, has_distortion: bool = True, has_fisheye: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Points in one camera's frame to pixels, with the derivative.

    `camera` holds one camera (no leading axis); `p_cam` is (..., 3) in metres. Returns ``uv`` (..., 2) px, ``d uv / d p_cam`` (..., 2, 3) px/m and
    ``valid`` (...) bool. A point behind the camera or beyond the fold-over angle is not valid; its values are finite and mean nothing (they are
    those of a point on the optical axis), so that masking by multiplication with zero is safe.
    """
    depth = p_cam[..., 2]
    in_front = depth > MIN_DEPTH_M
    inverse_depth = 1.0 / jnp.where(in_front, depth, 1.0)
    x, y = p_cam[..., 0] * inverse_depth, p_cam[..., 1] * inverse_depth
    r2 = x * x + y * y
    valid = in_front & (r2 < camera.max_tan_squared)
    x, y, r2 = jnp.where(valid, x, 0.0), jnp.where(valid, y, 0.0), jnp.where(valid, r2, 0.0)
    if has_distortion or has_fisheye:
        xd, yd, xx, xy, yy = _distort(camera, x, y, r2, has_distortion, has_fisheye)
    else:
        xd, yd, xx, xy, yy = x, y, jnp.ones_like(x), jnp.zeros_like(x), jnp.ones_like(x)
    fx, fy = camera.focal[0], camera.focal[1]
    uv = jnp.stack([fx * xd + camera.centre[0], fy * yd + camera.centre[1]], -1)
    fxz, fyz = fx * inverse_depth, fy * inverse_depth
    row_u = jnp.stack([fxz * xx, fxz * xy, -fxz * (xx * x + xy * y)], -1)
    row_v = jnp.stack([fyz * xy, fyz * yy, -fyz * (xy * x + yy * y)], -1)
    return uv, jnp.stack([row_u, row_v], -2), valid


def _distort(
    camera: CameraArrays, x: jax.Array, y: jax.Array, r2: jax.Array, has_distortion: bool, has_fisheye: bool
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Distorted normalised coordinates and the three distinct entries (xx, xy, yy) of the symmetric 2x2 Jacobian.

    Both models are ``x_d = x g(r^2) + tangential``; they differ in the radial factor g and its derivative g'.
    """
    k = camera.distortion
    factor, slope = jnp.ones_like(r2), jnp.zeros_like(r2)
    p1 = p2 = jnp.zeros_like(k[0])
    if has_distortion:
        top, top_slope = 1.0 + r2 * (k[0] + r2 * (k[1] + r2 * k[4])), k[0] + r2 * (2.0 * k[1] + r2 * 3.0 * k[4])
        bottom, bottom_slope = 1.0 + r2 * (k[5] + r2 * (k[6] + r2 * k[7])), k[5] + r2 * (2.0 * k[6] + r2 * 3.0 * k[7])
        factor = top / bottom
        slope = (top_slope - factor * bottom_slope) / bottom
        p1, p2 = k[2], k[3]
    if has_fisheye:
        fisheye_factor, fisheye_slope = _fisheye_factor(k, r2)
        factor, slope = jnp.where(camera.fisheye, fisheye_factor, factor), jnp.where(camera.fisheye, fisheye_slope, slope)
        p1, p2 = jnp.where(camera.fisheye, 0.0, p1), jnp.where(camera.fisheye, 0.0, p2)
    x2, y2, cross = x * x, y * y, x * y
    xd = x * factor + 2.0 * p1 * cross + p2 * (r2 + 2.0 * x2)
    yd = y * factor + p1 * (r2 + 2.0 * y2) + 2.0 * p2 * cross
    xx = factor + 2.0 * x2 * slope + 2.0 * p1 * y + 6.0 * p2 * x
    xy = 2.0 * cross * slope + 2.0 * p1 * x + 2.0 * p2 * y
    yy = factor + 2.0 * y2 * slope + 6.0 * p1 * y + 2.0 * p2 * x
    return xd, yd, xx, xy, yy


def _fisheye_factor(k: jax.Array, r2: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Radial factor theta_d / r and its derivative by r^2 of the equidistant model."""
    # The slope is only ever multiplied by terms of size r^2, so its rounding near the axis does no harm.
    safe = jnp.maximum(r2, 1e-8)
    r = jnp.sqrt(safe)
    theta = jnp.arctan(r)
    t2 = theta * theta
    theta_d = theta * (1.0 + t2 * (k[0] + t2 * (k[1] + t2 * (k[2] + t2 * k[3]))))
    growth = 1.0 + t2 * (3.0 * k[0] + t2 * (5.0 * k[1] + t2 * (7.0 * k[2] + t2 * 9.0 * k[3])))
    factor = theta_d / r
    return factor, 0.5 * (growth / (1.0 + safe) - factor) / safe


def intrinsic_jacobian(camera: CameraArrays, p_cam: jax.Array, uv: jax.Array, count: int, *, has_fisheye: bool = False) -> list[jax.Array]:
    """Derivatives (..., 2) of pixels `uv` (..., 2) of points `p_cam` by the first `count` (1 or 3) of: the logarithm of the focal lengths, k1, k2.

    What is not valid (see `distort_and_jacobian`) is finite and means nothing.
    """
    rows = [jnp.stack([uv[..., 0] - camera.centre[0], uv[..., 1] - camera.centre[1]], -1)]
    if count == 1:
        return rows
    inverse_depth = 1.0 / jnp.where(p_cam[..., 2] > MIN_DEPTH_M, p_cam[..., 2], 1.0)
    x, y = p_cam[..., 0] * inverse_depth, p_cam[..., 1] * inverse_depth
    r2 = x * x + y * y
    valid = r2 < camera.max_tan_squared
    x, y, r2, k = jnp.where(valid, x, 0.0), jnp.where(valid, y, 0.0), jnp.where(valid, r2, 0.0), camera.distortion
    bottom = 1.0 + r2 * (k[5] + r2 * (k[6] + r2 * k[7]))
    factors = [r2 / bottom, r2 * r2 / bottom]
    if has_fisheye:
        r = jnp.sqrt(jnp.maximum(r2, 1e-8))
        theta = jnp.arctan(r)
        factors = [jnp.where(camera.fisheye, theta**power / r, factor) for power, factor in zip((3, 5), factors, strict=True)]
    return rows + [jnp.stack([camera.focal[0] * x * factor, camera.focal[1] * y * factor], -1) for factor in factors]


def to_camera_frame(camera: CameraArrays, p_world: jax.Array) -> jax.Array:
    """World points (..., 3) m to one camera's optical frame (..., 3) m."""
    return p_world @ camera.rotation.T + camera.translation


def project(cameras: CameraArrays, p_world: jax.Array, *, has_distortion: bool = True, has_fisheye: bool = False) -> tuple[jax.Array, jax.Array]:
    """World points (..., 3) m into C cameras: pixels (C, ..., 2) and validity (C, ...)."""

    def one(camera: CameraArrays) -> tuple[jax.Array, jax.Array]:
        uv, _, valid = distort_and_jacobian(camera, to_camera_frame(camera, p_world), has_distortion=has_distortion, has_fisheye=has_fisheye)
        return uv, valid

    return jax.vmap(one)(cameras)
