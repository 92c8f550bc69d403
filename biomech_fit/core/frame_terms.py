"""What the observations of single frames say as normal equations, and how these are spread over the control points that carry the frames."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from biomech_fit.core import spline
from biomech_fit.core.linear import ORDER, ArrowSystem, Chain
from biomech_fit.core.window import Window

_Frames = TypeVar("_Frames", bound=tuple)


class PoseTerms(NamedTuple):
    """Observations' normal equations in T poses, the slow states known."""

    diagonal: Array
    """(T, N, N)"""
    rhs: Array
    """(T, N)"""
    rate: Array | None = None
    """(T, N, N) in the poses' derivative by u."""
    rate_rhs: Array | None = None
    """(T, N)"""
    change: Array | None = None
    """(T, N, N) in the poses' change since the frame before."""


class Kept(NamedTuple):
    """Frames' terms from an earlier step, and the poses where they were made. They hold for the same reference orientation and slow states only."""

    terms: PoseTerms
    x: Array
    """(T, N)"""
    by_u: Array
    """(T, N)"""

    def at(self, x: Array, by_u: Array, valid: Array) -> PoseTerms:
        """The terms at other poses (T, N), to first order, of the frames that are valid (T,) still."""
        weight = valid[:, None]
        diagonal, rhs, rate, rate_rhs, _ = self.terms
        rhs = weight * (rhs - jnp.squeeze(diagonal @ (x - self.x)[..., None], -1))
        if rate is not None:
            rate_rhs, rate = weight * (rate_rhs - jnp.squeeze(rate @ (by_u - self.by_u)[..., None], -1)), weight[..., None] * rate
        return PoseTerms(weight[..., None] * diagonal, rhs, rate, rate_rhs)


class Linearisation(NamedTuple):
    """Observations' normal equations in T poses and the slow states."""

    cost: Array
    poses: PoseTerms
    cross: tuple[Array, ...]
    """Parts of the slow states by poses: scales (T, S, N), offsets (T, 3, K, N), cameras (T, 7 C, N), lenses, floor (T, FLOOR_STATES, N)."""
    corner: Array
    """(M, M)"""
    corner_rhs: Array
    """(M,)"""


def joined(a: _Frames, b: _Frames) -> _Frames:
    """Arrays of some frames, and those of the frames after them."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), a, b)


def on_control_points(window: Window, lin: Linearisation) -> ArrowSystem:
    """Spread the frames' normal equations over the control points that carry them."""
    chain, cross = chain_on_control_points(window, lin.poses), cross_on_control_points(window, lin)
    return ArrowSystem(chain.diagonal, chain.band, cross, lin.corner, chain.rhs, lin.corner_rhs)


def cross_on_control_points(window: Window, lin: Linearisation) -> Array:
    """(Q, N, M): what couples control points and slow states."""
    value, _ = spline.basis(window.u, window.control.shape[0])
    knots, n = window.control.shape
    parts = [(value.T @ part.reshape(len(part), -1)).reshape(knots, *part.shape[1:]) for part in lin.cross]
    parts[1] = jnp.swapaxes(parts[1], 1, 2).reshape(knots, -1, n)
    return jnp.swapaxes(jnp.concatenate(parts, 1), 1, 2)


def chain_on_control_points(window: Window, terms: PoseTerms) -> Chain:
    """What the frames say of the control points, the slow states known."""
    value, slope = spline.basis(window.u, window.control.shape[0])
    knots, n = window.control.shape
    rhs, matrices, carried = value.T @ terms.rhs, terms.diagonal, value
    if terms.rate is not None:
        rhs, matrices, carried = rhs + slope.T @ terms.rate_rhs, jnp.concatenate([matrices, terms.rate]), jnp.concatenate([value, slope])
    if terms.change is not None:
        # By the speed half-way, which four control points carry; the difference of two frames may need five.
        step = jnp.diff(window.u, prepend=window.u[:1])
        _, half_way = spline.basis(window.u - 0.5 * step, knots)
        matrices, carried = jnp.concatenate([matrices, terms.change]), jnp.concatenate([carried, step[:, None] * half_way])
    flat = matrices.reshape(-1, n * n)
    diagonal = ((carried * carried).T @ flat).reshape(knots, n, n)
    band = []
    for d in range(1, ORDER + 1):
        weight = jnp.pad(carried[:, :-d] * carried[:, d:], ((0, 0), (0, d)))
        band.append((weight.T @ flat).reshape(knots, n, n))
    return Chain(diagonal, jnp.stack(band, 1), rhs)
