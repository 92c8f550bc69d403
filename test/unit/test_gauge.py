"""The gauge of a rig: its seven directions are invisible in pixels, and held; everything else is free."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from core_example import ring, turn

from biomech_fit.core.camera import Camera
from biomech_fit.core.gauge import STIFFNESS, rig_gauge, rig_placement
from biomech_fit.core.residuals import CAMERA_STATES

OWN = np.r_[np.full(3, 80.0**2), np.full(3, 30.0**2), 100.0**2]
STEP = 1e-6


def motions(cameras: list[Camera], step: float = STEP) -> list[tuple[list[Camera], np.ndarray, np.ndarray, np.ndarray]]:
    """Small similarity motions of the world about the rig's centre: the moved cameras, (A, b) of the points p -> A p + b, and states (C, 7) per step."""
    centre = np.mean([c.centre for c in cameras], 0)
    out = []
    for i in range(7):
        a, b = np.eye(3), np.zeros(3)
        if i < 3:
            b = step * np.eye(3)[i]
        elif i < 6:
            a = turn(step * np.eye(3)[i - 3])
        else:
            a = (1 + step) * np.eye(3)
        if i >= 3:
            b = centre - a @ centre
        turned = a / np.cbrt(np.linalg.det(a))
        new, states = [], np.zeros((len(cameras), CAMERA_STATES))
        for c, camera in enumerate(cameras):
            rotation = camera.rotation @ turned.T
            new.append(replace(camera, rotation=rotation, translation=-rotation @ (a @ camera.centre + b)))
            change = rotation @ camera.rotation.T  # exp(w)
            states[c, :3] = 0.5 * np.array([change[2, 1] - change[1, 2], change[0, 2] - change[2, 0], change[1, 0] - change[0, 1]])
            states[c, 3:6] = a @ camera.centre + b - camera.centre
        out.append((new, a, b, states / step))
    return out


def test_moving_cameras_and_points_together_changes_no_pixel() -> None:
    cameras = ring(4)
    points = np.array([0, 0, 1]) + np.random.default_rng(0).uniform(-0.8, 0.8, (20, 3))
    for new, a, b, _ in motions(cameras, 0.05):
        for before, after in zip(cameras, new, strict=True):
            np.testing.assert_allclose(after.project(points @ a.T + b), before.project(points), atol=1e-8)


def test_the_gauge_holds_those_directions_and_only_those() -> None:
    cameras = ring(4)
    gauge = rig_gauge(cameras, OWN)
    assert gauge.shape == (28, 28)
    np.testing.assert_allclose(gauge, gauge.T, rtol=1e-9, atol=1e-6 * np.abs(gauge).max())
    directions = np.stack([states.reshape(-1) for *_, states in motions(cameras)], 1)
    metric = np.tile(OWN, len(cameras))
    held = directions.T @ gauge @ directions
    np.testing.assert_allclose(held, STIFFNESS * directions.T @ (metric[:, None] * directions), rtol=1e-4, atol=1e-4 * np.abs(held).max())
    # What is orthogonal to them in the prior's metric, and every clock, costs nothing.
    free = np.random.default_rng(1).standard_normal((28, 5))
    free -= directions @ np.linalg.solve(directions.T @ (metric[:, None] * directions), directions.T @ (metric[:, None] * free))
    scale = np.einsum("ik,i,ik->k", free, metric, free)
    assert np.all(np.einsum("ik,ij,jk->k", free, gauge, free) < 1e-5 * STIFFNESS * scale)
    assert np.linalg.matrix_rank(gauge, tol=1e-6 * np.abs(gauge).max()) == 7
    assert not gauge[6::CAMERA_STATES].any()


@pytest.mark.parametrize("count", [1, 2])
def test_few_cameras_have_a_gauge_too(count: int) -> None:
    gauge = rig_gauge(ring(count), OWN)
    assert np.isfinite(gauge).all()
    assert np.linalg.eigvalsh(0.5 * (gauge + gauge.T)).min() > -1e-6 * np.abs(gauge).max()
    assert np.linalg.matrix_rank(gauge, tol=1e-9 * np.abs(gauge).max()) == (6 if count == 1 else 7)


def test_an_uncertain_placement_spreads_points_as_moving_the_world_does() -> None:
    """Monte Carlo over small motions of the world drawn from the placement's covariance; 3 % of the largest entry is what 20000 draws leave."""
    cameras, rng = ring(4), np.random.default_rng(0)
    placement = rig_placement(cameras, OWN)
    points = rng.uniform(-1, 1, (3, 3)) + np.array([0.5, 0.0, 1.0])
    draws = rng.multivariate_normal(np.zeros(7), placement.covariance, 20000)
    moved = np.array([turn(d[3:6]) @ (points - placement.centre).T * (1 + d[6]) for d in draws]).transpose(0, 2, 1) + placement.centre + draws[:, None, :3]
    for k, found in enumerate(placement.of_points(points)):
        wanted = np.cov(moved[:, k].T)
        np.testing.assert_allclose(found, wanted, atol=0.03 * wanted.max())
    pose = placement.of_poses(points[:1])[0]
    np.testing.assert_allclose(pose[:3, :3], placement.of_points(points)[0], rtol=1e-12)
    np.testing.assert_allclose(pose[3:, 3:], placement.covariance[3:6, 3:6], rtol=1e-12)


def test_more_cameras_place_the_rig_more_surely() -> None:
    few, many = (np.trace(rig_placement(ring(n), OWN).covariance[:3, :3]) for n in (4, 8))
    assert many < 0.6 * few
    with_one_away = rig_placement(ring(8), OWN, np.arange(8) != 2).covariance
    assert np.all(np.diag(with_one_away) > np.diag(rig_placement(ring(8), OWN).covariance))


def test_a_camera_that_does_not_carry_the_rig_is_free() -> None:
    """The others alone are held: a state of that camera costs nothing, and their common motion costs what it costs a rig without it."""
    cameras = ring(4)
    carries = np.array([True, False, True, True])
    held = rig_gauge(cameras, OWN, carries)
    own = slice(CAMERA_STATES, 2 * CAMERA_STATES)
    assert not held[own].any() and not held[:, own].any()
    three = rig_gauge([c for c, kept in zip(cameras, carries, strict=True) if kept], OWN)
    kept = np.repeat(carries, CAMERA_STATES)
    np.testing.assert_allclose(held[np.ix_(kept, kept)], three, rtol=1e-6, atol=1e-6 * abs(three).max())
