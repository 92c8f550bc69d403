"""The built-in body: proportions, joint directions, scales, keypoints; foreign models; what is said about bad ones."""

import importlib.util
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from biomech_fit.config.paths import config_directory
from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.opensim_axes import WORLD_FROM_OPENSIM, coordinates_from_qpos, pelvis_angles, pelvis_rotation, qpos_from_coordinates
from biomech_fit.formats.keypoint_sets import keypoint_set_names, load_keypoint_set
from biomech_fit.formats.model import load_body_model

FORWARD, LEFT, UP = np.eye(3)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body_model(None, load_keypoint_set("halpe_26"))


def points(body: BodyModel, **degrees: float) -> dict[str, np.ndarray]:
    """World positions of keypoints and joint centres (joint centres as "<name>_c") with some coordinates set."""
    data = mujoco.MjData(body.mj_model)
    coordinates = coordinates_from_qpos(body.mj_model.qpos0, body.mj_model.qpos0[3:7])
    for name, value in degrees.items():
        coordinates[body.coordinate_names.index(name)] = np.radians(value)
    data.qpos[:] = qpos_from_coordinates(coordinates, body.mj_model.qpos0[3:7])
    mujoco.mj_kinematics(body.mj_model, data)

    def world(bodies: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return data.xpos[bodies] + np.einsum("kij,kj->ki", data.xmat[bodies].reshape(-1, 3, 3), positions)

    found = dict(zip(body.keypoint_names, world(body.keypoint_body, body.keypoint_position), strict=True))
    centres = world(body.joint_centre_body, body.joint_centre_position)
    return found | {f"{name}_c": point for name, point in zip(body.joint_centre_names, centres, strict=True)}


def test_stands_upright_with_a_persons_proportions(body: BodyModel) -> None:
    model, p = body.mj_model, points(body)
    assert model.nv == len(body.coordinate_names) == 40 and body.has_free_root
    assert model.body_mass.sum() == pytest.approx(75, abs=0.1)
    sole = min(p[name][2] for name in p if name.endswith(("BigToe", "Heel"))) - 0.02
    assert p["Head"][2] == pytest.approx(1.75, abs=0.01) and sole == pytest.approx(0.0, abs=0.03)
    assert p["Nose"][0] > p["REar"][0] and p["LShoulder"][1] > 0 > p["RShoulder"][1] and p["RBigToe"][0] > p["RHeel"][0] + 0.15
    lengths = {name: np.linalg.norm(p[f"{a}_c"] - p[f"{b}_c"]) for name, (a, b) in body.segments.items()}
    for side in "rl":  # de Leva 1996 (male, 1.741 m) to 1.75 m
        assert lengths[f"thigh_{side}"] == pytest.approx(0.4222 * 1.75 / 1.741, rel=0.03)
        assert lengths[f"shank_{side}"] == pytest.approx(0.4340 * 1.75 / 1.741, rel=0.03)
        assert lengths[f"upper_arm_{side}"] == pytest.approx(0.2817 * 1.75 / 1.741, rel=0.03)
        assert lengths[f"forearm_{side}"] == pytest.approx(0.2689 * 1.75 / 1.741, rel=0.06)


@pytest.mark.parametrize("side", ["r", "l"])
@pytest.mark.parametrize(
    ("coordinate", "point", "relative_to", "direction"),
    [
        ("hip_flexion", "Knee_c", "Hip_c", "forward"),
        ("hip_adduction", "Knee_c", "Hip_c", "medial"),
        ("hip_rotation", "BigToe", "Heel", "medial"),
        ("knee_angle", "Ankle_c", "Knee_c", "backward"),
        ("ankle_angle", "BigToe", "Ankle_c", "up"),
        ("subtalar_angle", "BigToe", "SmallToe", "up"),
        ("mtp_angle", "BigToe", "Toe_c", "down"),
        ("arm_flex", "Elbow_c", "Shoulder_c", "forward"),
        ("arm_add", "Elbow_c", "Shoulder_c", "medial"),
        ("elbow_flex", "Wrist_c", "Elbow_c", "forward"),
    ],
)
def test_positive_directions(body: BodyModel, side: str, coordinate: str, point: str, relative_to: str, direction: str) -> None:
    medial = LEFT if side == "r" else -LEFT
    wanted = {"forward": FORWARD, "backward": -FORWARD, "medial": medial, "up": UP, "down": -UP}[direction]
    before, after = points(body), points(body, **{f"{coordinate}_{side}": 20})
    limb = side.upper()
    moved = (after[limb + point] - after[limb + relative_to]) - (before[limb + point] - before[limb + relative_to])
    assert moved @ wanted > 0.5 * np.linalg.norm(moved) > 0.002


def test_positive_directions_of_forearm_wrist_and_trunk() -> None:
    body = load_body_model(None, load_keypoint_set("coco_wholebody_133"))
    for side, medial in (("R", LEFT), ("L", -LEFT)):
        bent = points(body)
        assert (bent[f"{side}Thumb4"] - bent[f"{side}Pinky4"]) @ medial < 0, "palms forward at 0: thumbs lateral"
        pronated = points(body, **{f"pro_sup_{side.lower()}": 90})
        assert (pronated[f"{side}Thumb4"] - pronated[f"{side}Pinky4"]) @ FORWARD > 0.05
        flexed = points(body, **{f"wrist_flex_{side.lower()}": 30})
        assert (flexed[f"{side}Middle4"] - bent[f"{side}Middle4"]) @ FORWARD > 0.05
        deviated = points(body, **{f"wrist_dev_{side.lower()}": 20})
        assert (deviated[f"{side}Middle4"] - bent[f"{side}Middle4"]) @ medial > 0.03
        internal = points(body, **{f"arm_rot_{side.lower()}": 40, f"elbow_flex_{side.lower()}": 90})
        assert (internal[f"{side}Wrist_c"] - internal[f"{side}Elbow_c"]) @ medial > 0.1
    p0 = points(body)
    assert points(body, lumbar_extension=20)["Nose"][0] < p0["Nose"][0] - 0.1
    assert points(body, lumbar_bending=20)["Nose"][1] < -0.1
    assert points(body, lumbar_rotation=20)["RShoulder"][0] > p0["RShoulder"][0] + 0.04
    assert points(body, neck_flexion=20)["Nose"][2] < p0["Nose"][2] - 0.02
    assert points(body, neck_bending=20)["Head_c"][1] < -0.02 and points(body, neck_rotation=20)["Nose"][1] > 0.02


def test_sides_mirror_each_other() -> None:
    for name in keypoint_set_names():
        keypoints = load_keypoint_set(name)
        body = load_body_model(None, keypoints)
        angles = {c: 25.0 for c in ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle", "mtp_angle")}
        angles |= {c: 20.0 for c in ("arm_flex", "arm_add", "arm_rot", "elbow_flex", "pro_sup", "wrist_flex", "wrist_dev")}
        p = points(body, **{f"{c}_{side}": value for c, value in angles.items() for side in "rl"})
        for k, partner in enumerate(keypoints.mirror):
            # Plug-in-Gait's marker on the right shoulder blade has no partner: it is there to tell the sides apart.
            if body.keypoint_body[k] >= 0 and keypoints.names[k] != "RBAK":
                np.testing.assert_allclose(p[keypoints.names[k]], p[keypoints.names[partner]] * [1, -1, 1], atol=1e-5, err_msg=f"{name} {keypoints.names[k]}")


def test_every_set_is_placed(body: BodyModel) -> None:
    for name in keypoint_set_names():
        placed = load_body_model(None, load_keypoint_set(name)).keypoint_body >= 0
        assert np.all(placed[:23] if name == "coco_wholebody_133" else placed), name


def test_names_priors_and_ranges_are_whole(body: BodyModel) -> None:
    assert len(set(body.coordinate_names)) == 40
    for array in (body.lower, body.upper, body.pose_mean, body.pose_std, body.jerk_std, body.acceleration_std):
        assert array.shape == (40,)
    assert np.all(np.isinf(body.lower[:6])) and np.all(np.isfinite(body.lower[6:])) and np.all(body.lower < body.upper)
    assert np.all(body.pose_mean[6:] > body.lower[6:]) and np.all(body.pose_mean[6:] < body.upper[6:]) and np.all(np.isinf(body.pose_std[:6]))
    assert np.all(body.jerk_std > 0) and {name[1:] for name in body.foot_points} == {"Heel", "Metatarsal1", "Metatarsal5", "Toe"}
    right, left = (body.coordinate_names.index(f"knee_angle_{side}") for side in "rl")
    assert body.jerk_std[right] == body.jerk_std[left] > body.jerk_std[body.coordinate_names.index("hip_flexion_r")]
    assert np.degrees(body.upper[right]) == pytest.approx(150)


def test_scale_prior_has_the_stated_spreads(body: BodyModel) -> None:
    covariance, names = np.linalg.inv(body.scale_precision), list(body.scale_names)
    right, left, head = (names.index(name) for name in ("thigh_r", "thigh_l", "head"))
    assert covariance[right, right] == pytest.approx(0.08**2 + 0.05**2) and covariance[right, head] == pytest.approx(0.08**2)
    assert covariance[right, right] + covariance[left, left] - 2 * covariance[right, left] == pytest.approx(0.02**2)
    assert np.linalg.eigvalsh(body.scale_precision).min() > 0
    femur = body.mj_model.body("femur_r").id
    np.testing.assert_array_equal(body.scale_matrix[femur], np.eye(len(names))[[right] * 3])
    np.testing.assert_array_equal(body.scale_matrix[0], 0)


def test_pelvis_angles_round_trip_and_follow_opensim() -> None:
    angles = np.random.default_rng(0).uniform(-1.4, 1.4, (20, 3))
    np.testing.assert_allclose(pelvis_angles(pelvis_rotation(angles)), angles, atol=1e-12)
    back = pelvis_rotation(np.array([0.2, 0.0, 0.0])) @ FORWARD
    assert back[2] > 0, "positive tilt lifts the front of the pelvis"
    np.testing.assert_allclose(pelvis_rotation(np.zeros(3)), WORLD_FROM_OPENSIM)
    assert (pelvis_rotation(np.array([0.0, 0.0, 0.2])) @ FORWARD)[1] > 0, "positive rotation turns to the left"


@pytest.mark.skipif(importlib.util.find_spec("dm_control") is None, reason="the Python package dm_control is not installed")
def test_foreign_model_cmu_humanoid() -> None:
    body = load_body_model("cmu_humanoid", load_keypoint_set("halpe_26"))
    assert body.mj_model.nv == len(body.coordinate_names) == 62 and body.coordinate_names[5] == "pelvis_rotation"
    assert np.all(body.keypoint_body >= 0) and len(body.scale_names) == 15
    p = points(body)
    assert p["Nose"][0] > p["Neck"][0] + 0.05 and p["LShoulder"][1] > 0.1 > p["RShoulder"][1] and p["Head"][2] > p["MidHip"][2] + 0.5
    assert points(body, ltibiarx=40)["LAnkle"][0] < p["LAnkle"][0] - 0.1


MJCF = """<mujoco><worldbody><body name="trunk" pos="0 0 1"><freejoint/><geom size=".1"/><site name="mid"/>
<body name="leg_r" pos="0 0 -.1"><joint name="hip" axis="0 1 0" range="-30 90"/><geom size=".1"/></body></body></worldbody></mujoco>"""
TWO_POINTS = KeypointSet("two", ("MidHip", "RKnee"))
MODEL = {
    "keypoints": {"MidHip": {"site": "mid"}, "RKnee": {"body": "leg_r", "position": [0, 0, -0.4], "offset_std": 0.02}},
    "coordinates": {"hip": "hip_flexion_r"},
    "scales": {"leg": ["leg_r"]},
}


def write_model(folder: Path, mjcf: str = MJCF, **changes: object) -> Path:
    (folder / "robot.xml").write_text(mjcf)
    (folder / "robot.yaml").write_text(yaml.safe_dump(MODEL | changes))
    return folder / "robot.xml"


def test_a_users_model(tmp_path: Path) -> None:
    body = load_body_model(write_model(tmp_path), TWO_POINTS)
    assert body.coordinate_names[6:] == ("hip_flexion_r",) and body.name == "robot" and body.upper[6] == pytest.approx(np.pi / 2)
    np.testing.assert_array_equal(body.keypoint_body, [1, 2])
    np.testing.assert_allclose(body.keypoint_offset_std, [0.015, 0.02])
    assert load_body_model(tmp_path / "robot.yaml", KeypointSet("one", ("RKnee", "Elsewhere"))).keypoint_body.tolist() == [2, -1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"keypoints": {"RKnee": {"body": "leg_t"}}}, "body leg_t.*closest names are leg_r"),
        ({"keypoints": {"RKnee": "midd"}}, "site midd.*closest names are mid"),
        ({"keypoints": {"RKnee": {"body": "leg_r", "position": [0, 1]}}}, "three numbers"),
        ({"keypoints": {"RKnee": {"body": "leg_r", "position": [0, 1, float("nan")]}}}, "three numbers"),
        ({"keypoints": {"RKnee": {"body": "leg_r", "offset_std": -1}}}, "offset_std is -1"),
        ({"keypoints": {"RKnee": 3}}, "must be {body: NAME"),
        ({"keypoints": {"Other": {"body": "leg_r"}}}, "none of the keypoints of two"),
        ({"keypoints": [1]}, "keypoints must be a mapping"),
        ({"scales": {"leg": {"bodies": ["foot"]}}}, "names the body foot"),
        ({"scales": {"leg": {"bodies": ["leg_r"], "axes": "q"}}}, "axes is 'q'"),
        ({"scale_prior": {"overall_std": 0}}, "overall_std is 0"),
        ({"priors": {"knee": {"pose_std": 1}}}, "coordinate knee"),
        ({"priors": {"hip_flexion": {"jerk_std": "big"}}}, "jerk_std is 'big'"),
        ({"coordinates": {"hop": "hip_flexion_r"}}, "renames the joint hop.*hip"),
        ({"coordinates": {"hip": "pelvis_tx"}}, "two coordinates are called pelvis_tx"),
        ({"segments": {"thigh": ["RHip", "RKnee"]}}, "RHip, which is not among joint_centres"),
        ({"facing": "up"}, "facing is 'up'"),
        ({"keypointz": {}}, "keypointz is not a known entry.*keypoints"),
    ],
)
def test_each_wrong_entry_is_named(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_body_model(write_model(tmp_path, **changes), TWO_POINTS)


def test_unsupported_or_absent_models_are_refused(tmp_path: Path) -> None:
    ball = MJCF.replace('type="hinge"', "").replace('axis="0 1 0" range="-30 90"', 'type="ball"')
    second_free = MJCF.replace("</body></worldbody>", '</body><body name="ball"><freejoint name="loose"/><geom size=".1"/></body></worldbody>')
    for mjcf, words in ((ball, "hip .*ball joint"), (second_free, "loose .*free joint"), ("<mujoco><worldbody><bdy/></worldbody></mujoco>", "cannot compile")):
        with pytest.raises(InputError, match=words):
            load_body_model(write_model(tmp_path, mjcf), TWO_POINTS)
    with pytest.raises(InputError, match="Unknown body model \"nobody\"; choose one of biomech_body, cmu_humanoid"):
        load_body_model("nobody", TWO_POINTS)
    with pytest.raises(InputError, match="does not exist"):
        load_body_model(tmp_path / "none.xml", TWO_POINTS)
    (tmp_path / "alone.xml").write_text(MJCF)
    with pytest.raises(InputError, match=r"needs a YAML beside it, alone\.yaml"):
        load_body_model(tmp_path / "alone.xml", TWO_POINTS)
    (tmp_path / "far.yaml").write_text("mjcf: package://no_such_package_here/x.xml\nkeypoints: {}\n")
    with pytest.raises(InputError, match="no_such_package_here, which is not installed"):
        load_body_model(tmp_path / "far.yaml", TWO_POINTS)


def test_the_packages_files_are_found() -> None:
    assert (config_directory() / "models" / "biomech_body.xml").is_file()
