"""Figures, pictures, report and output files of a made-up run."""

import csv
import json
import re
import struct
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import report_example

from biomech_fit.core.errors import InputError
from biomech_fit.core.sides import side_of
from biomech_fit.core.types import Status
from biomech_fit.formats.calibration import read_calibration
from biomech_fit.formats.mot import read_mot
from biomech_fit.formats.trc import read_trc
from biomech_fit.report.figures import camera_correction, gc_share, json_ready, reprojection_figures, rotation_angle_deg, summarise
from biomech_fit.report.outputs import EVENT_COLUMNS, forget_earlier, write_outputs
from biomech_fit.report.pictures_strip import side_view
from biomech_fit.report.points_body import write_fitted_body
from biomech_fit.report.result import Comparison


@pytest.fixture(scope="module")
def run():
    result = report_example.example()[0]
    ours = result.errors_px()
    result.comparison = Comparison({"end to end": ours, "two stages": 1.5 * ours}, {"end to end": 1.1 * ours, "two stages": 2.0 * ours})
    return result


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    write_outputs(out, run)
    return out


def test_gc_share_counts_only_finite_errors_strictly_under_x():
    errors = np.array([1.0, 5.0, 7.0, np.nan])
    assert gc_share(errors, 5.0) == pytest.approx(1 / 3)
    assert np.isnan(gc_share(np.array([np.nan]), 5.0))
    figures = reprojection_figures(2 * errors, errors)
    assert figures["median"] == 5.0 and figures["median_before"] == 10.0 and figures["gc10"] == 1.0 and figures["count"] == 3


def test_errors_leave_out_unsure_points(run):
    errors = run.errors_px()
    assert np.isnan(errors[run.observed_confidence < 0.5]).all()
    assert np.isfinite(errors[10:][(run.observed_confidence >= 0.5)[10:]]).all()


def test_camera_correction_is_angle_and_movement_of_the_centre(run):
    camera = run.cameras_loaded[0]
    moved = report_example.turned(camera, 0.7, np.array([0.03, 0.04, 0.0]))
    correction = camera_correction(camera, moved)
    assert correction["rotation_deg"] == pytest.approx(0.7, abs=1e-3) and correction["translation_mm"] == pytest.approx(50.0, abs=1e-6)
    assert rotation_angle_deg(np.eye(3), np.diag([1.0, -1, -1])) == pytest.approx(180)


def test_summary_has_the_promised_entries(run, folder):
    summary = json.loads((folder / "summary.json").read_text())
    for key in (
        "frames", "frame_rate_hz", "cameras", "keypoints", "wall_s", "realtime_factor", "latency_ms", "reprojection_px", "camera_correction",
        "segment_lengths_m", "events", "version",
    ):  # fmt: skip
        assert key in summary, key
    assert summary["frames"] == 300 and summary["cameras"] == 4 and summary["keypoints"] == 26
    assert set(summary["latency_ms"]) == {"p50", "p95", "p99"}
    figures = summary["reprojection_px"]
    assert figures["median"] < figures["median_before"] and figures["gc10"] > figures["gc10_before"]
    assert set(figures["per_camera"]) == {c.name for c in run.cameras_loaded} == set(summary["camera_correction"])
    assert 0.5 < summary["camera_correction"]["cam_01"]["rotation_deg"] < 1.5
    assert summary["realtime_factor"] == pytest.approx(5.0 / 2.1)
    assert summary["status"] == {"OK": 285, "INITIALISING": 9, "PREDICTED": 6}


def test_gc_curves_of_all_cameras_and_keypoints(run, folder):
    """gc_curves.csv against the definition, counted anew; the summary compares methods on the same detections."""
    rows = list(csv.DictReader((folder / "gc_curves.csv").open()))
    assert [float(r["x_px"]) for r in rows] == list(range(51))
    errors, before, knee = run.errors_px(), run.errors_px(before=True), run.keypoint_names.index("LKnee")
    for name, own in (("all", errors), ("cam_02", errors[:, 1]), ("LKnee", errors[:, :, knee]), ("cam_02_before", before[:, 1])):
        share = [np.sum(own[np.isfinite(own)] < x) / np.isfinite(own).sum() for x in range(51)]
        np.testing.assert_allclose([float(r[name]) for r in rows], share, atol=1e-4)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["reprojection_px"]["per_keypoint"]["LKnee"]["gc10"] == pytest.approx(gc_share(errors[:, :, knee], 10.0))
    compared = summary["comparison"]
    assert compared["seen"]["two stages"]["median"] == pytest.approx(1.5 * summary["reprojection_px"]["median"])
    assert compared["held_out"]["end to end"]["gc10"] > compared["held_out"]["two stages"]["gc10"]


def test_strip_is_seen_from_the_right(run):
    """Whatever way the figure walks, forward is to the right and heights are kept."""
    names = run.joint_centre_names
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    points = run.smoothed.joint_centres[100]
    views = [side_view(p, names) for p in (points, points @ turn.T + [3.0, -2.0, 0.0])]
    np.testing.assert_allclose(views[0], views[1], atol=1e-9)
    toe, heel = names.index("RBigToe"), names.index("RHeel")
    assert views[0][toe, 0] > views[0][heel, 0] + 0.1
    np.testing.assert_allclose(views[0][:, 1], points[:, 2])


def test_a_corrected_lens_is_told(run):
    camera = run.cameras_loaded[0]
    matrix = camera.matrix @ np.diag([1.01, 1.01, 1.0])
    correction = camera_correction(camera, replace(camera, matrix=matrix, distortion_model="plumb_bob", distortion=np.array([0.02, -0.01, 0, 0])))
    assert correction["focal_percent"] == pytest.approx(1.0) and (correction["k1"], correction["k2"]) == pytest.approx((0.02, -0.01))
    assert set(camera_correction(camera, camera)) == {"rotation_deg", "translation_mm"}


def test_motion_files_read_back(run, folder):
    for place, trajectory in ((folder, run.causal), (folder / "smoothed", run.smoothed)):
        there = np.isfinite(trajectory.position).all(1)
        mot = read_mot(place / "joint_angles.mot")
        assert tuple(mot.names) == run.coordinate_names
        np.testing.assert_allclose(mot.time_s, run.time_s[there], atol=1e-5)
        np.testing.assert_allclose(mot.values, trajectory.position[there], atol=1e-5)
        text = (place / "joint_angles.mot").read_text()
        assert any(line.strip() == "inDegrees=yes" for line in text.splitlines())
        row = np.array(text.splitlines()[-1].split(), float)[1:]
        degrees = np.where(run.coordinate_is_angle, np.degrees(trajectory.position[-1]), trajectory.position[-1])
        np.testing.assert_allclose(row, degrees, atol=1e-3)
        trc = read_trc(place / "keypoints.trc")
        assert tuple(trc.names) == run.keypoint_names
        np.testing.assert_allclose(trc.points, trajectory.keypoints[there], atol=1e-4)
        assert tuple(read_trc(place / "joint_centres.trc").names) == run.joint_centre_names


def test_tables_and_calibration(run, folder):
    rows = list(csv.DictReader((folder / "gait_events.csv").open()))
    assert list(rows[0]) == list(EVENT_COLUMNS) and len(rows) == len(run.causal.events)
    assert {r["side"] for r in rows} == {"left", "right"} and {r["event"] for r in rows} == {"initial_contact", "final_contact"}
    times = [float(r["time_s"]) for r in rows]
    assert times == sorted(times) and 0 < times[0] < times[-1] < 5
    steps = list(csv.DictReader((folder / "smoothed" / "steps.csv").open()))
    assert len(steps) == len(run.smoothed.steps) and float(steps[-1]["stride_length_m"]) == pytest.approx(1.265, abs=0.05)
    for camera, written in zip(run.cameras_refined, read_calibration(folder / "calibration.toml").cameras, strict=True):
        assert camera.name == written.name
        np.testing.assert_allclose(camera.rotation, written.rotation, atol=1e-6)


def test_report_stands_alone(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 13
    text = re.sub(r'base64,[^"]+', "", page)  # by chance a picture can spell anything
    assert "http" not in text.replace("http-equiv", "") and "<script" not in page and 'src="data:' in page
    for word in ("Skeleton over time", "Joint angles", "gait cycle", "GC", "turned by", "thigh", "latency p50", "cadence", "This is a made-up run."):
        assert word in page
    names = {p.name for p in (folder / "pictures").iterdir()}
    pictures = "strip joint_angles pelvis gait_cycles footprints gait_events gc_curves comparison gc_keypoints reprojection_1 scene status latency".split()
    assert names == {f"{n}.png" for n in pictures}
    for path in (folder / "pictures").iterdir():
        head = path.read_bytes()[:24]
        width, height = struct.unpack(">II", head[16:24])
        low = path.stem in ("footprints", "strip")  # a straight walk, and figures side by side
        assert head.startswith(b"\x89PNG") and width > 500 and height > (200 if low else 300)


def test_nothing_tracked_still_gives_a_report(run, tmp_path):
    blank = replace(
        run.causal, events=[], steps=[], status=np.full(300, Status.NO_PERSON),
        **{n: np.full_like(getattr(run.causal, n), np.nan) for n in ("position", "velocity", "position_std", "keypoints", "keypoint_std", "joint_centres")},
    )  # fmt: skip
    nothing = np.full_like(run.observed_xy, np.nan)
    empty = replace(
        run, causal=blank, smoothed=blank, observed_xy=nothing, observed_confidence=np.zeros_like(run.observed_confidence), reprojected_xy=nothing,
        reprojected_before_xy=nothing, latency_s=np.full(300, np.nan), source="<nobody> & co",
    )  # fmt: skip
    (tmp_path / "keypoints.trc").write_text("of an earlier run")
    write_outputs(tmp_path, empty)
    assert not (tmp_path / "keypoints.trc").exists()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["reprojection_px"]["median"] is None and summary["events"]["initial_contact"] == 0
    assert "&lt;nobody&gt; &amp; co" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "smoothed" / "joint_angles.mot").is_file()


def test_wrong_shapes_are_named(run):
    with pytest.raises(InputError, match=r"latency_s has the shape \(3,\)"):
        replace(run, latency_s=np.zeros(3))
    with pytest.raises(InputError, match="4 loaded cameras but 3 refined"):
        replace(run, cameras_refined=run.cameras_refined[:3])


def test_summary_is_json_even_with_odd_numbers(run):
    text = json.dumps(json_ready(summarise(replace(run, extra={"odd": np.float32("inf"), "array": np.arange(3)}))))
    assert json.loads(text)["odd"] is None and json.loads(text)["array"] == [0, 1, 2]


@pytest.mark.parametrize(("name", "side"), [("LHip", "l"), ("RBigToe", "r"), ("left_knee", "l"), ("knee_angle_r", "r"), ("Nose", ""), ("Lumbar", ""),
                                            ("lasis", "l"), ("rknee", "r"), ("MidHip", ""), ("lumbar_rotation", "")])  # fmt: skip
def test_sides_by_name(name, side):
    assert side_of(name) == side


def test_nothing_of_an_earlier_run_stays(run, tmp_path):
    """Whatever kind of run it was; what is not a run's stays, and so does what this run may have read there."""
    write_outputs(tmp_path, run)
    (tmp_path / "notes.txt").write_text("mine")
    forget_earlier(tmp_path, [tmp_path / "smoothed" / "keypoints.trc"])  # which is being read
    assert {f.name for f in tmp_path.rglob("*") if f.is_file()} == {"notes.txt", "calibration.toml", "keypoints.trc"}
    (tmp_path / "summary.json").write_text(json.dumps({"version": "0", "source": "a.c3d", "events": {}}))
    (tmp_path / "joint_angles.mot").write_text("old")
    forget_earlier(tmp_path)
    assert not (tmp_path / "joint_angles.mot").exists()
    (tmp_path / "summary.json").write_text('{"somebody": "else"}')
    forget_earlier(tmp_path)
    assert (tmp_path / "summary.json").exists()


def test_a_body_that_is_found_late_is_spread_over_the_file(run, tmp_path):
    """The file has 20 samples before the body was placed and angles of its own; both are compared sample by sample."""
    early = 20
    stamps = np.concatenate([run.stamps_ns[0] - np.arange(early, 0, -1) * 10_000_000, run.stamps_ns])
    theirs = np.degrees(run.smoothed.position[:, run.coordinate_names.index("knee_angle_r")]) + 3.0
    angles = {"knee_angle_r": np.concatenate([np.full(early, 50.0), theirs])}
    recording = SimpleNamespace(stamps_ns=stamps, angles=angles)
    measured = np.concatenate([np.full((early, *run.smoothed.keypoints.shape[1:]), np.nan), run.smoothed.keypoints])
    part = write_fitted_body(tmp_path, run, measured, {}, recording, report=False)
    compared = part.summary["angles_of_the_file"]["smoothed"]["knee_angle_r"]
    assert compared["bias_deg"] == pytest.approx(-3.0) and compared["offset_removed_deg"] == pytest.approx(0.0, abs=1e-9)
    assert len(part.angles["knee_angle_r"]) == len(stamps) and np.isnan(part.angles["knee_angle_r"][:early]).all()
    assert part.summary["point_distance_mm"]["smoothed"]["median"] == pytest.approx(0.0)
