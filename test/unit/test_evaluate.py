"""Errors against truth, on motions whose errors are known because they were put in."""

import argparse
import json

import numpy as np
import pytest
import report_example

from biomech_fit.cli import evaluate as command
from biomech_fit.core.errors import InputError
from biomech_fit.formats.trc import write_trc
from biomech_fit.report.align import rigid_alignment
from biomech_fit.report.evaluate import compare, evaluate, event_errors
from biomech_fit.report.evaluation_table import evaluation_table
from biomech_fit.report.motion_data import MotionData, Series
from biomech_fit.report.outputs import write_outputs


def rotation(axis, angle_deg):
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    a = np.radians(angle_deg)
    return np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k


@pytest.fixture(scope="module")
def example():
    return report_example.example()


def test_alignment_finds_the_movement_and_carries_cameras_along():
    rng = np.random.default_rng(0)
    points, turn, shift = rng.normal(size=(40, 5, 3)), rotation([1, 2, 3], 25), np.array([0.1, -0.5, 2.0])
    moved = points @ turn.T + shift
    moved[3, 2] = np.nan
    found = rigid_alignment(points, moved)
    np.testing.assert_allclose(found.rotation, turn, atol=1e-12)
    np.testing.assert_allclose(found.translation, shift, atol=1e-12)
    r, t = rotation([0, 1, 1], 40), np.array([0.2, 0.3, 4.0])
    r2, t2 = found.camera(r, t)
    np.testing.assert_allclose(found.apply(points) @ r2.T + t2, points @ r.T + t, atol=1e-12)
    np.testing.assert_allclose(rigid_alignment(-points, points).rotation @ np.ones(3), rigid_alignment(-points, points).rotation @ np.ones(3))
    assert np.linalg.det(rigid_alignment(-points, points).rotation) == pytest.approx(1), "no mirroring"


def test_known_errors_come_out():
    rng = np.random.default_rng(1)
    time = np.arange(600) / 60
    points = rng.normal(size=(1, 4, 3)) + np.sin(time)[:, None, None]
    names = ("LHip", "RHip", "LKnee", "RKnee")
    angles = np.stack([np.sin(time), np.cos(time), time, time], 1)
    coordinates = ("knee_angle_l", "knee_angle_r", "pelvis_rotation", "pelvis_tx")
    truth = MotionData(Series(time, coordinates, angles), Series(time, names, points), segment_lengths_m={"thigh_l": 0.4})
    turn = rotation([0, 0, 1], 2)
    offset = np.array([np.radians(3.0), np.radians(-1.0), 0, 0.01])
    wrapped = angles + offset
    wrapped[:, 2] = np.angle(np.exp(1j * wrapped[:, 2]))
    estimate = MotionData(
        Series(time[100:] - 0.5, coordinates[::-1], wrapped[100:, ::-1], np.full((500, 4), np.radians(1.0))),
        Series(time[100:] - 0.5, names, (points[100:] + np.array([0, 0, 0.02])) @ turn.T, np.full((500, 4, 3), 1.0)),
        segment_lengths_m={"thigh_l": 0.41, "other": 1.0}, zero_ns=500_000_000,
    )  # fmt: skip
    truth.zero_ns = 0
    result = compare(estimate, truth, skip_s=2.0)
    assert result["frames"] == 480
    assert result["keypoints"]["raw_mm"]["median"] > 19 and result["keypoints"]["aligned_mm"]["p95"] < 1e-6
    assert result["keypoints"]["coverage95"]["raw"] == 1.0
    assert result["alignment"]["rotation_deg"] == pytest.approx(2)
    assert result["coordinates"]["knee_angle_l"]["rmse"] == pytest.approx(3) and result["coordinates"]["knee_angle_l"]["offset"] == pytest.approx(3)
    assert result["coordinates"]["knee_angle_l"]["rmse_offset_removed"] == pytest.approx(0, abs=1e-9)
    assert result["coordinates"]["pelvis_rotation"]["rmse"] == pytest.approx(0, abs=1e-9)
    moved = result["coordinates"]["pelvis_tx"]
    assert moved["unit"] == "mm" and moved["rmse"] == pytest.approx(10) and moved["rmse_offset_removed"] == pytest.approx(0, abs=1e-9)
    assert result["flexion"]["knee_angle"]["rmse_deg"] == pytest.approx(np.sqrt(5))
    assert result["coordinate_coverage95"]["raw"] == pytest.approx(2 / 3)
    assert result["segments"]["thigh_l"]["error_mm"] == pytest.approx(10) and "other" not in result["segments"]


def test_events_are_matched_one_to_one():
    true = [(t, "left", "initial_contact") for t in (1.0, 3.0, 4.0, 5.0, 9.9)] + [(3.5, "right", "final_contact")]
    found = [(3.02, "left", "initial_contact"), (3.06, "left", "initial_contact"), (4.04, "left", "initial_contact"), (6.0, "left", "initial_contact"),
             (1.1, "left", "initial_contact"), (3.5, "left", "final_contact")]  # fmt: skip
    result = event_errors(found, true, 2.0, 9.0)
    contact = result["initial_contact"]
    assert (contact["matched"], contact["missed"], contact["false"]) == (2, 1, 2)
    assert contact["bias_ms"] == pytest.approx(30) and contact["sd_ms"] == pytest.approx(np.std([20, 40], ddof=1))
    assert (result["final_contact"]["matched"], result["final_contact"]["missed"], result["final_contact"]["false"]) == (0, 1, 1)


def test_output_folder_against_simulated_truth(example, tmp_path, capsys):
    run, points, values, cameras = example
    write_outputs(tmp_path / "out", run, report=False)
    truth = tmp_path / "sim"
    truth.mkdir()
    np.savez(
        truth / "truth.npz", time_s=run.time_s, stamp_ns=run.stamps_ns, coordinate_names=run.coordinate_names, coordinates=values,
        keypoint_names=run.keypoint_names, keypoints=points, camera_names=[c.name for c in cameras], camera_rotation=np.stack([c.rotation for c in cameras]),
        camera_translation=np.stack([c.translation for c in cameras]), clock_offset_s=np.full(4, 0.002), segment_names=["thigh_r"], segment_lengths_m=[0.44],
        event_time_s=[(e.stamp_ns - run.zero_ns) * 1e-9 for e in run.smoothed.events], event_side=[int(e.side) for e in run.smoothed.events],
        event_type=[e.type.name.lower() for e in run.smoothed.events],
    )  # fmt: skip
    assert command.run(argparse.Namespace(out=tmp_path / "out", truth=truth, skip_s=2.0)) == 0
    assert "keypoint error, as is, median (mm)" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert result["smoothed"]["keypoints"]["raw_mm"]["median"] == pytest.approx(4 * 1.54, abs=0.7)
    assert result["causal"]["keypoints"]["raw_mm"]["median"] == pytest.approx(7 * 1.54, abs=1.0)
    assert result["smoothed"]["keypoints"]["coverage95"]["raw"] == pytest.approx(0.95, abs=0.03)
    assert result["smoothed"]["flexion"]["all"]["rmse_deg"] == pytest.approx(np.degrees(0.02), abs=0.2)
    assert result["smoothed"]["cameras"]["rotation_deg"]["median"] == pytest.approx(0.06, abs=0.005)
    assert abs(result["smoothed"]["cameras"]["each"]["cam_01"]["time_offset_ms"]) == pytest.approx(2)
    assert result["smoothed"]["segment_error_mm_median"] == pytest.approx(10)
    assert result["smoothed"]["events"]["all"]["missed"] == 0 and result["smoothed"]["events"]["all"]["bias_ms"] == pytest.approx(0, abs=0.1)
    for name in ("estimates.npz", "smoothed/estimates.npz"):
        (tmp_path / "out" / name).unlink()
    again = evaluate(tmp_path / "out", truth)
    assert again["smoothed"]["keypoints"]["raw_mm"]["median"] == pytest.approx(result["smoothed"]["keypoints"]["raw_mm"]["median"], abs=0.02)
    assert again["causal"]["flexion"]["all"]["rmse_deg"] == pytest.approx(result["causal"]["flexion"]["all"]["rmse_deg"], abs=0.01)


def test_truth_in_motion_files(example, tmp_path):
    run, points, *_ = example
    write_outputs(tmp_path / "out", run, report=False)
    write_trc(tmp_path / "truth.trc", run.time_s, list(run.keypoint_names), points)
    for truth in (tmp_path, tmp_path / "truth.trc"):
        result = evaluate(tmp_path / "out", truth, skip_s=0.5)
        assert result["smoothed"]["keypoints"]["raw_mm"]["median"] == pytest.approx(6.2, abs=0.7) and "flexion" not in result["smoothed"]
    assert "keypoint error" in evaluation_table(result)


def test_bad_input_is_named(example, tmp_path):
    run = example[0]
    with pytest.raises(InputError, match="nowhere' does not exist"):
        evaluate(tmp_path / "nowhere", tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"neither truth\.npz nor"):
        evaluate(tmp_path, empty)
    (tmp_path / "x.npz").write_bytes(b"PK not really")
    with pytest.raises(InputError, match="cannot be read"):
        evaluate(tmp_path, tmp_path / "x.npz")
    write_trc(tmp_path / "t.trc", run.time_s, ["Tail"], np.zeros((300, 1, 3)))
    with pytest.raises(InputError, match="holds no result"):
        evaluate(empty, tmp_path / "t.trc")
    write_outputs(tmp_path / "out", run, report=False)
    with pytest.raises(InputError, match="nothing in common"):
        evaluate(tmp_path / "out", tmp_path / "t.trc")
    np.savez(tmp_path / "pickled.npz", time_s=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="plain arrays"):
        evaluate(tmp_path / "out", tmp_path / "pickled.npz")


def test_times_that_are_there_twice_and_damaged_archives(example, tmp_path):
    run, points, *_ = example
    write_outputs(tmp_path / "out", run, report=False)
    names = list(run.keypoint_names)
    write_trc(tmp_path / "truth.trc", run.time_s, names, points)
    write_trc(tmp_path / "twice.trc", np.repeat(run.time_s, 2), names, np.repeat(points, 2, axis=0))
    once, twice = (evaluate(tmp_path / "out", tmp_path / name, skip_s=0.5) for name in ("truth.trc", "twice.trc"))
    assert once["smoothed"]["keypoints"]["raw_mm"]["median"] == pytest.approx(twice["smoothed"]["keypoints"]["raw_mm"]["median"], abs=1e-6)
    np.savez_compressed(tmp_path / "good.npz", time_s=np.random.default_rng(0).random(2000))
    good = (tmp_path / "good.npz").read_bytes()
    for place in (9, 60, 200, 3000):
        (tmp_path / "bad.npz").write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        with pytest.raises(InputError):
            evaluate(tmp_path / "out", tmp_path / "bad.npz")
