"""The motion prior against brute force; ranges of motion and pose prior against their derivative."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from biomech_fit.core.motion import (
    ACCELERATION_MEMORY_S,
    POSE_MEMORY_S,
    REFERENCE_STEP_S,
    VELOCITY_MEMORY_S,
    VELOCITY_STD,
    motion_prior,
    pose_terms,
)
from biomech_fit.core.spline import basis

Q, N, H = 8, 2, 1 / 30
JERK, ACCELERATION = np.array([300.0, 20.0]), np.array([40.0, 5.0])


def cost(c: np.ndarray) -> jax.Array:
    """White jerk, acceleration and velocity, each held over its own time, written down with plain differences."""
    total = 0.0
    for q in range(len(c) - 1):
        total += 0.5 * jnp.sum(H / VELOCITY_MEMORY_S * ((c[q + 1] - c[q]) / H / VELOCITY_STD) ** 2)
    for q in range(len(c) - 2):
        total += 0.5 * jnp.sum(H / ACCELERATION_MEMORY_S * ((c[q + 2] - 2 * c[q + 1] + c[q]) / H**2 / ACCELERATION) ** 2)
    for q in range(len(c) - 3):
        total += 0.5 * jnp.sum(H / REFERENCE_STEP_S * ((c[q + 3] - 3 * c[q + 2] + 3 * c[q + 1] - c[q]) / H**3 / JERK) ** 2)
    return total


def test_gradient_and_information_are_those_of_the_differences() -> None:
    """float64: rounding of third differences divided by H^3 is 1e-11 of the largest entry."""
    with jax.enable_x64(True):
        c = jnp.asarray(np.random.default_rng(0).standard_normal((Q, N)))
        terms = motion_prior(c, H, jnp.asarray(JERK), jnp.asarray(ACCELERATION))
        gradient = jax.grad(cost)(c)
        np.testing.assert_allclose(terms.gradient, gradient, rtol=1e-10, atol=1e-10 * np.abs(gradient).max())
        hessian = np.asarray(jax.hessian(cost)(c))
        found = np.zeros((Q, N, Q, N))
        for q in range(Q):
            for n in range(N):
                found[q, n, q, n] = terms.diagonal[q, n]
                for d in range(3):
                    if q + d + 1 < Q:
                        found[q, n, q + d + 1, n] = found[q + d + 1, n, q, n] = terms.coupling[q, d, n]
                    else:
                        assert terms.coupling[q, d, n] == 0
        np.testing.assert_allclose(found, hessian, atol=1e-10 * np.abs(hessian).max())


def test_third_differences_are_the_splines_jerk() -> None:
    """A cubic through each interval: its third derivative is the third difference of the control points over H^3."""
    c = np.random.default_rng(1).standard_normal(Q)
    with jax.enable_x64(True):
        for first in range(Q - 3):
            s = np.linspace(0.05, 0.95, 4)
            value, _ = basis(jnp.asarray(first + s), Q)
            cubic = np.polyfit(s * H, np.asarray(value) @ c, 3)
            third = (c[first + 3] - 3 * c[first + 2] + 3 * c[first + 1] - c[first]) / H**3
            np.testing.assert_allclose(6 * cubic[0], third, rtol=1e-4, atol=1e-4 / H**3)  # the basis is stored in float32


def test_steady_motion_costs_only_its_velocity() -> None:
    c = jnp.asarray(np.outer(np.arange(Q), [0.01, -0.02]), jnp.float32)
    terms = motion_prior(c, H, jnp.asarray(JERK, jnp.float32), jnp.asarray(ACCELERATION, jnp.float32))
    # Inside the chain even the velocity's pulls cancel. Rounding of third differences in float32 remains.
    scale = float(jnp.max(terms.diagonal))
    assert np.abs(terms.gradient[1:-1]).max() < 1e-6 * scale


def test_ranges_are_one_sided_and_the_pose_prior_weak() -> None:
    lower, upper, mean, std, share = jnp.array([-1.0]), jnp.array([0.5]), jnp.array([0.1]), jnp.array([0.4]), 0.2

    def cost(x: float) -> jax.Array:
        outside = jnp.maximum(x - 0.5, 0) + jnp.maximum(-1.0 - x, 0)
        return 0.5 * (outside / 0.05) ** 2 + 0.5 * share / POSE_MEMORY_S * ((x - 0.1) / 0.4) ** 2

    for x in (-1.3, -0.999, 0.0, 0.1, 0.49, 0.8):
        information, gradient = pose_terms(jnp.array([[x]]), share, lower, upper, 0.05, mean, std)
        np.testing.assert_allclose(gradient[0, 0], jax.grad(cost)(x), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(information[0, 0], jax.hessian(cost)(x), rtol=1e-4)
