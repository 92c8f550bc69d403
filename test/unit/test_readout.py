"""From the solver's arrays to OpenSim coordinates: angles, their rates and deviations against differences."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from core_example import SLIDER, builtin, mujoco_points, toy, turn

from biomech_fit.core.body import BodyModel
from biomech_fit.core.opensim_axes import qpos_from_coordinates
from biomech_fit.core.quaternions import quat_to_matrix
from biomech_fit.core.readout import Seen, pose_estimates, rotation_vector_matrix
from biomech_fit.core.result import Readout
from biomech_fit.core.types import Status

STEP = 1e-5


@cache
def body() -> BodyModel:
    return builtin()


def readout(x: np.ndarray, velocity: np.ndarray, reference: np.ndarray, covariance: np.ndarray, keypoints: int, cameras: int = 2) -> Readout:
    """One frame with made-up keypoints."""
    rng = np.random.default_rng(0)
    return Readout(
        x=x[None],
        velocity=velocity[None],
        reference=reference,
        covariance=covariance[None],
        keypoints=rng.standard_normal((1, keypoints, 3)),
        keypoint_velocity=np.zeros((1, keypoints, 3)),
        keypoint_covariance=np.tile(0.01**2 * np.diag([1.0, 4.0, 9.0]), (1, keypoints, 1, 1)),
        joint_centres=rng.standard_normal((1, 3, 3)),
        error_px=np.array([[[3.0] * keypoints, [5.0] * keypoints]]),
        uv=rng.uniform(0, 1000, (1, cameras, keypoints, 2)),
    )


def seen(keypoints: int) -> Seen:
    confidence = np.zeros((2, keypoints))
    confidence[0, :4] = 0.9
    confidence[1, :4] = 0.2
    return Seen(123, Status.OK, confidence, ("a",), ("b",))


def state(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = body().mj_model.nv
    x, velocity = 0.4 * rng.standard_normal(n), rng.standard_normal(n)
    root = rng.standard_normal((n, n)) * 0.02
    lean = turn(np.array([0.0, 0.0, rng.uniform(-3, 3)]))  # any facing, little lean: far from the angles' singularity
    neutral = quat_to_matrix(body().mj_model.qpos0[3:7])
    return x, velocity, lean @ neutral, root @ root.T


def estimate(x, velocity, reference, covariance):
    k = len(body().keypoint_names)
    return pose_estimates(body(), np.ones(k, bool), readout(x, velocity, reference, covariance, k), [seen(k)], [0.25])[0]


def wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


@pytest.mark.parametrize("seed", range(5))
def test_rates_are_the_derivatives_of_the_positions(seed: int) -> None:
    """Central differences over 20 us; the angles' own slopes are differences of 1e-4 rad, good to about 1e-4."""
    x, velocity, reference, covariance = state(seed)
    now = estimate(x, velocity, reference, covariance)
    ahead, before = (estimate(x + s * velocity, velocity, reference, covariance) for s in (STEP, -STEP))
    rates = ahead.position - before.position
    rates[3:6] = wrapped(rates[3:6])
    np.testing.assert_allclose(now.velocity, rates / (2 * STEP), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_deviations_are_carried_over(seed: int) -> None:
    x, velocity, reference, covariance = state(seed)
    now = estimate(x, velocity, reference, covariance)
    slopes = np.stack([(estimate(x + STEP * e, velocity, reference, covariance).position - now.position) for e in np.eye(len(x))], 1)
    slopes[3:6] = wrapped(slopes[3:6])
    slopes /= STEP
    np.testing.assert_allclose(now.position_std, np.sqrt(np.diag(slopes @ covariance @ slopes.T)), rtol=2e-3, atol=1e-4)
    # The pelvis' covariance is about the world's axes.
    world = np.zeros((6, len(x)))
    world[:3, :3] = np.eye(3)
    attitude = quat_to_matrix(now.pelvis_quat_wxyz)
    for i in range(3):
        after = quat_to_matrix(estimate(x + STEP * np.eye(len(x))[3 + i], velocity, reference, covariance).pelvis_quat_wxyz) @ attitude.T
        world[3:, 3 + i] = np.array([after[2, 1] - after[1, 2], after[0, 2] - after[2, 0], after[1, 0] - after[0, 1]]) / (2 * STEP)
    np.testing.assert_allclose(now.pelvis_covariance, world @ covariance @ world.T, rtol=1e-3, atol=1e-6)


def test_qpos_and_coordinates_say_the_same() -> None:
    x, velocity, reference, covariance = state(7)
    now = estimate(x, velocity, reference, covariance)
    np.testing.assert_allclose(quat_to_matrix(now.pelvis_quat_wxyz), reference @ turn(x[3:6]), atol=1e-9)
    other = qpos_from_coordinates(now.position, body().mj_model.qpos0[3:7])
    local, bodies = body().keypoint_position, body().keypoint_body
    np.testing.assert_allclose(
        mujoco_points(body().mj_model, now.qpos, bodies, local), mujoco_points(body().mj_model, other, bodies, local), atol=1e-8
    )


def test_keypoints_that_the_body_lacks_are_nan_and_only_sure_points_count() -> None:
    mapped = np.ones(6, bool)
    mapped[2] = False
    x, velocity, reference, covariance = state(1)
    (made,) = pose_estimates(body(), mapped, readout(x, velocity, reference, covariance, 5), [seen(5)], [0.1])
    np.testing.assert_allclose(made.keypoint_std[:2], [[0.01, 0.02, 0.03]] * 2)
    assert made.keypoint_covariance is not None and np.isnan(made.keypoint_covariance[2]).all() and made.keypoint_covariance.shape == (6, 3, 3)
    assert np.isnan(made.keypoints[2]).all() and np.isfinite(np.delete(made.keypoints, 2, 0)).all()
    assert np.isnan(made.reprojected_xy[:, 2]).all() and made.reprojected_xy.shape == (2, 6, 2)
    assert made.reprojection_rms_px == pytest.approx(3.0)  # camera b is unsure throughout
    assert (made.lag_s, made.stamp_ns, made.cameras_used, made.cameras_missing) == (0.1, 123, ("a",), ("b",))
    nothing = Seen(1, Status.PREDICTED, np.zeros((2, 5)), (), ("a", "b"))
    assert np.isnan(pose_estimates(body(), mapped, readout(x, velocity, reference, covariance, 5), [nothing], [0.0])[0].reprojection_rms_px)


def test_a_body_without_free_root_keeps_its_coordinates() -> None:
    cart = toy(SLIDER, [1, 1], 1, np.random.default_rng(0))
    x = np.array([0.1, -0.2, 0.3])
    (made,) = pose_estimates(cart, np.ones(2, bool), readout(x, 2 * x, np.eye(3), np.diag([1.0, 4.0, 9.0]), 2), [seen(2)], [0.0])
    np.testing.assert_allclose(made.position, x)
    np.testing.assert_allclose(made.velocity, 2 * x)
    np.testing.assert_allclose(made.position_std, [1, 2, 3])
    np.testing.assert_allclose(made.qpos, x)


def test_rotation_vectors_are_mujocos() -> None:
    for phi in (np.zeros(3), np.array([1e-13, 0, 0]), np.array([0.3, -2.0, 1.0])):
        np.testing.assert_allclose(rotation_vector_matrix(phi), turn(phi), atol=1e-12)
