"""The structured linear solve: a chain of frames coupled over three neighbours, bordered by the slow states.

    [ F    C ] [dx]   [f]      F block-banded (frames; blocks of N, the couplings between frames are diagonal plus a prior on the first three),
    [ C^T  S ] [ds] = [s]      C cross blocks (frames x slow), S corner (slow).

Frames are eliminated in time order, the slow states last, so that the newest frame's covariance falls out of the last block, and a prior on what
stays after the oldest frame is dropped is the state of the recursion after its first step (the Schur complement; marginalisation).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

ORDER = 3
"""A frame is coupled to this many followers (third differences)."""


class ArrowSystem(NamedTuple):
    """Normal equations of a window of T frames with N coordinates and M slow states."""

    diagonal: Array
    """(T, N, N)"""
    coupling: Array
    """(T, ORDER, N): the block between frame t and t + d + 1 is diag(coupling[t, d])."""
    cross: Array
    """(T, N, M)"""
    corner: Array
    """(M, M)"""
    rhs: Array
    """(T, N)"""
    corner_rhs: Array
    """(M,)"""
    head: Array
    """(ORDER N, ORDER N) prior information on the first ORDER frames."""
    head_cross: Array
    """(ORDER N, M)"""


class ArrowSolution(NamedTuple):
    """Step and marginal covariances."""

    step: Array
    """(T, N)"""
    slow_step: Array
    """(M,)"""
    newest: Array
    """(N, N) covariance of the last frame."""
    lagged: Array
    """(N, N) covariance of the frame `lag` before the last."""
    slow: Array
    """(M, M) covariance of the slow states."""
    newest_slow: Array
    """(N, M) covariance between the last frame and the slow states."""
    lagged_slow: Array
    """(N, M)"""


def _chain(system: ArrowSystem, columns: Array) -> tuple[Array, Array, Array]:
    """Eliminate the frames in order; returns L^-1 (T, N, N), the couplings L^-1 H_t,t+d (T, N, ORDER N) and L^-1 columns (T, N, Q)."""
    frames, n, q = columns.shape
    width = ORDER * n

    def step(carry, inputs):
        diagonal, coupling, right = inputs
        block, rest = carry
        below = jnp.pad(block[:n, n:], ((0, 0), (0, n))) + jax.vmap(jnp.diag)(coupling).transpose(1, 0, 2).reshape(n, width)
        factor = jnp.linalg.cholesky(diagonal + block[:n, :n])
        inverse = jax.scipy.linalg.solve_triangular(factor, jnp.eye(n, dtype=block.dtype), lower=True)
        done = inverse @ jnp.concatenate([below, right + rest[:n]], 1)
        update = done[:, :width].T @ done
        block = jnp.pad(block[n:, n:], ((0, n), (0, n))) - update[:, :width]
        rest = jnp.pad(rest[n:], ((0, n), (0, 0))) - update[:, width:]
        return (block, rest), (inverse, done[:, :width], done[:, width:])

    head_rest = jnp.zeros((width, q), columns.dtype).at[:, 1 : 1 + system.cross.shape[2]].set(system.head_cross)
    _, (inverse, below, done) = jax.lax.scan(step, (system.head, head_rest), (system.diagonal, system.coupling, columns))
    return inverse, below, done


def _normalise(system: ArrowSystem) -> tuple[ArrowSystem, Array, Array]:
    """Scale to a unit diagonal: units differ by six orders of magnitude, and the arithmetic is float32."""
    frames, n, _ = system.diagonal.shape
    diagonal = jnp.diagonal(system.diagonal, axis1=1, axis2=2)
    diagonal = diagonal.at[:ORDER].add(jnp.diag(system.head).reshape(ORDER, n))
    a = 1 / jnp.sqrt(jnp.maximum(diagonal, 1e-20))
    b = 1 / jnp.sqrt(jnp.maximum(jnp.diag(system.corner), 1e-20))
    ahead = jnp.pad(a, ((0, ORDER), (0, 0)), constant_values=1.0)
    follow = jnp.stack([ahead[d : d + frames] for d in range(1, ORDER + 1)], 1)
    first = a[:ORDER].reshape(-1)
    scaled = ArrowSystem(
        system.diagonal * a[:, :, None] * a[:, None, :],
        system.coupling * a[:, None, :] * follow,
        system.cross * a[:, :, None] * b,
        system.corner * b[:, None] * b,
        system.rhs * a,
        system.corner_rhs * b,
        system.head * first[:, None] * first,
        system.head_cross * first[:, None] * b,
    )
    return scaled, a, b


def solve_banded(system: ArrowSystem, lag: int) -> ArrowSolution:
    """Solve by block-banded Cholesky, as a scan over the frames."""
    frames, n, m = system.cross.shape
    system, a, b = _normalise(system)
    late = jnp.zeros((frames, n, n), system.rhs.dtype).at[frames - 1 - lag].set(jnp.eye(n, dtype=system.rhs.dtype))
    columns = jnp.concatenate([system.rhs[:, :, None], system.cross, late], 2)
    inverse, below, done = _chain(system, columns)
    y, border, late = done[:, :, 0], done[:, :, 1 : 1 + m], done[:, :, 1 + m :]
    flat = border.reshape(-1, m)
    slow_cov, root = _inverse(system.corner - flat.T @ flat)
    slow_step = root.T @ (root @ (system.corner_rhs - flat.T @ y.reshape(-1)))
    y = y - border @ slow_step

    def back(carry, inputs):
        inverse, below, y = inputs
        x = inverse.T @ (y - below @ carry)
        return jnp.concatenate([x, carry[:-n]]), x

    _, step = jax.lax.scan(back, jnp.zeros(ORDER * n, y.dtype), (inverse, below, y), reverse=True)
    tail = late[frames - 1 - lag :].reshape(-1, n)
    late_border = tail.T @ border[frames - 1 - lag :].reshape(-1, m)
    last, last_border = inverse[-1], inverse[-1].T @ border[-1]
    lagged_slow, newest_slow = -late_border @ slow_cov, -last_border @ slow_cov
    lagged = tail.T @ tail - lagged_slow @ late_border.T
    newest = last.T @ last - newest_slow @ last_border.T
    ends, lags = a[-1], a[frames - 1 - lag]
    return ArrowSolution(
        step * a,
        slow_step * b,
        newest * ends[:, None] * ends,
        lagged * lags[:, None] * lags,
        slow_cov * b[:, None] * b,
        newest_slow * ends[:, None] * b,
        lagged_slow * lags[:, None] * b,
    )


def _inverse(matrix: Array) -> tuple[Array, Array]:
    """Inverse of a positive definite matrix and the inverse of its Cholesky factor."""
    eye = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    root = jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(matrix), eye, lower=True)
    return root.T @ root, root


def assemble_dense(system: ArrowSystem) -> tuple[Array, Array]:
    """The whole matrix (T N + M)^2 and right side: what a GPU factorises fastest, and the tests' oracle."""
    frames, n, m = system.cross.shape
    size = frames * n
    index = jnp.arange(frames)
    blocks = jnp.zeros((frames, frames, n, n), system.rhs.dtype).at[index, index].set(system.diagonal)
    for d in range(ORDER):
        rows = jnp.arange(frames - d - 1)
        block = jax.vmap(jnp.diag)(system.coupling[: frames - d - 1, d])
        blocks = blocks.at[rows, rows + d + 1].set(block).at[rows + d + 1, rows].set(block)
    chain = blocks.transpose(0, 2, 1, 3).reshape(size, size).at[: ORDER * n, : ORDER * n].add(system.head)
    cross = system.cross.reshape(size, m).at[: ORDER * n].add(system.head_cross)
    matrix = jnp.block([[chain, cross], [cross.T, system.corner]])
    return matrix, jnp.concatenate([system.rhs.reshape(-1), system.corner_rhs])


def solve_dense(system: ArrowSystem, lag: int) -> ArrowSolution:
    """The same by one dense Cholesky: few launches, so the choice on a GPU."""
    frames, n, m = system.cross.shape
    system, a, b = _normalise(system)
    matrix, rhs = assemble_dense(system)
    covariance, _ = _inverse(matrix)
    scale = jnp.concatenate([a.reshape(-1), b])
    solution = covariance @ rhs * scale
    covariance = covariance * scale[:, None] * scale
    end, late, slow = (frames - 1) * n, (frames - 1 - lag) * n, frames * n
    return ArrowSolution(
        solution[:slow].reshape(frames, n),
        solution[slow:],
        covariance[end:slow, end:slow],
        covariance[late : late + n, late : late + n],
        covariance[slow:, slow:],
        covariance[end:slow, slow:],
        covariance[late : late + n, slow:],
    )
