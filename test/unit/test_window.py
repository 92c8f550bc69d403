"""The window's book-keeping: slots, shifting, and the change of reference orientation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from core_example import ARM, ring, toy, turn

from biomech_fit.core import rotation
from biomech_fit.core.kinematics import Kinematics
from biomech_fit.core.linear import ORDER
from biomech_fit.core.projection import camera_arrays
from biomech_fit.core.residuals import CAMERA_STATES, Observations
from biomech_fit.core.window import Head, SlowLayout, SlowPrior, Window, append, empty_window, extend, poses_at, recentre

KNOTS, FRAMES, C, K, M = 7, 6, 2, 4, 5
N = 10
ROOT = slice(3, 6)


def start(rng: np.random.Generator) -> Window:
    prior = SlowPrior(np.zeros(M), np.eye(M))
    return empty_window(KNOTS, FRAMES, rng.standard_normal(N), np.eye(3), camera_arrays(ring(C)), K, prior, rng.standard_normal(M))


def frame(value: float) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    return jnp.full((C, K, 2), value), jnp.full((C, K), value), jnp.full(C, value), jnp.asarray(value)


def test_layout_covers_every_state_once() -> None:
    layout = SlowLayout(3, 4, 2)
    assert layout.size == 3 + 12 + 2 * CAMERA_STATES
    places = np.r_[layout.scales, layout.offsets, layout.cameras]
    assert sorted(places) == list(range(layout.size))
    assert SlowLayout(3, 4, 0).cameras == slice(15, 15)


def test_an_empty_window_stands_still_and_holds_no_frame() -> None:
    window = start(np.random.default_rng(0))
    x, slope = poses_at(jax.tree.map(jnp.asarray, window))
    np.testing.assert_allclose(x, np.tile(window.control[0], (FRAMES, 1)), atol=1e-6)
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)
    assert not np.any(window.valid) and not np.any(window.head.information)
    # float32 as the solver computes, but the head in float64 as `WindowSolver.shift` returns it: one shape and type means one compilation.
    assert all(a.dtype == np.float32 for a in jax.tree.leaves(window._replace(head=None, cameras=None)))
    assert all(a.dtype == np.float64 for a in window.head)


def test_append_puts_the_newest_last() -> None:
    window = start(np.random.default_rng(0))
    for i in range(FRAMES + 2):
        window = append(window, Observations(*frame(float(i))), jnp.float32(i / 2))
        assert float(window.u[-1]) == i / 2 and float(window.observed.uv[-1, 0, 0, 0]) == i
        assert int(np.sum(window.valid)) == min(i + 1, FRAMES)
    np.testing.assert_allclose(window.observed.delay[:, 0], np.arange(2, FRAMES + 2))


def test_extend_keeps_the_trajectory_and_goes_on_at_constant_velocity() -> None:
    rng = np.random.default_rng(1)
    window = jax.tree.map(jnp.asarray, start(rng))
    window = window._replace(control=jnp.asarray(rng.standard_normal((KNOTS, N)), jnp.float32))
    for i in range(FRAMES):
        window = append(window, Observations(*frame(1.0)), jnp.float32(0.6 * i + 0.1))
    before, _ = poses_at(window)
    after_window = extend(window, window.head)
    after, _ = poses_at(after_window)
    stays = np.asarray(window.u) >= 1
    np.testing.assert_allclose(after[stays], before[stays], atol=1e-5)
    np.testing.assert_array_equal(np.asarray(after_window.valid) > 0, stays)
    control = np.asarray(after_window.control)
    np.testing.assert_allclose(control[-1] - control[-2], control[-2] - control[-3], atol=1e-6)


def turning(rng: np.random.Generator, rate: float) -> Window:
    """A window whose root turns by `rate` rad per control point about a wandering axis, with a head that says something of everything."""
    window = start(rng)
    control = np.tile(window.control[0], (KNOTS, 1)) + 0.01 * rng.standard_normal((KNOTS, N))
    control[:, ROOT] = np.cumsum(rate * (np.array([0.2, 0.3, 0.9]) + 0.1 * rng.standard_normal((KNOTS, 3))), 0)
    size = ORDER * N + M
    root = rng.standard_normal((size, size))
    anchor = np.concatenate([control[:ORDER].reshape(-1), window.slow]) + 0.003 * rng.standard_normal(size)
    head = Head(root @ root.T, rng.standard_normal(size), anchor)
    return jax.tree.map(jnp.asarray, window._replace(control=control, reference=turn(np.array([0.4, -0.2, 0.7])), head=head))


def head_cost(head: Head, control: np.ndarray, slow: np.ndarray) -> float:
    z = np.concatenate([control[:ORDER].reshape(-1), slow]) - np.asarray(head.anchor)
    return float(0.5 * z @ np.asarray(head.information) @ z - np.asarray(head.vector) @ z)


def matrix_log(matrix: np.ndarray) -> np.ndarray:
    angle = np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1))
    axis = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]])
    return axis * (0.5 if angle < 1e-9 else angle / (2 * np.sin(angle)))


def test_recentre_changes_no_orientation_and_takes_the_newest_as_reference() -> None:
    window = turning(np.random.default_rng(2), 0.1)
    after = recentre(window)
    for q in range(KNOTS):
        np.testing.assert_allclose(
            np.asarray(after.reference) @ turn(np.asarray(after.control[q, ROOT])),
            np.asarray(window.reference) @ turn(np.asarray(window.control[q, ROOT])),
            atol=3e-6,
        )
    np.testing.assert_allclose(after.control[-1, ROOT], 0.0, atol=1e-6)
    others = np.delete(np.arange(N), [3, 4, 5])
    np.testing.assert_array_equal(after.control[:, others], window.control[:, others])


def test_recentre_hardly_moves_a_predicted_keypoint() -> None:
    """Between control points the spline bends a little in another chart: below 1 mm for a person who turns at 180 degrees per second, 1e-6 m standing."""
    body = toy(ARM, [1, 2, 3, 3], 1, np.random.default_rng(0))
    kinematics = Kinematics(body)
    n = body.mj_model.nv
    assert n == N

    def points(window: Window) -> np.ndarray:
        x, _ = poses_at(window)
        poses = kinematics.poses(x, window.reference, jnp.zeros(1))
        return np.asarray(kinematics.points(poses, jnp.zeros(1), body.keypoint_body, np.float32(body.keypoint_position)))

    for rate, tolerance in ((np.pi / 30, 1e-3), (0.0, 1e-5)):
        window = turning(np.random.default_rng(3), rate)
        window = window._replace(control=window.control.at[:, ROOT].add(jnp.array([0.2, -0.3, 0.2])))
        window = window._replace(u=jnp.linspace(0.0, KNOTS - 3.01, FRAMES))
        window = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), window)
        np.testing.assert_allclose(points(recentre(window)), points(window), atol=tolerance)


def test_recentre_keeps_what_the_head_says_to_first_order() -> None:
    """The head's cost, its value and its gradient, as a function of the true orientations, before and after. In float64: differences of 1e-6."""
    with jax.enable_x64(True):
        window = turning(np.random.default_rng(4), 0.15)
        window = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, float)), window)
        after = recentre(window)
        relative = np.asarray(window.reference).T @ np.asarray(after.reference)
        control, slow = np.asarray(after.control), np.asarray(after.slow)

        def in_old_chart(new: np.ndarray) -> np.ndarray:
            old = new.copy()
            for q in range(len(new)):
                old[q, ROOT] = matrix_log(relative @ turn(new[q, ROOT]))
            return old

        def before_cost(new: np.ndarray, slow: np.ndarray) -> float:
            return head_cost(window.head, in_old_chart(new), slow)

        # Its value moves by the old chart's anchor, which is carried over to first order only; so compare changes.
        step = 1e-6
        for index in [(q, j) for q in range(ORDER) for j in range(N)]:
            d = np.zeros_like(control)
            d[index] = step
            slope_before = (before_cost(control + d, slow) - before_cost(control - d, slow)) / (2 * step)
            slope_after = (head_cost(after.head, control + d, slow) - head_cost(after.head, control - d, slow)) / (2 * step)
            np.testing.assert_allclose(slope_after, slope_before, rtol=1e-6, atol=1e-5)
        for j in range(M):
            d = np.zeros(M)
            d[j] = step
            slope_before = (before_cost(control, slow + d) - before_cost(control, slow - d)) / (2 * step)
            slope_after = (head_cost(after.head, control, slow + d) - head_cost(after.head, control, slow - d)) / (2 * step)
            np.testing.assert_allclose(slope_after, slope_before, rtol=1e-6, atol=1e-5)


def test_rotation_vectors_stay_connected_beyond_half_a_turn():
    """A spin of 5 rad within the window: the same rotations, without a jump, and the newest as it is."""
    angles = np.linspace(-5.0, 0.0, 16)
    axis = np.array([0.1, -0.2, 1.0]) / np.linalg.norm([0.1, -0.2, 1.0])
    wrapped = np.array([rotation.log(rotation.exp(jnp.asarray(a * axis))) for a in angles])
    assert np.abs(np.diff(wrapped, axis=0)).max() > 3
    found = np.array(rotation.connected(jnp.asarray(wrapped)))
    np.testing.assert_allclose(found, angles[:, None] * axis, atol=1e-4)
    np.testing.assert_allclose(rotation.exp(jnp.asarray(found)), rotation.exp(jnp.asarray(wrapped)), atol=1e-5)
