"""The structured solves against each other and against numpy in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biomech_fit.core.linear import ORDER, ArrowSystem, assemble_dense, solve_banded, solve_banded_held, solve_dense, solve_dense_held, solve_end

Q, N, M = 9, 4, 6


def arrow(rng: np.random.Generator, units: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, ArrowSystem]:
    """A well conditioned random system: dense matrix and right side (float64), and its blocks. `units` (Q N + M,) scale the unknowns."""
    size = Q * N + M
    rows = []
    for q in range(Q - ORDER):  # each row meets up to four neighbours and the slow states
        j = np.zeros((4 * N, size))
        j[:, q * N : (q + ORDER + 1) * N] = rng.standard_normal((4 * N, (ORDER + 1) * N))
        j[:, Q * N :] = 0.3 * rng.standard_normal((4 * N, M))
        rows.append(j)
    j = np.concatenate(rows)
    matrix = j.T @ j + 3 * np.eye(size)
    rhs = rng.standard_normal(size)
    if units is not None:
        matrix, rhs = matrix * units[:, None] * units, rhs * units
    blocks = matrix[: Q * N, : Q * N].reshape(Q, N, Q, N).transpose(0, 2, 1, 3)
    band = np.zeros((Q, ORDER, N, N))
    for q in range(Q):
        for d in range(ORDER):
            if q + d + 1 < Q:
                band[q, d] = blocks[q, q + d + 1]
    parts = (
        blocks[np.arange(Q), np.arange(Q)],
        band,
        matrix[: Q * N, Q * N :].reshape(Q, N, M),
        matrix[Q * N :, Q * N :],
        rhs[: Q * N].reshape(Q, N),
        rhs[Q * N :],
    )
    return matrix, rhs, ArrowSystem(*(jnp.asarray(p, jnp.float32) for p in parts))


POSES = np.zeros((2, Q))
POSES[0, -4:] = [0.1, 0.6, 0.25, 0.05]
POSES[1, 2:6] = [1 / 6, 4 / 6, 1 / 6, 0.0]


def scaled_difference(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(found) - true)) / np.max(np.abs(true)))


@pytest.mark.parametrize("solve", [solve_banded, solve_dense])
@pytest.mark.parametrize("decades", [0, 6])
def test_solution_and_covariances_are_numpys(solve, decades: int) -> None:
    """Tolerance 2e-4 of the largest entry: the jitter of 1e-6 and float32 at a condition of about 100; unknowns in units up to 6 decades apart."""
    rng = np.random.default_rng(3)
    units = 10.0 ** rng.uniform(-decades / 2, decades / 2, Q * N + M)
    matrix, rhs, system = arrow(rng, units)
    solution = jax.jit(solve)(system, jnp.asarray(POSES, jnp.float32))
    x, covariance = np.linalg.solve(matrix, rhs), np.linalg.inv(matrix)
    chain, slow = slice(0, Q * N), slice(Q * N, None)
    assert scaled_difference(np.asarray(solution.step).reshape(-1) * units[chain], x[chain] * units[chain]) < 2e-4
    assert scaled_difference(solution.slow_step * units[slow], x[slow] * units[slow]) < 2e-4
    wanted = np.einsum("pq,qnm->pqnm", POSES, np.broadcast_to(np.eye(N), (Q, N, N))).reshape(2, Q * N, N)  # x_pose = wanted^T x
    for p in range(2):
        pose = wanted[p].T @ covariance[chain, chain] @ wanted[p]
        std = np.sqrt(np.diag(pose))
        assert scaled_difference(solution.pose[p] / std[:, None] / std, pose / std[:, None] / std) < 2e-4
        both = wanted[p].T @ covariance[chain, slow]
        slow_std = np.sqrt(np.diag(covariance[slow, slow]))
        np.testing.assert_allclose(solution.share.pose_slow[p] / std[:, None] / slow_std, both / std[:, None] / slow_std, atol=2e-4)
    np.testing.assert_allclose(solution.share.slow / slow_std[:, None] / slow_std, covariance[slow, slow] / slow_std[:, None] / slow_std, atol=2e-4)


def test_banded_and_dense_agree_far_better_than_either_with_float64() -> None:
    """They solve the same float32 system with the same jitter: 1e-5 is rounding alone."""
    _, _, system = arrow(np.random.default_rng(4))
    a, b = (jax.jit(solve)(system, jnp.asarray(POSES, jnp.float32)) for solve in (solve_banded, solve_dense))
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert scaled_difference(one, np.asarray(other)) < 1e-5


@pytest.mark.parametrize("solve, held", [(solve_banded, solve_banded_held), (solve_dense, solve_dense_held)])
def test_with_the_slow_states_held_the_chain_is_solved_alone(solve, held) -> None:
    """The step is that of the chain's own equations; with the share of the full solve the covariances are those of the full solve."""
    rng = np.random.default_rng(8)
    matrix, rhs, system = arrow(rng)
    poses = jnp.asarray(POSES, jnp.float32)
    full = jax.jit(solve)(system, poses)
    found = jax.jit(held)(system.chain, poses, full.share)
    chain = slice(0, Q * N)
    assert scaled_difference(np.asarray(found.step).reshape(-1), np.linalg.solve(matrix[chain, chain], rhs[chain])) < 2e-4
    assert np.all(np.asarray(found.slow_step) == 0)
    assert scaled_difference(found.pose, np.asarray(full.pose)) < 1e-5
    alone = np.linalg.inv(matrix[chain, chain]).reshape(Q, N, Q, N)
    assert scaled_difference(found.pose_alone, np.einsum("pq,qnrm,pr->pnm", POSES, alone, POSES)) < 2e-4


def test_the_end_of_the_chain_is_solved_where_the_rest_stays() -> None:
    matrix, rhs, system = arrow(np.random.default_rng(9))
    found = np.asarray(jax.jit(solve_end, static_argnums=1)(system.chain, 4))
    end = slice((Q - 4) * N, Q * N)
    assert np.all(found[:-4] == 0)
    assert scaled_difference(found[-4:].reshape(-1), np.linalg.solve(matrix[end, end], rhs[end])) < 2e-4


def test_assemble_dense_puts_every_block_in_its_place() -> None:
    matrix, rhs, system = arrow(np.random.default_rng(5))
    found, right = assemble_dense(system)
    np.testing.assert_allclose(found, matrix, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(right, rhs, rtol=1e-6)


@pytest.mark.parametrize("solve", [solve_banded, solve_dense])
def test_unknowns_that_only_jitter_speaks_for_stay_finite(solve) -> None:
    """A control point that nothing but a tiny prior touches must not spoil the others."""
    _, _, system = arrow(np.random.default_rng(6))
    weak = system._replace(
        diagonal=system.diagonal.at[-1].set(1e-12 * jnp.eye(N)),
        band=system.band.at[-2, 0].set(0).at[-3, 1].set(0).at[-4, 2].set(0),
        cross=system.cross.at[-1].set(0),
        rhs=system.rhs.at[-1].set(0),
    )
    solution = jax.jit(solve)(weak, jnp.asarray(POSES, jnp.float32))
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(solution))
    assert np.abs(solution.step[-1]).max() < 1e-3
