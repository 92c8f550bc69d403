"""Rotation vectors and matrices in JAX (float32 safe near zero)."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def skew(v: Array) -> Array:
    """(..., 3) to the (..., 3, 3) matrix with skew(v) @ u = v x u."""
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    o = jnp.zeros_like(x)
    return jnp.stack([jnp.stack([o, -z, y], -1), jnp.stack([z, o, -x], -1), jnp.stack([-y, x, o], -1)], -2)


def _coefficients(theta2: Array) -> tuple[Array, Array, Array]:
    """sin(t)/t, (1 - cos t)/t^2 and (t - sin t)/t^3 with their series near zero."""
    small = theta2 < 1e-4
    safe = jnp.where(small, 1.0, theta2)
    theta = jnp.sqrt(safe)
    a = jnp.where(small, 1 - theta2 / 6, jnp.sin(theta) / theta)
    b = jnp.where(small, 0.5 - theta2 / 24, (1 - jnp.cos(theta)) / safe)
    c = jnp.where(small, 1 / 6 - theta2 / 120, (theta - jnp.sin(theta)) / (safe * theta))
    return a, b, c


def exp(phi: Array) -> Array:
    """Rotation matrix (..., 3, 3) of the rotation vector phi (..., 3), rad (Rodrigues)."""
    a, b, _ = _coefficients(jnp.sum(phi * phi, -1))
    s = skew(phi)
    return jnp.eye(3, dtype=phi.dtype) + a[..., None, None] * s + b[..., None, None] * (s @ s)


def left_jacobian(phi: Array) -> Array:
    """(..., 3, 3) J with exp(phi + d) ~ exp(J d) exp(phi) (Barfoot, State Estimation for Robotics, eq. 7.77)."""
    _, b, c = _coefficients(jnp.sum(phi * phi, -1))
    s = skew(phi)
    return jnp.eye(3, dtype=phi.dtype) + b[..., None, None] * s + c[..., None, None] * (s @ s)


def log(matrix: Array) -> Array:
    """Rotation vector (..., 3) of a rotation matrix; exact below pi - 0.1 rad, which the moving reference orientation guarantees."""
    w = 0.5 * jnp.stack(
        [matrix[..., 2, 1] - matrix[..., 1, 2], matrix[..., 0, 2] - matrix[..., 2, 0], matrix[..., 1, 0] - matrix[..., 0, 1]], -1
    )
    sine = jnp.sqrt(jnp.sum(w * w, -1) + 1e-30)
    cosine = 0.5 * (jnp.trace(matrix, axis1=-2, axis2=-1) - 1)
    theta = jnp.arctan2(sine, cosine)
    return w * jnp.where(sine < 1e-4, 1.0, theta / sine)[..., None]


def connected(vectors: Array) -> Array:
    """(Q, 3) the same rotations as the rotation vectors given, the last one as it is, and of each one before it that vector of the two within a whole turn that
    is nearer to the one behind it: somebody who has turned by more than half a turn in between does not jump to the other side."""
    out = [vectors[-1]]
    for vector in vectors[-2::-1]:
        size = jnp.sqrt(jnp.maximum(vector @ vector, 1e-12))
        other = vector * (1 - 2 * jnp.pi / size)
        nearer = (jnp.sum((other - out[-1]) ** 2) < jnp.sum((vector - out[-1]) ** 2)) & (size > 0.1)
        out.append(jnp.where(nearer, other, vector))
    return jnp.stack(out[::-1])
