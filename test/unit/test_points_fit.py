"""`biomech-fit fit` on 3D points: all frames together, with one body."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_points_pipeline import RATE_HZ, walk
from test_track_body import write_walk

from biomech_fit.cli.main import main
from biomech_fit.formats.mot import read_mot
from biomech_fit.formats.subject import read_subject
from biomech_fit.formats.trc import read_trc, write_trc


def test_joints_are_fitted_over_the_whole_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two seconds of H3.6M's joints with 3 mm of noise: knees to 2 degrees without their offset in all frames (`track` needs half a second to get there), the
    body's points nearer to the true ones than the measured ones are; files as `track` writes them."""
    truth, frames = walk().truth, round(2 * RATE_HZ)
    measured = write_walk(tmp_path / "walk.trc", list(truth.keypoint_names), seconds=2.0)
    out = tmp_path / "out"
    assert main(["fit", str(tmp_path / "walk.trc"), "-o", str(out), "--keypoint-set", "h36m_17", "--world-up", "y", "--no-report"]) == 0
    assert "Fitted in" in capsys.readouterr().out
    motion, fitted = read_mot(out / "joint_angles.mot"), read_trc(out / "keypoints.trc")
    assert len(motion.time_s) == frames and motion.time_s[0] == pytest.approx(5.0)
    for side in "rl":
        off = np.degrees(motion[f"knee_angle_{side}"] - truth.coordinates[:frames, truth.coordinate_names.index(f"knee_angle_{side}")])
        assert off.std() < 2.0
    right = truth.keypoints[:frames]
    assert np.nanmedian(np.linalg.norm(fitted.points - right, axis=-1)) < np.nanmedian(np.linalg.norm(measured - right, axis=-1))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["body"] == "offline fit" and summary["body_fitted"] and "causal" not in summary["events"]
    assert "by_keypoint" in summary["point_distance_mm"] and not (out / "smoothed").exists()  # one result, one set of files
    assert read_subject(out / "subject.yaml").keypoint_set == "h36m_17"


def test_files_of_one_person_share_a_body(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files of a second each: each has its folder, and knees are right to 3 degrees without their offset."""
    truth, frames = walk().truth, round(RATE_HZ)
    points = truth.keypoints[: 2 * frames] + 0.003 * np.random.default_rng(0).standard_normal((2 * frames, 17, 3))
    files, out = [tmp_path / "a.trc", tmp_path / "b.trc"], tmp_path / "out"
    for k, path in enumerate(files):
        part = slice(k * frames, (k + 1) * frames)
        write_trc(path, truth.time_s[part], list(truth.keypoint_names), points[part], frame_rate_hz=RATE_HZ)
    assert main(["fit", *map(str, files), "-o", str(out), "--world-up", "y", "--no-report"]) == 0
    capsys.readouterr()
    column, right = truth.coordinate_names.index("knee_angle_r"), truth.coordinates[: 2 * frames]
    found = np.concatenate([read_mot(out / name / "joint_angles.mot")["knee_angle_r"] for name in "ab"])
    assert np.degrees(found - right[:, column]).std() < 3.0
    assert read_subject(out / "subject.yaml").scales == read_subject(out / "a" / "subject.yaml").scales
    whole, own = (json.loads((folder / "summary.json").read_text()) for folder in (out, out / "a"))
    assert whole["trials"].keys() == {"a", "b"} and whole["trials"]["a"] == own and whole["fit"]["trials"] == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--calibration", "c.toml"], "--calibration cannot be used with 3D points"),
        (["--scheduler", "tcp://x:1"], "--scheduler cannot be used with 3D points"),
        (["--model", "m.osim"], "takes no OpenSim model for 3D points"),
        (["elsewhere"], "has no 3D points; one fit takes either"),
    ],
)
def test_what_points_cannot_be_fitted_with(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str) -> None:
    assert main(["fit", str(tmp_path / "walk.trc"), *options, "-o", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
