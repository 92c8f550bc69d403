"""The motion prior, ranges of motion and weak pose prior: residuals that are diagonal in the coordinates.

Motion model: every coordinate's third derivative is white noise of a given strength (an integrated random walk of third order, discretised as third
divided differences over the real stamps, so frame rate and gaps do not matter); a weak white acceleration term keeps long gaps from running away.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

REFERENCE_STEP_S = 1 / 60
"""The body model's jerk_std is the RMS of the third derivative averaged over this long."""
ACCELERATION_MEMORY_S = 0.1
"""Accelerations are correlated over about this long: so many seconds count as one sample of the acceleration prior."""
POSE_MEMORY_S = 1.0
"""The same for the weak pose prior."""


class ChainTerms(NamedTuple):
    """Information and gradient of terms that are diagonal in the coordinates."""

    diagonal: Array
    """(T, N)"""
    coupling: Array
    """(T, 3, N) between frame t and t + d + 1."""
    gradient: Array
    """(T, N)"""


def _difference_weights(time: Array, order: int) -> tuple[Array, Array]:
    """(T - order, order + 1) weights of the order-th derivative by divided differences, and the mean step (T - order,)."""
    frames = time.shape[0]
    stencil = jnp.stack([time[i : frames - order + i] for i in range(order + 1)], 1)
    gaps = stencil[:, :, None] - stencil[:, None, :] + jnp.eye(order + 1, dtype=time.dtype)
    factorial = {1: 1.0, 2: 2.0, 3: 6.0}[order]
    return factorial / jnp.prod(gaps, -1), (stencil[:, -1] - stencil[:, 0]) / order


def differences(x: Array, time: Array, valid: Array, order: int, std: Array, step_power: float, reference_s: float) -> ChainTerms:
    """Terms of 0.5 sum (x^(order) / sigma)^2 with sigma^2 = std^2 (reference_s / step)^step_power, for x (T, N), time (T,) s, std (N,)."""
    frames = x.shape[0]
    weight, step = _difference_weights(time, order)
    use = jnp.prod(jnp.stack([valid[i : frames - order + i] for i in range(order + 1)], 1), 1)
    information = use[:, None] / (std**2 * ((reference_s / step) ** step_power)[:, None])
    value = sum(weight[:, i, None] * x[i : frames - order + i] for i in range(order + 1))
    diagonal, gradient = jnp.zeros_like(x), jnp.zeros_like(x)
    coupling = jnp.zeros((frames, 3, x.shape[1]), x.dtype)
    last = frames - order
    for i in range(order + 1):
        diagonal = diagonal.at[i : last + i].add(weight[:, i, None] ** 2 * information)
        gradient = gradient.at[i : last + i].add(weight[:, i, None] * information * value)
        for d in range(1, order + 1 - i):
            coupling = coupling.at[i : last + i, d - 1].add((weight[:, i] * weight[:, i + d])[:, None] * information)
    return ChainTerms(diagonal, coupling, gradient)


def motion_prior(x: Array, time: Array, valid: Array, jerk_std: Array, acceleration_std: Array) -> ChainTerms:
    """White jerk plus weak white acceleration."""
    jerk = differences(x, time, valid, 3, jerk_std, 1.0, REFERENCE_STEP_S)
    acceleration = differences(x, time, valid, 2, acceleration_std, 1.0, ACCELERATION_MEMORY_S)
    return ChainTerms(*(a + b for a, b in zip(jerk, acceleration, strict=True)))


def pose_terms(x: Array, step: Array, lower: Array, upper: Array, limit_std: Array, mean: Array, std: Array) -> tuple[Array, Array]:
    """Information and gradient (T, N) of the ranges of motion (one-sided quadratic) and the weak pose prior; `step` (T,) s is each frame's share of time."""
    beyond = jnp.maximum(x - upper, 0) - jnp.maximum(lower - x, 0)
    outside = (beyond != 0).astype(x.dtype) / limit_std**2
    prior = (step / POSE_MEMORY_S)[:, None] / std**2
    return outside + prior, outside * beyond + prior * (x - mean)
