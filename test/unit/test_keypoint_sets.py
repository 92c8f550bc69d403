"""Keypoint sets: order, partners, names of other programs, errors; BODY_25B's order against real detections."""

import json
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

from biomech_fit.core.errors import InputError
from biomech_fit.formats.keypoint_sets import BY_COUNT, guess_keypoint_set, keypoint_set_names, load_keypoint_set
from biomech_fit.formats.model import load_body_model

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "pose2sim_balancing"
SIZES = {
    "coco_17": 17, "coco_18": 18, "halpe_26": 26, "body_25": 25, "body_25b": 25, "coco_wholebody_133": 133, "movi_87": 87, "h36m_17": 17, "plug_in_gait": 44,
}  # fmt: skip


def test_all_sets_load_with_their_sizes() -> None:
    assert {name: len(load_keypoint_set(name)) for name in keypoint_set_names()} == SIZES


@pytest.mark.parametrize("name", SIZES)
def test_mirror_is_an_involution_and_swaps_sides(name: str) -> None:
    points = load_keypoint_set(name)
    assert all(points.mirror[points.mirror[k]] == k for k in range(len(points)))
    for k, partner in enumerate(points.mirror):
        if points.names[k].startswith(("LH", "LK", "LB", "LS", "LE", "LW", "LA")):
            assert points.names[partner] == "R" + points.names[k][1:]
    connected = {k for edge in points.edges for k in edge}
    assert connected, "a drawing needs edges"


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("coco_17", {"Nose": 0, "LShoulder": 5, "RAnkle": 16}),
        ("halpe_26", {"Head": 17, "Neck": 18, "MidHip": 19, "LBigToe": 20, "RBigToe": 21, "LSmallToe": 22, "RHeel": 25}),
        ("body_25", {"Neck": 1, "RShoulder": 2, "MidHip": 8, "RHip": 9, "LAnkle": 14, "REye": 15, "LBigToe": 19, "RHeel": 24}),
        ("body_25b", {"LEye": 1, "RAnkle": 16, "Neck": 17, "Head": 18, "LBigToe": 19, "LHeel": 21, "RHeel": 24}),
        ("coco_wholebody_133", {"LBigToe": 17, "RHeel": 22, "Face0": 23, "Face67": 90, "LHandRoot": 91, "LPinky4": 111, "RHandRoot": 112, "RPinky4": 132}),
        ("movi_87", {"backneck": 0, "lfronthead": 5, "LHeel": 21, "rfronthead": 36, "Head": 67, "LAnkle": 71, "RFoot": 86}),
    ],
)
def test_known_positions_in_the_detectors_order(name: str, index: dict[str, int]) -> None:
    names = load_keypoint_set(name).names
    assert {point: names.index(point) for point in index} == index


def test_names_of_pose2sim_and_openpose() -> None:
    wanted = {"HALPE_26": "halpe_26", "Body_with_feet": "halpe_26", "BODY_25B": "body_25b", "BODY_25": "body_25", "COCO_17": "coco_17"}
    wanted |= {"COCO": "coco_18", "COCO_133": "coco_wholebody_133", "whole_body": "coco_wholebody_133", "bml_movi_87": "movi_87"}
    assert {theirs: load_keypoint_set(theirs).name for theirs in wanted} == wanted
    halpe = load_keypoint_set("halpe_26")
    k = next(k for k in range(26) if "CHip" in halpe.names_of(k))
    assert halpe.names_of(k)[1:] and halpe.names_of(halpe.names.index("Nose"))[0] == "Nose"


def test_face_partners_follow_the_ibug_order() -> None:
    points = load_keypoint_set("coco_wholebody_133")
    face = lambda k: points.names.index(f"Face{k}")  # noqa: E731
    assert points.mirror[face(36)] == face(45) and points.mirror[face(0)] == face(16) and points.mirror[face(8)] == face(8)


def test_guess_by_count() -> None:
    assert {count: guess_keypoint_set(count).name for count in BY_COUNT} == BY_COUNT
    with pytest.raises(InputError, match=r"19 points.*26 .halpe_26."):
        guess_keypoint_set(19)


def test_a_users_set_and_what_is_wrong_with_bad_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nnames: [left_hip, right_hip, nose, hand_l, hand_r]\nedges: [[left_hip, nose]]\n")
    points = load_keypoint_set(path)
    assert (points.name, points.mirror, points.edges) == ("mine", (1, 0, 2, 4, 3), ((0, 2),))
    for text, words in [
        ("names: [a, b, a]", "name a appears more than once"),
        ("names: []", "names must be a list"),
        ("names: [a]\nedges: [[a, b]]", "edges names b"),
        ("names: [a]\nedges: [[a]]", "not a pair"),
        ("names: [a]\nnmaes: [a]", "nmaes is not a known entry"),
        ("- a", "mapping"),
        ("names: [a", "not valid YAML"),
        ("names: !!python/object/apply:os.system [ls]", "not valid YAML"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            load_keypoint_set(path)
    with pytest.raises(InputError, match=r'Unknown keypoint set "halpe26".*Did you mean halpe_26'):
        load_keypoint_set("halpe26")
    with pytest.raises(InputError, match="cannot be read"):
        load_keypoint_set(tmp_path / "absent.yaml")


@pytest.mark.skipif(not DATA.is_dir(), reason="the real recording shared/data/pose2sim_balancing is absent")
def test_other_names_of_a_users_own_set(tmp_path: Path) -> None:
    """A model finds a point by another name that the set's file gives it, wherever that file is."""
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nnames: [hip_left_pt, RHip, LKnee, RKnee]\naliases: {hip_left_pt: [LHip]}\n")
    own = load_keypoint_set(path)
    assert own.names_of(0) == ("hip_left_pt", "LHip") and own.names_of(1) == ("RHip",)
    body = load_body_model(None, own)
    assert (body.keypoint_body >= 0).all()
    for text, words in (("aliases: {tail: [x]}", "aliases names tail"), ("edges: [[[RHip], LKnee]]", "which is not in names")):
        path.write_text(f"name: mine\nnames: [LHip, RHip, LKnee, RKnee]\n{text}\n")
        with pytest.raises(InputError, match=words):
            load_keypoint_set(path)


def test_body_25b_order_on_real_detections() -> None:
    """Another program's triangulated points, by name, project onto our detections of the same name (camera 2, which is well calibrated)."""
    names = load_keypoint_set("body_25b").names
    camera = tomllib.loads((DATA / "calibration" / "Calib_qualisys.toml").read_text())["cam_02"]
    lines = (DATA / "reference" / "S00_P00_T01_BalancingTrial_0-100.trc").read_text().splitlines()
    columns = [name for name in lines[3].split("\t")[2:] if name]
    errors: dict[str, list[float]] = {name: [] for name in columns}
    for frame in range(10, 90, 10):
        values = np.array([float(v) for v in lines[5 + frame].split("\t")[2 : 2 + 3 * len(columns)]]).reshape(-1, 3)
        world = values[:, [2, 0, 1]]
        parameters = [np.array(camera[key], dtype=float) for key in ("rotation", "translation", "matrix", "distortions")]
        pixels = cv2.projectPoints(world, *parameters)[0][:, 0]
        people = json.loads((DATA / "pose" / "cam02_json" / f"cam02.{frame:04d}.json").read_text())["people"]
        person = np.array(people[0]["pose_keypoints_2d"]).reshape(-1, 3)
        for column, name in enumerate(columns):
            errors[name].append(float(np.linalg.norm(person[names.index(name), :2] - pixels[column])))
    assert max(np.median(values) for values in errors.values()) < 25
