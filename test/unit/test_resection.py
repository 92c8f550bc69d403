"""A camera's pose from points that it sees; the truth is projected by OpenCV."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from biomech_fit.core.camera import Camera
from biomech_fit.core.resection import resect
from biomech_fit.sim.cameras import camera_rig, perturbed

CAMERA = camera_rig(np.random.default_rng(4), 1, layout="ring", radius_m=4.25, width_px=1280, height_px=1024, focal_px=1050.0)[0]
SIGMA = 4.0


def differs(a: Camera, b: Camera) -> tuple[float, float]:
    """deg, mm"""
    turn = np.linalg.norm(cv2.Rodrigues(a.rotation @ b.rotation.T)[0])
    return float(np.degrees(turn)), 1e3 * float(np.linalg.norm(a.centre - b.centre))


def seen(rng: np.random.Generator, count: int = 1500, noise: float = SIGMA) -> tuple[np.ndarray, np.ndarray]:
    """Points in a volume that somebody walks in, and their pixels."""
    points = rng.uniform((-1.5, -0.8, 0.1), (1.5, 0.8, 1.7), (count, 3))
    return points, CAMERA.project(points) + noise * rng.standard_normal((count, 2))


@pytest.mark.parametrize(("degrees", "metres"), [(2.0, 0.1), (5.0, 0.3), (10.0, 0.5)])
def test_exact_pixels_give_the_exact_pose(degrees: float, metres: float) -> None:
    """Up to the prior's pull, which 1500 exact points leave at a thousandth of a degree."""
    rng = np.random.default_rng(0)
    points, xy = seen(rng, noise=0.0)
    result = resect(perturbed([CAMERA], rng, np.radians(degrees), metres)[0], points, xy, np.full(len(points), SIGMA))
    assert result is not None and result.misfit < 0.01
    turn, shift = differs(result.camera, CAMERA)
    assert turn < 0.01 and shift < 1.0


def test_noise_outliers_and_gaps() -> None:
    """A quarter of the points anywhere in the image, some missing: still to a twentieth of a degree and 5 mm, about three standard deviations."""
    rng = np.random.default_rng(1)
    points, xy = seen(rng)
    xy[::4] = rng.uniform((0, 0), (CAMERA.width, CAMERA.height), xy[::4].shape)
    xy[1::50], points[2::50] = np.nan, np.nan
    result = resect(perturbed([CAMERA], rng, np.radians(2.0), 0.1)[0], points, xy, np.full(len(points), SIGMA))
    assert result is not None
    turn, shift = differs(result.camera, CAMERA)
    assert turn < 0.05 and shift < 5.0 and 1.0 < result.misfit < 2.0


def test_what_cannot_be_explained_does_not_look_explained() -> None:
    rng = np.random.default_rng(2)
    points, xy = seen(rng)
    result = resect(CAMERA, points, rng.permutation(xy), np.full(len(points), SIGMA))
    assert result is None or result.misfit > 5


@pytest.mark.parametrize("degrees_off", [0.0, 40.0, 65.0])
def test_a_wide_lens_is_as_good_at_its_edge(degrees_off: float) -> None:
    """Somebody seen by a fisheye far from the middle: the right pose explains the pixels as well as it does there."""
    rng, away = np.random.default_rng(5), np.radians(degrees_off)
    camera = Camera("wide", 1280, 1024, np.array([[350.0, 0, 640], [0, 350, 512], [0, 0, 1]]), "equidistant", np.zeros(4), np.eye(3), np.zeros(3))
    points = rng.uniform((-0.8, -0.85, -0.3), (0.8, 0.85, 0.3), (800, 3)) + 2.5 * np.array([np.sin(away), 0.0, np.cos(away)])
    xy = cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), camera.matrix, np.zeros((4, 1)))[0][:, 0] + SIGMA * rng.standard_normal((800, 2))
    moved = replace(camera, rotation=cv2.Rodrigues(np.array([0.0, 0.05, 0.0]))[0], translation=np.array([0.05, 0.0, 0.0]))
    result = resect(moved, points, xy, np.full(800, SIGMA))
    assert result is not None and result.misfit == pytest.approx(1.18, abs=0.08)  # Rayleigh's median, as in the middle
    assert differs(result.camera, camera)[0] < 0.5


def test_too_few_points() -> None:
    points, xy = seen(np.random.default_rng(3), 5)
    assert resect(CAMERA, points, xy, np.full(5, SIGMA)) is None
    assert resect(replace(CAMERA), np.full((9, 3), np.nan), np.zeros((9, 2)), np.full(9, SIGMA)) is None
