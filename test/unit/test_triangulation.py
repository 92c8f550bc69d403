"""Triangulation: exact without noise, robust against wrong views, tolerant of biased calibrations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from biomech_fit.core.camera import Camera
from biomech_fit.core.triangulation import triangulate_robust, triangulate_weighted

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
METHODS = [triangulate_weighted, triangulate_robust]


def ring(count: int = 8, model: str = "plumb_bob", distortion: tuple[float, ...] = (-0.1, 0.03, 1e-4, -2e-4)) -> list[Camera]:
    cameras = []
    for i in range(count):
        angle = 2 * np.pi * i / count
        centre = np.array([4 * np.cos(angle), 4 * np.sin(angle), 1.6])
        forward = np.array([0, 0, 1.0]) - centre
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        matrix = np.array([[1200.0, 0, 960], [0, 1200, 540], [0, 0, 1]])
        cameras.append(Camera(f"c{i}", 1920, 1080, matrix, model, np.array(distortion), rotation, -rotation @ centre))
    return cameras


def body(count: int = 26) -> np.ndarray:
    return np.random.default_rng(3).uniform([-0.4, -0.4, 0.1], [0.4, 0.4, 1.8], (count, 3))


def views(cameras: list[Camera], points: np.ndarray) -> np.ndarray:
    return np.stack([c.project(points) for c in cameras])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lens", [("none", ()), ("plumb_bob", (-0.1, 0.03, 1e-4, -2e-4)), ("equidistant", (-0.02, 0.01, 0.0, 0.0))])
def test_exact_views_give_exact_points(method, lens) -> None:
    cameras, points = ring(6, *lens), body()
    xy = views(cameras, points)
    got, residual = method(cameras, xy, np.ones(xy.shape[:2]))
    np.testing.assert_allclose(got, points, atol=1e-6)
    assert residual.shape == (6, 26) and residual.max() < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_frames_axis_and_missing_views(method) -> None:
    cameras, points = ring(4), np.stack([body(10), body(10) + 0.1])
    xy = np.stack([views(cameras, p) for p in points])
    weight = np.ones(xy.shape[:3])
    weight[0, 1:, 2] = 0
    xy[1, :3, 5] = np.nan
    got, residual = method(cameras, xy, weight)
    assert got.shape == (2, 10, 3) and residual.shape == (2, 4, 10)
    lost = np.zeros((2, 10), bool)
    lost[0, 2] = lost[1, 5] = True
    assert np.array_equal(np.isnan(got[..., 0]), lost)
    np.testing.assert_allclose(got[~lost], points[~lost], atol=1e-6)
    assert np.isnan(residual[0, :, 2]).all() and np.isnan(residual[1, :3]).all(axis=0)[5]


def test_weights_count_like_the_least_squares_optimum() -> None:
    """Against a Gauss-Newton minimum of the weighted squared pixel error by finite differences."""
    cameras, points = ring(4), body(5)
    rng = np.random.default_rng(0)
    xy, weight = views(cameras, points) + rng.normal(0, 3, (4, 5, 2)), rng.uniform(0.1, 1, (4, 5))
    got, _ = triangulate_weighted(cameras, xy, weight, iterations=6)

    def cost(p: np.ndarray) -> np.ndarray:
        return (weight * ((views(cameras, p) - xy) ** 2).sum(-1)).sum(0)

    base = cost(got)
    for axis in range(3):
        for step in (-1e-3, 1e-3):
            moved = got.copy()
            moved[:, axis] += step
            assert np.all(cost(moved) > base - 0.02), "a millimetre aside is not better"


def test_wrong_views_are_ignored() -> None:
    cameras, points = ring(8), body()
    rng = np.random.default_rng(2)
    xy = views(cameras, points) + rng.normal(0, 2, (8, 26, 2))
    for k in range(26):  # two of eight views look at something else
        for c in rng.choice(8, 2, replace=False):
            xy[c, k] += rng.uniform(80, 300) * np.array([np.cos(k), np.sin(k)])
    got, _ = triangulate_robust(cameras, xy, np.ones((8, 26)))
    plain, _ = triangulate_weighted(cameras, xy, np.ones((8, 26)))
    assert np.linalg.norm(got - points, axis=1).max() < 0.02
    assert np.median(np.linalg.norm(plain - points, axis=1)) > 0.03


def test_biased_calibration_keeps_all_cameras() -> None:
    cameras, points = ring(4), body()
    xy = views(cameras, points)
    turns = [cv2.Rodrigues(np.radians([0.6, -0.3, 0.4]) * sign)[0] for sign in (1, -1, 1, 0)]
    tilted = [replace(c, rotation=turn @ c.rotation, translation=turn @ c.translation) for c, turn in zip(cameras, turns, strict=True)]
    bias = np.linalg.norm(np.nanmedian(views(tilted, points) - xy, axis=1), axis=-1)
    assert 8 < bias.max() < 25
    got, _ = triangulate_robust(tilted, xy, np.ones((4, 26)))
    plain, _ = triangulate_weighted(tilted, xy, np.ones((4, 26)))
    assert np.linalg.norm(got - plain, axis=1).max() < 0.01, "nearly the compromise of all four, not a choice of two"


def test_parallel_rays_and_behind() -> None:
    a = ring(2)[0]
    xy = views([a, a], body(3))
    got, _ = triangulate_weighted([a, a], xy, np.ones((2, 3)))
    assert np.isnan(got).all()
    with pytest.raises(ValueError, match="weight"):
        triangulate_weighted([a, a], xy, np.ones((3, 3)))


def test_real_recording_agrees_with_pose2sim() -> None:
    if not (DATA / "pose2sim_balancing").exists():
        pytest.skip("shared/data/pose2sim_balancing is absent")
    from biomech_fit.formats.pose2sim import Pose2SimRecording
    from biomech_fit.formats.trc import read_trc

    recording = Pose2SimRecording(DATA / "pose2sim_balancing")
    frames: dict[int, dict] = {}
    for p in recording.packets():
        frames.setdefault(p.stamp_ns, {})[p.camera] = p
    trc = read_trc(DATA / "pose2sim_balancing" / "reference" / "S00_P00_T01_BalancingTrial_0-100.trc", axes="pose2sim")
    wanted = [trc.names.index(n) if n in trc.names else -1 for n in recording.keypoint_set.names]
    distances, errors = [], []
    for row, packets in enumerate(list(frames.values())[:40]):
        # Cameras 2 to 4 see one person at place 0 in nearly all frames; in camera 1 the man is the most confident.
        best = {c: int(np.argmax(p.confidence.mean(1) + 1e-3 * np.nanstd(p.xy, axis=1).sum(1))) for c, p in packets.items()}
        xy = np.stack([packets[c.name].xy[best[c.name]] for c in recording.cameras])
        confidence = np.stack([packets[c.name].confidence[best[c.name]] for c in recording.cameras])
        points, residual = triangulate_robust(recording.cameras, xy, np.where(confidence > 0.3, confidence, 0))
        reference = trc.points[row][wanted]
        reference[np.array(wanted) < 0] = np.nan
        distances.append(np.linalg.norm(points - reference, axis=1))
        errors.append(residual)
    assert np.nanmedian(distances) < 0.015
    assert 8 < np.nanmedian(errors) < 16, "the shipped calibration leaves about 12.4 px"
