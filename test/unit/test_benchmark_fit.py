"""benchmark/fit_simulated.py: a rig that was moved as a whole is recognised as that."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from core_example import ring, turn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmark"))
fit_simulated = pytest.importorskip("fit_simulated", reason="the folder benchmark/ is not beside test/")


def test_the_rigs_net_motion_is_found_and_takes_points_along() -> None:
    """All cameras are shifted by millimetres, turned by 0.002 rad and stretched by 0.001 about their middle; points move as they do, within 0.02 mm."""
    loaded = ring(6)
    centre, shift, angle, stretch = np.mean([c.centre for c in loaded], 0), np.array([0.004, -0.007, 0.002]), np.array([0.001, -0.002, 0.0015]), 0.001
    rotation = turn(angle)

    def carried(points: np.ndarray) -> np.ndarray:
        return centre + shift + (1 + stretch) * (points - centre) @ rotation.T

    true = []
    for camera in loaded:
        own = camera.rotation @ rotation.T
        true.append(replace(camera, rotation=own, translation=-own @ carried(camera.centre)))
    placement, moved = fit_simulated.net_motion(loaded, true)
    np.testing.assert_allclose(moved, np.r_[shift, angle, stretch], atol=2e-5)
    points = np.random.default_rng(1).uniform(-1.0, 1.0, (5, 3))
    np.testing.assert_allclose(points + placement.moves(points) @ moved, carried(points), atol=2e-5)
