"""Robust kernels as iteratively re-weighted least squares: each maps a squared, whitened residual norm to (cost, weight)."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

Kernel = Callable[[Array, Array], tuple[Array, Array]]


def none(m: Array, c: Array) -> tuple[Array, Array]:
    """Plain least squares."""
    return 0.5 * m, jnp.ones_like(m)


def huber(m: Array, c: Array) -> tuple[Array, Array]:
    """Quadratic up to c standard deviations, linear beyond."""
    norm = jnp.sqrt(jnp.maximum(m, 1e-12))
    inside = norm <= c
    return jnp.where(inside, 0.5 * m, c * (norm - 0.5 * c)), jnp.where(inside, 1.0, c / norm)


def cauchy(m: Array, c: Array) -> tuple[Array, Array]:
    """Logarithmic growth."""
    return 0.5 * c * c * jnp.log1p(m / (c * c)), 1 / (1 + m / (c * c))


def geman_mcclure(m: Array, c: Array) -> tuple[Array, Array]:
    """Bounded cost c^2 / 2: an outlier stops counting (Geman and McClure 1987)."""
    k = c * c / (c * c + m)
    return 0.5 * m * k, k * k


KERNELS: dict[str, Kernel] = {"none": none, "huber": huber, "cauchy": cauchy, "geman_mcclure": geman_mcclure}
