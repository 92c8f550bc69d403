"""Reprojection residuals against OpenCV's projection and its numeric derivatives; the robust kernels against their own derivatives."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_example import central, ring, turn

from biomech_fit.core import robust
from biomech_fit.core.camera import Camera
from biomech_fit.core.projection import camera_arrays
from biomech_fit.core.residuals import CAMERA_STATES, Observations, corrected_cameras, make_lens, point_distance, reprojection

T, C, K = 2, 3, 4


def moved(cameras: list[Camera], states: np.ndarray) -> list[Camera]:
    """Cameras with corrections (C, 7) as the documentation says: R = exp(w) R0, c = c0 + d."""
    out = []
    for camera, state in zip(cameras, states, strict=True):
        rotation = turn(state[:3]) @ camera.rotation
        out.append(replace(camera, rotation=rotation, translation=-rotation @ (camera.centre + state[3:6])))
    return out


def test_corrected_cameras_turn_and_shift_as_documented() -> None:
    cameras = ring(C)
    states = 0.05 * np.random.default_rng(0).standard_normal((C, CAMERA_STATES))
    found = corrected_cameras(camera_arrays(cameras), jnp.asarray(states[:, :6], jnp.float32))
    for c, camera in enumerate(moved(cameras, states)):
        np.testing.assert_allclose(found.rotation[c], camera.rotation, atol=1e-6)
        np.testing.assert_allclose(found.translation[c], camera.translation, atol=5e-6)


@pytest.mark.parametrize("kernel", ["none", "geman_mcclure"])
def test_information_is_what_opencv_says(kernel: str) -> None:
    """Gradient and Gauss-Newton information by points, cameras and clocks, against central differences of OpenCV's pixels (1e-5: steps of 1e-6)."""
    rng = np.random.default_rng(1)
    cameras = ring(C)
    states = np.c_[0.02 * rng.standard_normal((C, 6)), rng.uniform(-0.01, 0.01, C)]
    points = np.array([0.0, 0.0, 1.0]) + rng.uniform(-0.8, 0.8, (T, K, 3))
    velocity = rng.uniform(-2, 2, (T, K, 3))
    delay = rng.uniform(-0.01, 0.01, (T, C))
    information = rng.uniform(0.02, 0.1, (T, C, K))
    information[0, 1, 2] = 0.0
    share = np.array([1.0, 0.4])

    def pixels(t: int, c: int, k: int, point: np.ndarray, state: np.ndarray) -> np.ndarray:
        camera = moved([cameras[c]], state[None])[0]
        return camera.project((point + velocity[t, k] * (delay[t, c] + state[6]))[None])[0]

    uv = np.array([[[pixels(t, c, k, points[t, k], states[c]) for k in range(K)] for c in range(C)] for t in range(T)])
    observed = uv + 6 * rng.standard_normal(uv.shape)
    with jax.enable_x64(True):
        rig = corrected_cameras(camera_arrays(cameras, jnp.float64), jnp.asarray(states[:, :6]))
        point, camera, error, cost = jax.jit(
            lambda p, v, o: reprojection(p, v, rig, make_lens(True, False), jnp.asarray(states[:, 6]), o, robust.KERNELS[kernel], jnp.asarray(4.0))
        )(points, velocity, Observations(jnp.asarray(observed), jnp.asarray(information), jnp.asarray(delay), jnp.asarray(share)))
        residual = observed - uv
        np.testing.assert_allclose(error, np.linalg.norm(residual, axis=-1), atol=1e-6)
        squared = (residual**2).sum(-1) * information
        costs, weights = robust.KERNELS[kernel](jnp.asarray(squared), jnp.asarray(4.0))
        np.testing.assert_allclose(cost, np.sum(costs * share[:, None, None]), rtol=1e-9)
        weight = np.asarray(weights) * information * share[:, None, None]
    matrix, vector = np.zeros((T, K, 3, 3)), np.zeros((T, K, 3))
    for t in range(T):
        for c in range(C):
            own, own_vector = np.zeros((7, 7)), np.zeros(7)
            for k in range(K):
                by_point = central(lambda p, t=t, c=c, k=k: pixels(t, c, k, p, states[c]), points[t, k])
                by_state = central(lambda s, t=t, c=c, k=k: pixels(t, c, k, points[t, k], s), states[c])
                # The state's rotation vector composes with itself on the left: at small angles exp(w + d) = exp(J d) exp(w), J close to 1.
                w = states[c, :3]
                by_state[:, :3] = by_state[:, :3] @ np.linalg.inv(left_jacobian(w))
                matrix[t, k] += weight[t, c, k] * by_point.T @ by_point
                vector[t, k] += weight[t, c, k] * by_point.T @ residual[t, c, k]
                own += weight[t, c, k] * by_state.T @ by_state
                own_vector += weight[t, c, k] * by_state.T @ residual[t, c, k]
                coupling = weight[t, c, k] * by_state.T @ by_point
                np.testing.assert_allclose(camera.point_coupling[t, c, :, k], coupling, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(coupling).max()))
            np.testing.assert_allclose(camera.matrix[t, c], own, rtol=1e-5, atol=1e-5 * np.abs(own).max())
            np.testing.assert_allclose(camera.vector[t, c], own_vector, rtol=1e-5, atol=1e-5 * np.abs(own_vector).max())
    np.testing.assert_allclose(point.matrix, matrix, rtol=1e-5, atol=1e-5 * np.abs(matrix).max())
    np.testing.assert_allclose(point.vector, vector, rtol=1e-5, atol=1e-5 * np.abs(vector).max())


def left_jacobian(w: np.ndarray) -> np.ndarray:
    """(3, 3) from its definition exp(w + d) = exp(J d) exp(w), by differences."""
    def rotation_change(d: np.ndarray) -> np.ndarray:
        r = turn(w + d) @ turn(w).T
        return 0.5 * np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])

    return central(rotation_change, np.zeros(3), 1e-5)


def test_what_is_not_seen_says_nothing_and_breaks_nothing() -> None:
    """Behind the camera, information 0, or pixels that are far out: everything stays finite, and only what is seen counts."""
    cameras = ring(C)
    points = np.tile(np.array([0.0, 0.0, 1.0]), (1, K, 1))
    points[0, 1] = cameras[0].centre - 2 * cameras[0].rotation[2]  # behind camera 0
    points[0, 2] = cameras[0].centre  # in its very centre
    information = np.zeros((1, C, K))
    information[0, 0, :3] = 0.1
    observed = Observations(jnp.full((1, C, K, 2), 1e6, jnp.float32), jnp.asarray(information, jnp.float32), jnp.zeros((1, C)), jnp.ones(1))
    f32 = jnp.float32
    point, camera, error, cost = reprojection(
        jnp.asarray(points, f32), jnp.zeros((1, K, 3)), camera_arrays(cameras), make_lens(True, False), jnp.zeros(C), observed, robust.geman_mcclure, f32(4)
    )
    assert all(np.isfinite(a).all() for a in (point.matrix, point.vector, *camera, error, cost))
    assert not np.asarray(point.matrix[0, 1:]).any() and not np.asarray(camera.matrix[0, 1:]).any()
    assert np.abs(point.matrix[0, 0]).max() < 1e-6  # a million pixels off: the kernel lets go
    assert float(cost) <= 8.0 + 1e-4  # one keypoint at the kernel's bound c^2 / 2


@pytest.mark.parametrize("name", robust.KERNELS)
def test_a_kernels_weight_is_the_derivative_of_its_cost(name: str) -> None:
    """cost(m), m the squared norm: re-weighted least squares needs weight = 2 dcost/dm."""
    kernel = robust.KERNELS[name]
    with jax.enable_x64(True):
        for m in (1e-3, 0.5, 3.0, 15.9, 16.1, 100.0, 1e4):
            slope = jax.grad(lambda m: kernel(m, jnp.asarray(4.0))[0])(jnp.asarray(m))
            np.testing.assert_allclose(kernel(jnp.asarray(m), jnp.asarray(4.0))[1], 2 * slope, rtol=1e-9)
        cost, weight = kernel(jnp.asarray(0.0), jnp.asarray(4.0))
        assert abs(float(cost)) < 1e-9 and float(weight) == pytest.approx(1.0)


def test_kernels_differ_in_what_an_outlier_costs() -> None:
    far = jnp.float32(1e6)
    costs = {name: float(kernel(far, jnp.float32(4.0))[0]) for name, kernel in robust.KERNELS.items()}
    assert costs["none"] > costs["huber"] > costs["cauchy"] > costs["geman_mcclure"] == pytest.approx(8.0, rel=1e-3)


def test_distance_to_points_is_what_it_says() -> None:
    rng = np.random.default_rng(3)
    points, observed = rng.standard_normal((2, K, 3)), rng.standard_normal((2, K, 3))
    information = rng.uniform(0, 2, (2, K))
    with jax.enable_x64(True):
        def cost(p: jax.Array) -> jax.Array:
            return jnp.sum(point_distance(p, jnp.asarray(observed), jnp.asarray(information), robust.cauchy, jnp.asarray(2.0))[1])

        found, per_frame = point_distance(jnp.asarray(points), jnp.asarray(observed), jnp.asarray(information), robust.cauchy, jnp.asarray(2.0))
        np.testing.assert_allclose(found.vector, -jax.grad(cost)(jnp.asarray(points)), atol=1e-9)
        assert per_frame.shape == (2,) and found.matrix.shape == (2, K, 3, 3)


def test_change_of_correlated_errors_is_what_opencv_says() -> None:
    """The gradient of sum share w r^2 / 2 + change w (r_t - r_t-1)^2 / 2 by points and cameras, against central differences of OpenCV's pixels; a detection
    that is missing has no change, and the information on the movement is that of the pairs that are there."""
    rng = np.random.default_rng(2)
    cameras = ring(C)
    points = np.array([0.0, 0.0, 1.0]) + rng.uniform(-0.8, 0.8, (3, K, 3))
    information = rng.uniform(0.02, 0.1, (3, C, K))
    information[1, 1, 2] = 0.0
    share, change = np.array([1.0, 0.4, 0.3]), np.array([7.0, 2.0, 3.0])
    both = change[1:, None, None] * np.sqrt(information[1:] * information[:-1])

    def pixels(points: np.ndarray, states: np.ndarray) -> np.ndarray:
        rig = moved(cameras, states.reshape(C, CAMERA_STATES))
        return np.stack([c.project(points.reshape(-1, 3)).reshape(3, K, 2) for c in rig], 1)

    still = np.zeros(C * CAMERA_STATES)
    observed = pixels(points, still) + 6 * rng.standard_normal((3, C, K, 2))

    def cost(points: np.ndarray, states: np.ndarray) -> np.ndarray:
        r = observed - pixels(points, states)
        alone = information * share[:, None, None] * (r**2).sum(-1)
        return np.atleast_1d(0.5 * alone.sum() + 0.5 * np.sum(both * ((r[1:] - r[:-1]) ** 2).sum(-1)))

    with jax.enable_x64(True):
        seen = Observations(*(jnp.asarray(a) for a in (observed, information, np.zeros((3, C)), share)), None, jnp.asarray(change))
        rig = camera_arrays(cameras, jnp.float64)
        still_points = jnp.zeros((3, K, 3))
        point, camera, _, _ = reprojection(
            jnp.asarray(points), still_points, rig, make_lens(True, False), jnp.zeros(C), seen, robust.KERNELS["none"], jnp.asarray(4.0)
        )
    by_points = central(lambda p: cost(p.reshape(3, K, 3), still), points.ravel())
    np.testing.assert_allclose(np.ravel(point.vector), -by_points.ravel(), rtol=1e-4, atol=1e-3)
    by_states = central(lambda s: cost(points, s), still).reshape(C, CAMERA_STATES)[:, :6]
    np.testing.assert_allclose(np.asarray(camera.vector).sum(0)[:, :6], -by_states, rtol=1e-4, atol=1e-2)
    assert point.change is not None
    np.testing.assert_array_equal(point.change[0], 0.0)
    expected = np.zeros((2, K, 3, 3))
    for t, c, k in np.ndindex(2, C, K):
        slope = central(lambda p, c=c: cameras[c].project(p[None])[0], points[t + 1, k])
        expected[t, k] += both[t, c, k] * slope.T @ slope
    np.testing.assert_allclose(point.change[1:], expected, rtol=1e-4, atol=1e-3)
