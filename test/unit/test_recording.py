"""Pose2Sim folders: found parts, camera matching, lost frames, oddities; and what is not a recording."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.types import KeypointPacket
from biomech_fit.formats.calibration import write_calibration
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.openpose import read_frame, vote_body_25
from biomech_fit.formats.pose2sim import write_pose2sim_recording
from biomech_fit.formats.project_folder import match_cameras, plain_name
from biomech_fit.formats.recording import open_recording

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "pose2sim_balancing"
COCO = load_keypoint_set("coco_17")
MATRIX = np.array([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]])
CAMERAS = [Camera(f"cam_{i:02d}", 1280, 720, MATRIX, "none", np.zeros(0), np.eye(3), np.array([0.1 * i, 0, 3.0])) for i in (1, 2, 10)]


def make_packets(frames: int = 12, keypoints: int = 17, people: int = 2) -> list[KeypointPacket]:
    rng = np.random.default_rng(1)
    packets = []
    for f in range(frames):
        for camera in CAMERAS:
            xy, confidence = rng.uniform(10, 700, (people, keypoints, 2)), rng.uniform(0.1, 1, (people, keypoints))
            packets.append(KeypointPacket(camera.name, round(f * 1e9 / 50), xy.astype(np.float32), confidence.astype(np.float32), np.arange(people)))
    return packets


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    write_pose2sim_recording(tmp_path / "trial", CAMERAS, COCO, make_packets(), 50.0)
    return tmp_path / "trial"


def json_of(trial: Path, camera: str, frame: int) -> Path:
    return trial / "pose" / f"{camera}_json" / f"{camera}_{frame:06d}.json"


def test_round_trip(trial: Path) -> None:
    recording = open_recording(trial)
    assert recording.keypoint_set.name == "coco_17" and recording.frame_rate_hz == 50 and recording.frame_count == 12 and not recording.notices
    assert [c.name for c in recording.cameras] == ["cam_01", "cam_02", "cam_10"]
    for _ in range(2):
        for got, sent in zip(recording.packets(), make_packets(), strict=True):
            assert (got.camera, got.stamp_ns, got.received_ns) == (sent.camera, sent.stamp_ns, None)
            np.testing.assert_allclose(got.xy, sent.xy, atol=1e-3)
            np.testing.assert_allclose(got.confidence, sent.confidence, atol=1e-3)
            assert got.person_ids.tolist() == [0, 1] and got.xy.dtype == np.float32


def test_writing_again_leaves_no_old_frames(trial: Path) -> None:
    write_pose2sim_recording(trial, CAMERAS, COCO, make_packets(5), 50.0)
    assert open_recording(trial).frame_count == 5


def test_missing_points_are_nan(trial: Path) -> None:
    path = json_of(trial, "cam_01", 0)
    document = json.loads(path.read_text())
    values = document["people"][0]["pose_keypoints_2d"]
    values[0:3] = [0, 0, 0]
    values[3:6] = [5.0, 6.0, -0.5]
    values[6:9] = [5.0, 6.0, float("nan")]
    values[9:12] = [5.0, 6.0, 1.7]
    path.write_text(json.dumps(document))
    recording = open_recording(trial)
    first = next(iter(recording.packets()))
    assert np.isnan(first.xy[0, :3]).all() and first.confidence[0, :4].tolist() == [0, 0, 0, 1]
    list(recording.packets())
    assert any("Camera 'cam_01': 2 confidences are NaN, infinite or negative" in n for n in recording.notices)
    assert any("Camera 'cam_01': 1 confidences are above 1" in n for n in recording.notices)


def test_lost_frames_broken_json_and_wrong_lengths(trial: Path) -> None:
    json_of(trial, "cam_02", 3).unlink()
    json_of(trial, "cam_02", 4).write_text('{"people": [{"pose_keypoints_2d": [1, 2')
    json_of(trial, "cam_02", 5).write_text("[]")
    document = json.loads(json_of(trial, "cam_10", 6).read_text())
    document["people"][0]["pose_keypoints_2d"].pop()
    document["people"][1]["pose_keypoints_2d"] = [1.0] * 30
    document["people"].append({"pose_keypoints_2d": []})
    json_of(trial, "cam_10", 6).write_text(json.dumps(document))
    recording = open_recording(trial)
    packets = list(recording.packets())
    assert len(packets) == 36 - 3
    assert next(p for p in packets if p.camera == "cam_10" and p.stamp_ns == 120_000_000).xy.shape == (0, 17, 2)
    text = "\n".join(recording.notices)
    assert "Camera 'cam_02': 1 of 12 frames have no file" in text
    assert "Camera 'cam_02': 2 files cannot be read and count as lost frames" in text and "not valid JSON" in text
    assert "Camera 'cam_10': 2 people have not 17 keypoints" in text


def test_pose_2d_folder_and_other_names(trial: Path) -> None:
    (trial / "pose").rename(trial / "pose-2d")
    for old, new in (("cam_01_json", "CAM1_json"), ("cam_02_json", "Cam 02"), ("cam_10_json", "cam-10_keypoints")):
        (trial / "pose-2d" / old).rename(trial / "pose-2d" / new)
    recording = open_recording(trial)
    assert [c.name for c in recording.cameras] == ["cam_01", "cam_02", "cam_10"] and len(list(recording.packets())) == 36 and not recording.notices
    assert len(list(open_recording(trial / "pose-2d").packets())) == 36


def test_camera_matching() -> None:
    assert plain_name("cam01_json") == plain_name("cam_01") == plain_name("Cam-1") and plain_name("cam100") != plain_name("cam10")
    assert plain_name("左_json") == plain_name("左") != plain_name("右") and plain_name("Käm_ö") != plain_name("Käm_ü")
    numbered = match_cameras(["port_1_json", "port_2_json"], ["cam_1", "cam_2", "cam_3"], "pose folder")
    assert numbered.camera_of == {"port_1_json": "cam_1", "port_2_json": "cam_2"} and "taken in order" in numbered.notices[0] and "cam_3" in numbered.notices[1]
    ordered = match_cameras(["left", "right"], ["A", "B"], "pose folder")
    assert ordered.camera_of == {"left": "A", "right": "B"} and "left is A, right is B" in ordered.notices[0]
    for sources, cameras in ((["cam1", "cam2", "cam5"], ["cam1", "cam2", "cam3"]), (["a", "b", "c"], ["x", "y"])):
        with pytest.raises(InputError) as error:
            match_cameras(sources, cameras, "pose folder")
        assert all(name in str(error.value) for name in [*sources, *cameras])


def test_calibration_without_a_camera_names_both_lists(trial: Path) -> None:
    write_calibration(trial / "Calib.toml", CAMERAS[:2])
    with pytest.raises(InputError, match=r"no camera for the pose folder cam_10_json: .*cam_01_json, cam_02_json, cam_10_json; .* has cam_01, cam_02\."):
        open_recording(trial)


def test_calibration_is_found_nearby_and_two_are_an_error(trial: Path) -> None:
    session = trial.parent
    (session / "Calibration").mkdir()
    shutil.move(trial / "Calib.toml", session / "Calibration" / "Calib_room.toml")
    assert open_recording(trial).calibration.path == session / "Calibration" / "Calib_room.toml"
    shutil.copy(session / "Calibration" / "Calib_room.toml", session / "Calib_b.toml")
    with pytest.raises(InputError, match=r"There are 2 calibrations: .*Calib_b\.toml' and .*Calib_room\.toml'; choose one with --calibration"):
        open_recording(trial)
    assert open_recording(trial, calibration=session / "Calib_b.toml").calibration.path == session / "Calib_b.toml"
    (session / "Calib_b.toml").rename(session / "calibration.toml")
    assert open_recording(trial).calibration.path == session / "Calibration" / "Calib_room.toml", "the result of a fit beside it is not taken for a second one"
    shutil.move(session / "calibration.toml", session / "Calib_b.toml")
    shutil.rmtree(session / "Calibration")
    (session / "Calib_b.toml").unlink()
    with pytest.raises(InputError, match=r"No calibration \(Calib\*\.toml\) was found"):
        open_recording(trial)


def test_frame_rate_and_keypoint_set_choices(trial: Path) -> None:
    assert open_recording(trial, frame_rate=120).frame_rate_hz == 120
    for bad in (0, -3, float("nan")):
        with pytest.raises(InputError, match="between 1 and 2000 Hz"):
            open_recording(trial, frame_rate=bad)
    with pytest.raises(InputError, match=r"Unknown keypoint set.*body_25b.*halpe_26"):
        open_recording(trial, keypoint_set="halpe_62")
    with pytest.raises(InputError, match="'halpe_26' has 26 keypoints, but the files have 17"):
        open_recording(trial, keypoint_set="halpe_26")
    (trial / "Config.toml").write_text("[project]\nframe_rate = 'auto'\n[pose]\npose_model = 'Body_with_feet'\n")
    recording = open_recording(trial)
    assert recording.frame_rate_hz == 60 and recording.keypoint_set.name == "coco_17"
    text = "\n".join(recording.notices)
    assert "'auto': 60 Hz is assumed" in text and "'Body_with_feet' of Config.toml has 26 keypoints but the files have 17" in text
    (trial.parent / "Config.toml").write_text("[project]\nframe_rate = 25\n")
    (trial / "Config.toml").write_text("[pose]\npose_model = 'COCO_17'\n")
    assert open_recording(trial).frame_rate_hz == 25, "settings are inherited from the level above"
    (trial / "Config.toml").write_text("[pose\n")
    recording = open_recording(trial)
    assert any("not valid TOML" in n and "left out" in n for n in recording.notices) and recording.keypoint_set.name == "coco_17"


def test_unknown_number_of_points(tmp_path: Path) -> None:
    odd = replace(COCO, name="odd", names=tuple(f"p{i}" for i in range(23)))
    write_pose2sim_recording(tmp_path, CAMERAS, odd, make_packets(3, 23), 50.0)
    with pytest.raises(InputError, match="No keypoint set with 23 points is known"):
        open_recording(tmp_path)
    assert open_recording(tmp_path, keypoint_set=odd).keypoint_set is odd


def test_body_25_and_25b_are_told_apart(tmp_path: Path) -> None:
    """A schematic standing person in both orders."""
    place = {"Nose": (0, 0), "Neck": (0, 30), "Head": (0, -20), "MidHip": (0, 100), "Eye": (4, -4), "Ear": (9, 0), "Shoulder": (20, 30), "Elbow": (30, 60)}
    place |= {"Wrist": (35, 90), "Hip": (12, 100), "Knee": (14, 150), "Ankle": (14, 200), "BigToe": (18, 210), "SmallToe": (22, 210), "Heel": (12, 208)}
    for name in ("body_25", "body_25b"):
        chosen = load_keypoint_set(name)
        xy = np.array([[(1 if n[0] == "L" else -1) * place[n[1:]][0], place[n[1:]][1]] if n[1:] in place else place[n] for n in chosen.names])
        packets = [replace(p, xy=np.tile(xy + 300.0, (2, 1, 1)), confidence=np.full((2, 25), 0.9)) for p in make_packets(4, 25)]
        folder = tmp_path / name
        write_pose2sim_recording(folder, CAMERAS, chosen, packets, 60.0)
        (folder / "Config.toml").unlink()
        recording = open_recording(folder)
        assert recording.keypoint_set.name == name and any(f"taken as {name}" in n for n in recording.notices)
        assert vote_body_25([read_frame(next((folder / "pose").rglob("*.json")))]) == (name, 2, 2)
        assert open_recording(folder, keypoint_set="body_25b").keypoint_set.name == "body_25b"


def test_the_only_trial_of_a_project_is_taken(tmp_path: Path, trial: Path) -> None:
    project, own = open_recording(tmp_path), open_recording(trial)
    assert project.frame_count == own.frame_count and [c.name for c in project.cameras] == [c.name for c in own.cameras]
    assert project.notices == [f"'{tmp_path}' holds one trial, 'trial', which is taken.", *own.notices]


def test_not_a_recording(tmp_path: Path, trial: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_recording(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is an empty folder"):
        open_recording(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="is not a recording"):
        open_recording(tmp_path / "other")
    with pytest.raises(InputError, match="is not a recording"):
        open_recording(tmp_path / "other" / "notes.txt")
    shutil.copytree(trial, tmp_path / "second")
    with pytest.raises(InputError, match=r"holds 2 trials; name one: second, trial"):
        open_recording(tmp_path)
    shutil.rmtree(tmp_path / "second")
    (tmp_path / "a.trc").write_text("")
    with pytest.raises(InputError, match="holds 3D points, which have no cameras"):
        open_recording(tmp_path / "a.trc")
    for path in (trial / "pose").rglob("*.json"):
        path.write_text("{")
    (trial / "Config.toml").unlink()
    with pytest.raises(InputError, match=r"None of the files looked at in .* is a readable OpenPose JSON file"):
        open_recording(trial)


def test_absurd_frame_numbers_are_refused(trial: Path) -> None:
    json_of(trial, "cam_01", 0).rename(trial / "pose" / "cam_01_json" / "cam_20240101120000.json")
    with pytest.raises(InputError, match="the last digits of each file name must be the frame number"):
        open_recording(trial)


@pytest.mark.parametrize("part", ["", "multi_person"])
def test_real_recording(part: str) -> None:
    if not DATA.exists():
        pytest.skip("shared/data/pose2sim_balancing is absent")
    recording = open_recording(DATA / part)
    packets = list(recording.packets())
    assert recording.keypoint_set.name == "body_25b" and recording.frame_rate_hz == 60 and recording.frame_count == 100 and len(packets) == 400
    assert [p.camera for p in packets[:4]] == ["cam_01", "cam_02", "cam_03", "cam_04"] and max(len(p.xy) for p in packets) >= 2
    assert len(recording.notices) == 2 and "60 Hz is assumed" in recording.notices[0] and "taken as body_25b" in recording.notices[1]
