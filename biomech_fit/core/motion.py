"""The motion prior, ranges of motion and weak pose prior: residuals that are diagonal in the coordinates.

Motion model: the third derivative of every coordinate is white noise of a given strength. A cubic spline's third derivative is constant between knots,
so the model is exactly a white sequence of third differences of the control points; weak white acceleration and velocity keep long gaps from running away.
"""

from __future__ import annotations

from math import comb
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

REFERENCE_STEP_S = 1 / 60
"""The body model's jerk_std is the RMS of the third derivative averaged over this long."""
ACCELERATION_MEMORY_S = 0.1
"""Accelerations are correlated over about this long: so many seconds count as one sample of the acceleration prior."""
VELOCITY_STD = 3.0
"""rad/s or m/s: far above everyday motion; only a gap is long enough to feel it."""
VELOCITY_MEMORY_S = 0.2
POSE_MEMORY_S = 0.25
"""The same for the weak pose prior."""

class ChainTerms(NamedTuple):
    """Information and gradient of terms that are diagonal in the coordinates, on control points c (Q, N)."""

    diagonal: Array
    """(Q, N)"""
    coupling: Array
    """(Q, 3, N) between control point q and q + d + 1; zero beyond the end."""
    gradient: Array
    """(Q, N)"""


def _differences(c: Array, order: int, information: Array, spacing_s: float) -> ChainTerms:
    """Terms of 0.5 sum information (difference / spacing^order)^2."""
    count = c.shape[0] - order
    weight = [(-1) ** (order - i) * comb(order, i) / spacing_s**order for i in range(order + 1)]
    value = sum(w * c[i : count + i] for i, w in enumerate(weight)) * information
    diagonal, gradient, coupling = jnp.zeros_like(c), jnp.zeros_like(c), jnp.zeros((c.shape[0], 3, c.shape[1]), c.dtype)
    for i, a in enumerate(weight):
        diagonal = diagonal.at[i : count + i].add(a * a * information)
        gradient = gradient.at[i : count + i].add(a * value)
        for d, b in enumerate(weight[i + 1 :]):
            coupling = coupling.at[i : count + i, d].add(a * b * information)
    return ChainTerms(diagonal, coupling, gradient)


def motion_prior(c: Array, spacing_s: float, jerk_std: Array, acceleration_std: Array) -> ChainTerms:
    """White jerk, weak white acceleration and velocity on control points (Q, N), `spacing_s` apart."""
    jerk = _differences(c, 3, spacing_s / (REFERENCE_STEP_S * jerk_std**2), spacing_s)
    acceleration = _differences(c, 2, spacing_s / (ACCELERATION_MEMORY_S * acceleration_std**2), spacing_s)
    velocity = _differences(c, 1, jnp.full_like(jerk_std, spacing_s / (VELOCITY_MEMORY_S * VELOCITY_STD**2)), spacing_s)
    return ChainTerms(*(a + b + v for a, b, v in zip(jerk, acceleration, velocity, strict=True)))


def lingering(c: Array, spacing_s: float, memory_s: float, std: Array) -> ChainTerms:
    """What makes the pose prior one of poses that linger for `memory_s`, together with `pose_terms` of the same memory.

    A stationary Ornstein-Uhlenbeck process x of standard deviation s and correlation time T has minus twice the log density
    (int (T x'^2 + x^2 / T) dt + x_0^2 + x_1^2) / (2 s^2): an unseen coordinate is as unsure as its prior says for as long as it is unseen,
    where independent samples of the prior would add up.
    """
    return _differences(c, 1, spacing_s * memory_s / (2 * std**2), spacing_s)


def pose_terms(
    x: Array, share_s: float, lower: Array, upper: Array, limit_std: float, mean: Array, std: Array, memory_s: float | None = None
) -> tuple[Array, Array]:
    """Information and gradient (Q, N) of the ranges of motion (one-sided quadratic) and the weak pose prior; each row stands for `share_s` of time.

    `memory_s`: the poses linger for so long (see `lingering`); None = they are new every `POSE_MEMORY_S`.
    """
    beyond = jnp.maximum(x - upper, 0) - jnp.maximum(lower - x, 0)
    outside = (beyond != 0).astype(x.dtype) / limit_std**2
    if memory_s is None:
        prior = share_s / POSE_MEMORY_S / std**2
    else:
        # The last row bears the end of the process.
        last = (jnp.arange(x.shape[0]) == x.shape[0] - 1)[:, None]
        prior = (share_s / memory_s + last) / (2 * std**2)
    return outside + prior, outside * beyond + prior * (x - mean)
