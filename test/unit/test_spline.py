"""The spline's basis: partition of unity, derivative, agreement with scipy's B-splines."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BSpline

from biomech_fit.core.spline import basis

KNOTS = 9
U = np.r_[0.0, 1.0, 3.0, KNOTS - 4.0, KNOTS - 3.0001, np.linspace(0.01, KNOTS - 3.01, 40)]


def test_weights_sum_to_one_and_slopes_to_zero() -> None:
    value, slope = basis(jnp.asarray(U, jnp.float32), KNOTS)
    np.testing.assert_allclose(np.sum(value, 1), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.sum(slope, 1), 0.0, atol=1e-6)
    assert np.min(value) >= -1e-7


def test_agrees_with_scipy() -> None:
    control = np.random.default_rng(0).standard_normal((KNOTS, 3))
    oracle = BSpline(np.arange(KNOTS + 4) - 3.0, control, 3)
    value, slope = basis(jnp.asarray(U, jnp.float32), KNOTS)
    # float32 positions up to 6: 5e-7, times a slope of a few.
    np.testing.assert_allclose(value @ control, oracle(U), atol=5e-6)
    np.testing.assert_allclose(slope @ control, oracle.derivative()(U), atol=1e-5)


def test_slope_is_the_derivative_of_the_value() -> None:
    with jax.enable_x64(True):
        step = 1e-5
        inside = U[np.abs(U - np.round(U)) > 1e-3]
        value = [basis(jnp.asarray(inside + s), KNOTS)[0] for s in (-step, step)]
        _, slope = basis(jnp.asarray(inside), KNOTS)
        # Error of central differences: step^2 / 6 of the third derivative. (At the knots the float32 sixths leave a jump of 1e-8, which step would blow up.)
        np.testing.assert_allclose((value[1] - value[0]) / (2 * step), slope, atol=1e-8)


def test_straight_lines_are_kept() -> None:
    """Control points on a line give the line, at the same speed: what `extend` relies on."""
    control = np.arange(KNOTS, dtype=float) - 1.0  # the spline at u is the line at control index u + 1
    value, slope = basis(jnp.asarray(U, jnp.float32), KNOTS)
    np.testing.assert_allclose(value @ control, U, atol=5e-6)
    np.testing.assert_allclose(slope @ control, 1.0, atol=1e-5)


@pytest.mark.parametrize("u", [-1.0, KNOTS + 5.0])
def test_outside_nothing_breaks(u: float) -> None:
    value, slope = basis(jnp.asarray([u], jnp.float32), KNOTS)
    assert np.isfinite(value).all() and np.isfinite(slope).all()
