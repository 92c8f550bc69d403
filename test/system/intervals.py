"""How wide stated intervals are, beside what they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def error_in_stds(out: Path, recording: Path, from_s: float) -> float:
    """Median size of the keypoints' errors, axis by axis, in their stated standard deviations: 0.67 where these are right."""
    with np.load(out / "estimates.npz") as estimates, np.load(recording / "truth.npz") as truth:
        stamps = estimates["stamp_ns"]
        rows, places = np.nonzero(stamps[:, None] == truth["stamp_ns"])
        late = stamps[rows] >= from_s * 1e9
        rows, places = rows[late], places[late]
        assert len(rows) > 60
        error = estimates["keypoints"][rows] - truth["keypoints"][places]
        return float(np.nanmedian(np.abs(error) / estimates["keypoint_std"][rows]))
