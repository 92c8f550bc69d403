"""`biomech-fit track` on 3D points: the body's files beside the gait's, maps to keypoints, an OpenSim model's own markers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from osim_example import leg_model
from test_points_pipeline import RATE_HZ, walk
from test_track_points import shared

from biomech_fit.cli.main import main
from biomech_fit.cli.points_body import print_approximations
from biomech_fit.core.errors import InputError
from biomech_fit.formats.mot import read_mot
from biomech_fit.formats.osim import read_osim
from biomech_fit.formats.points3d import Points3D
from biomech_fit.formats.points_keypoints import find_points
from biomech_fit.formats.points_map import PointsMap, load_points_map
from biomech_fit.formats.subject import read_subject
from biomech_fit.formats.trc import read_trc, write_trc


def write_walk(path: Path, names: list[str], seconds: float = 3.0) -> np.ndarray:
    """The simulated walk's joints with 3 mm of noise under these names; gives what was written."""
    rng, truth = np.random.default_rng(0), walk().truth
    frames = round(seconds * RATE_HZ)
    points = truth.keypoints[:frames] + 0.003 * rng.standard_normal((frames, 17, 3))
    points[10:14, 3] = np.nan
    write_trc(path, truth.time_s[:frames] + 5.0, names, points, frame_rate_hz=RATE_HZ)
    return points


def test_joints_in_a_trc_give_angles_beside_gait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a map of one's own, since the names are another program's: all files of a body, causal and smoothed, on the file's own times; knees to 4 degrees
    without their offset."""
    truth = walk().truth
    names = [f"Ann:p{k}" for k in range(17)]
    points = write_walk(tmp_path / "walk.trc", names)
    mapping = tmp_path / "map.yaml"
    lines = [f"  {n}: p{k}" for k, n in enumerate(truth.keypoint_names)]
    mapping.write_text("keypoint_set: H36M\nkeypoints:\n" + "\n".join(lines) + "\npoints: {left_ankle: p6, right_ankle: p3, pelvis: p0}\n")
    out = tmp_path / "out"
    assert main(["track", str(tmp_path / "walk.trc"), "-o", str(out), "--points-map", str(mapping), "--world-up", "y"]) == 0
    said = capsys.readouterr().out
    assert "17 points as h36m_17: 90 of 90 frames" in said and "no body was fitted" not in said
    for folder in (out, out / "smoothed"):
        motion = read_mot(folder / "joint_angles.mot")
        assert motion.time_s[0] == pytest.approx(5.0) and len(motion.time_s) == 90
        off = np.degrees(motion["knee_angle_l"] - truth.coordinates[:90, truth.coordinate_names.index("knee_angle_l")])[45:]
        assert off.std() < 4.0
        fitted = read_trc(folder / "keypoints.trc")
        assert fitted.names == truth.keypoint_names
        assert np.nanmedian(np.linalg.norm(fitted.points - points, axis=-1)) < 0.008
        for name in ("joint_centres.trc", "estimates.npz", "gait_events.csv", "steps.csv"):
            assert (folder / name).is_file()
    summary = json.loads((out / "summary.json").read_text())
    assert summary["body_fitted"] and summary["body"] == "streaming solver" and summary["cameras"] == 0 and "reprojection_px" not in summary
    assert summary["status"] == {"OK": 90} and summary["keypoints_used"]["RAnkle"] == "Ann:p3" and summary["points_map"] == "map"
    assert summary["point_distance_mm"]["smoothed"]["median"] < 8 and summary["segment_lengths_m"]["thigh_r"] > 0.3
    assert read_subject(out / "subject.yaml").scales
    page = (out / "report.html").read_text()
    assert 'id="joint_angles"' in page and 'id="pelvis"' in page and "no body was fitted" not in page


def test_points_find_their_set() -> None:
    """By their names, in any order and case, behind a subject's name; the smallest set that has them all; too few are none."""

    def points(names: str) -> Points3D:
        listed = tuple(names.split())
        return Points3D(listed, np.arange(2.0), np.arange(2.0 * len(listed) * 3).reshape(2, -1, 3), 100.0)

    h36m = "rwrist relbow rshoulder Hip RHip RKnee RFoot LHip LKnee LFoot Spine Thorax"
    found = find_points(points(h36m), "x")
    assert found.keypoint_set.name == "h36m_17" and found.used["MidHip"] == "Hip" and np.isnan(found.xyz[:, found.keypoint_set.names.index("Head")]).all()
    np.testing.assert_array_equal(found.xyz[0, found.keypoint_set.names.index("RWrist")], [0, 1, 2])
    markers = " ".join(f"Bob:{s}{n}" for s in "LR" for n in ("ASIS", "PSI", "KNE", "ANK", "HEE", "MT2"))
    found = find_points(points(markers), "x")
    assert found.keypoint_set.name == "plug_in_gait" and found.used["LASI"] == "Bob:LASIS" and found.used["RTOE"] == "Bob:RMT2"
    assert find_points(points("LHEE RHEE C7 a b c d e f g"), "x") is None
    coco = "Nose LEye REye LEar REar LShoulder RShoulder LElbow RElbow LWrist RWrist LHip RHip LKnee RKnee LAnkle RAnkle"
    assert find_points(points(coco), "x").keypoint_set.name == "coco_17"
    mapping = PointsMap("mine", {}, "h36m_17", {"MidHip": (("RHip", "LHip"),), "Thorax": (("RShoulder", "LShoulder"), ("C7",)), "Head": (("Top",),)})
    found = find_points(points(coco.replace("RShoulder", "r_acromion")), "x", mapping=mapping)
    assert found.used["RHip"] == "RHip" and "MidHip" not in found.used and "Thorax" not in found.used  # a point is one keypoint's only
    assert [n.split(" gives ")[1].split(";")[0] for n in found.notices] == [
        "MidHip no point", "Thorax no point", "Head no point",
    ] and "RShoulder + LShoulder or C7 is not in the file" in found.notices[1]  # fmt: skip
    found = find_points(points(" ".join(f"p{k}" for k in range(17))), "x", "h36m_17")
    assert found.used["RWrist"] == "p16" and "taken in its order (MidHip, RHip" in found.notices[0]
    with pytest.raises(InputError, match="3 points of the keypoint set coco_17"):
        find_points(points("LHip RHip LKnee a b"), "x", "coco_17")


def test_an_opensim_model_takes_its_own_markers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the reference recording: every coordinate within 0.1 degree and 1 mm of OpenSim's; the same in both folders; gait beside it."""
    data = shared("opensim_ik_reference")
    out = tmp_path / "out"
    arguments = ["--model", str(data / "subject01_simbody.osim"), "--ik-tasks", str(data / "gait2354_IK_Tasks_uniform.xml"), "--no-report"]
    assert main(["track", str(data / "subject01_synthetic_marker_data.trc"), "-o", str(out), *arguments]) == 0
    said = capsys.readouterr().out
    assert "31 markers" in said and "73 of 73 frames at rest" in said
    reference = read_mot(data / "std_subject01_walk1_ik.mot")
    for folder in (out, out / "smoothed"):
        motion = read_mot(folder / "joint_angles.mot")
        assert set(motion.names) == set(reference.names)
        for name in reference.names:
            off = np.abs(motion[name] - reference[name]).max()
            assert off < (1e-3 if name.endswith(("tx", "ty", "tz")) else np.radians(0.1)), name
        markers = read_trc(folder / "keypoints.trc")
        measured = read_trc(data / "subject01_synthetic_marker_data.trc")
        order = [measured.names.index(n) for n in markers.names]
        assert np.linalg.norm(markers.points - measured.points[:, order], axis=-1).max() < 1e-3
    summary = json.loads((out / "summary.json").read_text())
    assert summary["body"] == "inverse kinematics" and summary["marker_rms_mm"]["max"] < 1 and summary["events"]["initial_contact"] == 2


def test_what_does_not_go_together_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_walk(tmp_path / "walk.trc", list(walk().truth.keypoint_names), 0.5)
    (tmp_path / "leg.osim").write_text(leg_model())
    (tmp_path / "map.yaml").write_text("keypoints: {RKnee: k}\n")
    (tmp_path / "bad.yaml").write_text("keypoint_set: coco_17\nkeypoints: {Tail: k}\n")
    (tmp_path / "empty.yaml").write_text("name: x\n")
    trc, osim = str(tmp_path / "walk.trc"), str(tmp_path / "leg.osim")
    for arguments, words in (
        ([trc, "--calibration", "c.toml"], "--calibration"),
        ([trc, "--model", osim, "--subject", "s.yaml"], "--subject"),
        ([trc, "--model", osim], "None of the measured markers"),
        ([trc, "--ik-tasks", "t.xml"], "--ik-tasks is for --model M.osim"),
        ([trc, "--keypoint-set", "plug_in_gait"], "at least 8"),
        ([trc, "--points-map", str(tmp_path / "map.yaml")], "no keypoint_set"),
        ([trc, "--points-map", str(tmp_path / "bad.yaml")], "Tail"),
        ([trc, "--points-map", str(tmp_path / "empty.yaml")], "must have points or keypoints"),
        ([str(tmp_path), "--no-body"], "--no-body"),
    ):
        assert main(["track", *arguments, "-o", str(tmp_path / "out")]) == 2, words
        error = capsys.readouterr().err.strip()
        assert words in error and "\n" not in error, error
    assert load_points_map("plug_in_gait").keypoints == {} and len(read_osim(osim).linkage.marker_names) > 0


def test_what_a_conversion_costs_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A knee whose axis shifts by some millimetres is one fixed hinge in the streaming solver."""
    (tmp_path / "leg.osim").write_text(leg_model())
    print_approximations(str(tmp_path / "leg.osim"))
    said = capsys.readouterr().out
    assert "joint knee_joint became one hinge for knee" in said and "mm RMS" in said


@pytest.mark.parametrize("subject", ["HC038A"])
def test_real_markers_give_the_lab_s_angles(subject: str, tmp_path: Path) -> None:
    """A recorded walk with skin markers: hip, knee and ankle within 4 degrees of Plug-in Gait's without their offset, markers to 4 mm."""
    path = next(shared("mcgill_walking", subject, "Straight").glob("*.c3d"))
    assert main(["track", str(path), "-o", str(tmp_path), "--no-report"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["keypoint_set"] == "plug_in_gait" and len(summary["keypoints_used"]) > 30
    assert summary["status"]["OK"] == summary["frames"] and summary["point_distance_mm"]["smoothed"]["median"] < 4
    angles = summary["angles_of_the_file"]
    assert len(angles["smoothed"]) == 8
    for kind in ("causal", "smoothed"):
        assert max(a["offset_removed_deg"] for a in angles[kind].values()) < 4.0, angles[kind]
    assert summary["labels"]["smoothed"]["all"]["missed"] == 0  # the gait is still that of the points
