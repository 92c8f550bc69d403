"""simulate -> track -> evaluate through the command line: the accuracy that the package promises, against a truth that no solver's code has touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from intervals import error_in_stds

from biomech_fit.cli.main import main

SECONDS = 5.0


def evaluated(folder: Path, *simulation: str) -> dict:
    assert main(["simulate", str(folder / "recording"), "--seconds", str(SECONDS), "--seed", "1", *simulation]) == 0
    assert main(["track", str(folder / "recording"), "-o", str(folder / "out"), "--no-report"]) == 0
    assert main(["evaluate", str(folder / "out"), "--truth", str(folder / "recording")]) == 0
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert summary["frames"] == round(60 * SECONDS) and summary["status"] == {"OK": summary["frames"]}
    evaluation = json.loads((folder / "out" / "evaluation.json").read_text())
    return evaluation | {"error_in_stds": error_in_stds(folder / "out", folder / "recording", 2.0)}


@pytest.fixture(scope="module")
def true_cameras(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return evaluated(tmp_path_factory.mktemp("true"))


@pytest.fixture(scope="module")
def perturbed_cameras(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return evaluated(tmp_path_factory.mktemp("perturbed"), "--calibration-rotation-deg", "0.5", "--calibration-translation-mm", "20")


def test_keypoints(true_cameras: dict, perturbed_cameras: dict) -> None:
    """Causal, after 2 s, default noise: 11 mm from what the detector aims at; with cameras 0.5 degrees and 20 mm off, 13 mm after rigid alignment."""
    assert true_cameras["causal"]["keypoints"]["raw_mm"]["median"] < 11
    assert true_cameras["smoothed"]["keypoints"]["raw_mm"]["median"] < 11
    assert perturbed_cameras["causal"]["keypoints"]["aligned_mm"]["median"] < 13


def test_flexion(true_cameras: dict, perturbed_cameras: dict) -> None:
    """Hips, knees and ankles with each one's constant offset removed: 3 degrees, 3.5 with perturbed cameras."""
    for evaluation, limit in ((true_cameras, 3.0), (perturbed_cameras, 3.5)):
        for joint in ("hip_flexion", "knee_angle", "ankle_angle"):
            assert evaluation["causal"]["flexion"][joint]["rmse_offset_removed_deg"] < limit, joint


def test_toes(true_cameras: dict) -> None:
    """The ball of the foot stays on the floor while the heel rises: without it the toe joints' angles are 8.3 degrees off instead of 7.5."""
    toes = [true_cameras["causal"]["coordinates"][f"mtp_angle_{side}"]["rmse_offset_removed"] for side in "rl"]
    assert sum(toes) / 2 < 7.9


def test_cameras_are_found(perturbed_cameras: dict) -> None:
    """Refined and aligned, the cameras are at most half as wrong as they were loaded."""
    cameras = perturbed_cameras["causal"]["cameras"]
    assert cameras["loaded_rotation_deg"]["median"] > 0.4 and cameras["loaded_centre_mm"]["median"] > 15
    assert cameras["aligned_rotation_deg"]["median"] < 0.5 * cameras["loaded_rotation_deg"]["median"]
    assert cameras["aligned_centre_mm"]["median"] < 0.7 * cameras["loaded_centre_mm"]["median"]


def test_segments_and_steps(true_cameras: dict) -> None:
    causal = true_cameras["causal"]
    assert causal["segment_error_mm_median"] < 15
    for event in ("initial_contact", "final_contact"):
        found = causal["events"][event]
        assert found["matched"] >= 4 and found["missed"] + found["false"] <= 2 and found["median_abs_ms"] < 60


def test_intervals_hold_what_they_promise(true_cameras: dict) -> None:
    """Joint angles lie in their stated 95 % intervals, and those of the keypoints are not much wider than they need be (0.67: as wide)."""
    assert true_cameras["causal"]["coordinate_coverage95"]["raw"] > 0.8
    assert 0.4 < true_cameras["error_in_stds"] < 0.85
