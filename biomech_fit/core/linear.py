"""The structured linear solve: a chain of control points coupled over three neighbours, bordered by the slow states.

    [ F    C ] [dx]   [f]      F block-banded (control points; blocks of N, each coupled to its next three),
    [ C^T  S ] [ds] = [s]      C cross blocks (control points x slow states), S corner (slow states).

Control points are eliminated in time order, the slow states last. Covariances of chosen linear combinations of control points (the pose at
an instant) come from the forward pass alone: with F = L L^T, cov(B^T x) = (L^-1 B)^T (L^-1 B) plus what the slow states add.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

ORDER = 3
"""A control point is coupled to this many followers (cubic splines, third differences)."""
JITTER = 1e-6
"""Added to the unit diagonal: what float32 needs where only a prior speaks. It damps the step, and so changes no solution."""


SMALL = 96
"""Triangular matrices up to this size are inverted as a whole."""


class Chain(NamedTuple):
    """Normal equations of Q control points with N coordinates, the slow states known."""

    diagonal: Array
    """(Q, N, N)"""
    band: Array
    """(Q, ORDER, N, N): band[q, d] is the block between q and q + d + 1; zero beyond the end."""
    rhs: Array
    """(Q, N)"""


class ArrowSystem(NamedTuple):
    """Normal equations of Q control points with N coordinates and M slow states."""

    diagonal: Array
    """(Q, N, N)"""
    band: Array
    """(Q, ORDER, N, N): band[q, d] is the block between q and q + d + 1; zero beyond the end."""
    cross: Array
    """(Q, N, M)"""
    corner: Array
    """(M, M)"""
    rhs: Array
    """(Q, N)"""
    corner_rhs: Array
    """(M,)"""

    @property
    def chain(self) -> Chain:
        """The control points' own part."""
        return Chain(self.diagonal, self.band, self.rhs)


class SlowShare(NamedTuple):
    """What the slow states' uncertainty adds to that of P poses."""

    pose: Array
    """(P, N, N) to be added to the covariance that the poses have when the slow states are known."""
    pose_slow: Array
    """(P, N, M) covariance of poses and slow states."""
    slow: Array
    """(M, M) covariance of the slow states."""


class ArrowSolution(NamedTuple):
    """The step, and the covariances of P poses that are combinations of control points."""

    step: Array
    """(Q, N)"""
    slow_step: Array
    """(M,)"""
    pose_alone: Array
    """(P, N, N) with the slow states known."""
    share: SlowShare

    @property
    def pose(self) -> Array:
        """(P, N, N)"""
        return self.pose_alone + self.share.pose


def _normalise_chain(chain: Chain) -> tuple[Chain, Array]:
    """Scale to a unit diagonal: units differ by six orders of magnitude, and the arithmetic is float32."""
    count = chain.diagonal.shape[0]
    a = 1 / jnp.sqrt(jnp.maximum(jnp.diagonal(chain.diagonal, axis1=1, axis2=2), 1e-20))
    ahead = jnp.pad(a, ((0, ORDER), (0, 0)), constant_values=1.0)
    follow = jnp.stack([ahead[d : d + count] for d in range(1, ORDER + 1)], 1)
    scaled = Chain(
        chain.diagonal * a[:, :, None] * a[:, None, :] + JITTER * jnp.eye(chain.rhs.shape[1], dtype=a.dtype),
        chain.band * a[:, None, :, None] * follow[:, :, None, :],
        chain.rhs * a,
    )
    return scaled, a


def _normalise(system: ArrowSystem) -> tuple[ArrowSystem, Array, Array]:
    """The same with the slow states."""
    chain, a = _normalise_chain(system.chain)
    b = 1 / jnp.sqrt(jnp.maximum(jnp.diag(system.corner), 1e-20))
    border = (system.cross * a[:, :, None] * b, system.corner * b[:, None] * b)
    return ArrowSystem(chain.diagonal, chain.band, *border, chain.rhs, system.corner_rhs * b), a, b


def solve_banded(system: ArrowSystem, poses: Array) -> ArrowSolution:
    """Solve by block-banded Cholesky, a scan over the control points; `poses` (P, Q) are the weights of the poses whose covariance is wanted."""
    n, m = system.cross.shape[1:]
    wanted = poses.shape[0]
    system, a, b = _normalise(system)
    chain, (y, border, late), _ = eliminate(system.diagonal, system.band, [system.rhs[:, :, None], system.cross, _columns(poses, a)])
    flat, late = border.reshape(-1, m), late.reshape(-1, wanted * n)
    borders = flat.T @ late
    root = _inverse_factor(system.corner - flat.T @ flat)
    # The slow step and the poses' part of the slow states in one product.
    asked = jnp.concatenate([borders, (system.corner_rhs - y.reshape(-1) @ flat)[:, None]], 1)
    answer = root.T @ (root @ asked)
    slow, slow_step = root.T @ root, answer[:, -1]
    step = substitute(chain, y[:, :, 0] - border @ slow_step)
    pose_slow = -answer[:, :-1].T.reshape(wanted, n, m)
    share = SlowShare(-pose_slow @ jnp.swapaxes(borders.reshape(m, wanted, n), 0, 1), pose_slow * b, slow * b[:, None] * b)
    return ArrowSolution(step * a, slow_step * b, _squares(late, wanted), share)


def solve_banded_held(chain: Chain, poses: Array, share: SlowShare) -> ArrowSolution:
    """The same with the slow states held where they are; what they add to the covariances is given."""
    chain, a = _normalise_chain(chain)
    factor, (y, late), _ = eliminate(chain.diagonal, chain.band, [chain.rhs[:, :, None], _columns(poses, a)])
    step = substitute(factor, y[:, :, 0])
    return ArrowSolution(step * a, jnp.zeros_like(share.slow[0]), _squares(late.reshape(-1, late.shape[2]), poses.shape[0]), share)


def solve_end(chain: Chain, count: int) -> Array:
    """The step (Q, N) of the last `count` control points where those before them stay."""
    end, a = _normalise_chain(Chain(chain.diagonal[-count:], chain.band[-count:], chain.rhs[-count:]))
    factor, (y,), _ = eliminate(end.diagonal, end.band, [end.rhs[:, :, None]])
    return jnp.zeros_like(chain.rhs).at[-count:].set(substitute(factor, y[:, :, 0]) * a)


def _columns(poses: Array, a: Array) -> Array:
    """(Q, N, P N): unscaled poses are combinations of unscaled control points a * x, so the columns carry the scaling."""
    count, n = a.shape
    return (poses.T[:, None, :, None] * (a[:, :, None, None] * jnp.eye(n, dtype=a.dtype)[:, None, :])).reshape(count, n, -1)


def with_head(system: ArrowSystem, matrix: Array, cross: Array, rhs: Array) -> ArrowSystem:
    """The system with information on its first ORDER control points added: matrix (ORDER N, ORDER N), cross (ORDER N, M) and right side (ORDER N,)."""
    cross = system.cross.at[:ORDER].add(cross.reshape(ORDER, -1, cross.shape[1]))
    return system._replace(cross=cross, **chain_with_head(system.chain, matrix, rhs)._asdict())


def chain_with_head(chain: Chain, matrix: Array, rhs: Array) -> Chain:
    """The same for known slow states."""
    n = chain.rhs.shape[1]
    blocks = matrix.reshape(ORDER, n, ORDER, n)
    diagonal, band = chain.diagonal, chain.band
    for i in range(ORDER):
        diagonal = diagonal.at[i].add(blocks[i, :, i])
        for d in range(ORDER - 1 - i):
            band = band.at[i, d].add(blocks[i, :, i + d + 1])
    return Chain(diagonal, band, chain.rhs.at[:ORDER].add(rhs.reshape(ORDER, n)))


def eliminate(diagonal: Array, band: Array, columns: list[Array]) -> tuple[tuple[Array, Array], list[Array], tuple[Array, Array]]:
    """L^-1 of some columns (Q, N, each its own width), with F = L L^T of Q control points in time order.

    Returns what back substitution needs of L (inverse diagonal blocks (Q, N, N), and what couples them to those behind, (Q, N, ORDER N)), the columns, and
    what is to be added to the matrix and the columns of the ORDER control points that follow: (ORDER N, ORDER N) and (ORDER N, widths).
    """
    n = diagonal.shape[1]
    right = jnp.concatenate(columns, 2)
    width = ORDER * n
    band = jnp.swapaxes(band, 1, 2).reshape(-1, n, width)

    def one(carry, inputs):
        diagonal, band, right = inputs
        block, rest = carry
        factor = jax.lax.linalg.cholesky(diagonal + block[:n, :n], symmetrize_input=False)
        inverse = jax.scipy.linalg.solve_triangular(factor, jnp.eye(n, dtype=block.dtype), lower=True)
        below = band + jnp.pad(block[:n, n:], ((0, 0), (0, n)))
        done = inverse @ jnp.concatenate([below, right + rest[:n]], 1)
        update = done[:, :width].T @ done
        block = jnp.pad(block[n:, n:], ((0, n), (0, n))) - update[:, :width]
        rest = jnp.pad(rest[n:], ((0, n), (0, 0))) - update[:, width:]
        return (block, rest), (inverse, done)

    start = (jnp.zeros((width, width), right.dtype), jnp.zeros((width, right.shape[2]), right.dtype))
    left, (inverse, done) = jax.lax.scan(one, start, (diagonal, band, right))
    edges = np.cumsum([width, *(c.shape[2] for c in columns)])
    return (inverse, done[:, :, :width]), [done[:, :, i:j] for i, j in pairwise(edges)], left


def substitute(chain: tuple[Array, Array], right: Array, after: Array | None = None) -> Array:
    """L^-T of a vector (Q, N); `after` (ORDER N,) is the solution of the control points that follow, None = there are none."""

    def back(carry, inputs):
        inverse, below, y = inputs
        x = inverse.T @ (y - below @ carry)
        return jnp.concatenate([x, carry[: -x.shape[0]]]), x

    start = jnp.zeros(ORDER * right.shape[1], right.dtype) if after is None else after
    _, solution = jax.lax.scan(back, start, (*chain, right), reverse=True)
    return solution


def _squares(columns: Array, count: int) -> Array:
    """(P, N, N) from L^-1 of P poses' columns (Q N, P N)."""
    each = jnp.swapaxes(columns.reshape(columns.shape[0], count, -1), 0, 1)
    return jnp.swapaxes(each, 1, 2) @ each


def _inverse_factor(matrix: Array) -> Array:
    """L^-1 of a positive definite matrix L L^T."""
    # Given its transpose, LAPACK reads the symmetric matrix where it lies.
    return _inverse_triangular(jax.lax.linalg.cholesky(matrix.T, symmetrize_input=False))


def _inverse_triangular(factor: Array) -> Array:
    """Inverse of a lower triangular matrix by halves: products do most of the work, and the zeros above the diagonal none."""
    size = factor.shape[0]
    if size <= SMALL:
        return jax.scipy.linalg.solve_triangular(factor, jnp.eye(size, dtype=factor.dtype), lower=True)
    half = size // 2
    first, second = _inverse_triangular(factor[:half, :half]), _inverse_triangular(factor[half:, half:])
    return jnp.block([[first, jnp.zeros((half, size - half), factor.dtype)], [-second @ (factor[half:, :half] @ first), second]])


def assemble_chain(diagonal: Array, band: Array) -> Array:
    """(Q N, Q N) of the control points' blocks (Q, N, N) and (Q, ORDER, N, N), see `ArrowSystem`."""
    count, n, _ = diagonal.shape
    index = jnp.arange(count)
    blocks = jnp.zeros((count, count, n, n), diagonal.dtype).at[index, index].set(diagonal)
    for d in range(ORDER):
        rows = jnp.arange(count - d - 1)
        block = band[: count - d - 1, d]
        blocks = blocks.at[rows, rows + d + 1].set(block).at[rows + d + 1, rows].set(jnp.swapaxes(block, 1, 2))
    return blocks.transpose(0, 2, 1, 3).reshape(count * n, count * n)


def assemble_dense(system: ArrowSystem) -> tuple[Array, Array]:
    """The whole matrix (Q N + M)^2 and right side: what a GPU factorises fastest, and the tests' oracle."""
    count, n, m = system.cross.shape
    size = count * n
    chain = assemble_chain(system.diagonal, system.band)
    cross = system.cross.reshape(size, m)
    return jnp.block([[chain, cross], [cross.T, system.corner]]), jnp.concatenate([system.rhs.reshape(-1), system.corner_rhs])


def solve_dense(system: ArrowSystem, poses: Array) -> ArrowSolution:
    """The same by one dense Cholesky: few launches, so the choice on a GPU."""
    count, n, _ = system.cross.shape
    size = count * n
    system, a, b = _normalise(system)
    matrix, rhs = assemble_dense(system)
    root = _inverse_factor(matrix)
    scale = jnp.concatenate([a.reshape(-1), b])
    solution = root.T @ (root @ rhs) * scale
    root = root * scale
    # The slow states come last, so what their uncertainty adds are the last rows' products.
    alone, both, slow = root[:size, :size], root[size:, :size], root[size:, size:]
    pose_slow = jnp.einsum("pq,qnm->pnm", poses, (both.T @ slow).reshape(count, n, -1))
    share = SlowShare(_pose_blocks(both, poses), pose_slow, slow.T @ slow)
    return ArrowSolution(solution[:size].reshape(count, n), solution[size:], _pose_blocks(alone, poses), share)


def solve_dense_held(chain: Chain, poses: Array, share: SlowShare) -> ArrowSolution:
    """The dense solve with the slow states held where they are."""
    chain, a = _normalise_chain(chain)
    root = _inverse_factor(assemble_chain(chain.diagonal, chain.band))
    step = (root.T @ (root @ chain.rhs.reshape(-1))).reshape(a.shape) * a
    return ArrowSolution(step, jnp.zeros_like(share.slow[0]), _pose_blocks(root * a.reshape(-1), poses), share)


def _pose_blocks(root: Array, poses: Array) -> Array:
    """(P, N, N) covariances of combinations (P, Q) of control points with covariance root^T root, root (any, Q N)."""
    count = poses.shape[1]
    columns = jnp.einsum("rqn,pq->prn", root.reshape(root.shape[0], count, -1), poses)
    return jnp.swapaxes(columns, 1, 2) @ columns
