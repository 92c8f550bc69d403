"""A rigid set of points goes to where the cameras see it."""

from __future__ import annotations

import numpy as np
import pytest
from core_example import ring, turn

from biomech_fit.core.placement import CHUNK, best_placement

CAMERAS = ring(4)
T, K = CHUNK + 3, 15


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True points (T, K, 3), their pixels (T, C, K, 2), and the points moved by up to 5 cm and 4 degrees in each frame."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(-0.5, 0.5, (K, 3))
    truth = body + np.array([0, 0, 1]) + 0.3 * np.sin(0.1 * np.arange(T)[:, None, None] + np.arange(3))
    xy = np.stack([c.project(truth.reshape(-1, 3)).reshape(T, K, 2) for c in CAMERAS], 1)
    moved = np.stack([(p - p.mean(0)) @ turn(rng.uniform(-0.07, 0.07, 3)).T + p.mean(0) + rng.uniform(-0.05, 0.05, 3) for p in truth])
    return truth, xy, moved


def test_points_go_back_to_where_they_are_seen() -> None:
    """0.1 mm: float32 pixels; a fifth of the detections far off and some missing change little (2 mm)."""
    truth, xy, moved = scene()
    np.testing.assert_allclose(best_placement(CAMERAS, moved, xy, np.ones((T, 4, K))), truth, atol=1e-4)
    rng = np.random.default_rng(1)
    spoiled = xy.copy()
    bad = rng.random((T, 4, K)) < 0.2
    spoiled[bad] += 200
    spoiled[rng.random((T, 4, K)) < 0.1] = np.nan
    assert np.abs(best_placement(CAMERAS, moved, spoiled, np.ones((T, 4, K))) - truth).max() < 2e-3


def test_what_is_not_there_is_left_alone() -> None:
    truth, xy, moved = scene(2)
    moved[5] = np.nan
    moved[:, 3] = np.nan
    weight = np.ones((T, 4, K))
    weight[7] = 0
    weight[8, :, 2:] = 0  # two points are too few
    found = best_placement(CAMERAS, moved, xy, weight)
    np.testing.assert_array_equal(found[[5, 7, 8]], moved[[5, 7, 8]])
    assert np.isnan(found[:, 3]).all()
    rest = np.delete(np.arange(T), [5, 7, 8])
    others = np.delete(np.arange(K), 3)
    np.testing.assert_allclose(found[rest][:, others], truth[rest][:, others], atol=1e-4)


@pytest.mark.parametrize("frames", [0, 1])
def test_few_frames(frames: int) -> None:
    _, xy, moved = scene()
    assert best_placement(CAMERAS, moved[:frames], xy[:frames], np.ones((frames, 4, K))).shape == (frames, K, 3)
