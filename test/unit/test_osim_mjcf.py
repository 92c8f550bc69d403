"""OpenSim models as MJCF: exact where hinges and slides can be, the cost of a fitted knee as it says, and a body model for `track`."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import osim_example as example
import pytest
import yaml

from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.opensim_axes import WORLD_FROM_OPENSIM
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.formats.mot import read_mot
from biomech_fit.formats.osim import OsimModel, read_osim
from biomech_fit.formats.osim_to_mjcf import compiled, convert

REFERENCE = Path(__file__).parents[3] / "shared" / "data" / "opensim_ik_reference"
FRAMES = (
    "<translation>0.1 -0.4 0.02</translation><orientation>0.3 -0.2 0.5</orientation>",
    "<translation>0 0.1 0</translation><orientation>1 0 0.2</orientation>",
)
DIGITS = 1e-8  # m; the MJCF has nine digits
ROOT = example.joint("FreeJoint", "root", "ground", "pelvis", [example.coordinate(f"r{k}") for k in range(6)], frames=FRAMES)


def read(tmp_path: Path, content: str) -> OsimModel:
    (tmp_path / "body.osim").write_text(content)
    return read_osim(tmp_path / "body.osim")


def markers(tree: mujoco.MjModel, model: OsimModel, values: dict[str, float]) -> np.ndarray:
    """(M, 3) sites in OpenSim's ground, with the root where the OpenSim model has it."""
    data = mujoco.MjData(tree)
    root = tree.body(1).name
    pose = model.body_poses(values)[root]
    data.qpos[:3] = WORLD_FROM_OPENSIM @ pose.position
    mujoco.mju_mat2Quat(data.qpos[3:7], (WORLD_FROM_OPENSIM @ pose.rotation).ravel())
    for j in range(1, tree.njnt):
        data.qpos[tree.jnt_qposadr[j]] = values[tree.joint(j).name]
    mujoco.mj_kinematics(tree, data)
    return np.array([data.site(name).xpos for name in model.marker_names]) @ WORLD_FROM_OPENSIM


def test_hinges_and_slides_are_exact(tmp_path):
    """Offsets, constant rotations between hinges, functions with an intercept or a negative slope, a locked coordinate, a welded body."""
    custom = (
        '<SpatialTransform><TransformAxis name="rotation1"><coordinates>c1</coordinates><axis>0 0 1</axis>'
        "<LinearFunction><coefficients>-1 0.3</coefficients></LinearFunction></TransformAxis>"
        '<TransformAxis name="rotation2"><coordinates>c2</coordinates><axis>0 1 1</axis><LinearFunction><coefficients>1 0.2</coefficients></LinearFunction>'
        '</TransformAxis><TransformAxis name="rotation3"><coordinates>c3</coordinates><axis>1 0 0</axis>'
        "<LinearFunction><coefficients>1 0</coefficients></LinearFunction></TransformAxis>"
        '<TransformAxis name="translation2"><coordinates>c4</coordinates><axis>0 1 1</axis><LinearFunction><coefficients>1 0.1</coefficients></LinearFunction>'
        "</TransformAxis></SpatialTransform>"
    )
    own = [example.coordinate("c1"), example.coordinate("c2", locked="true", default_value="0.4"), example.coordinate("c3"), example.coordinate("c4")]
    joints = [
        ROOT,
        example.joint("CustomJoint", "c", "pelvis", "a", own, frames=FRAMES, inside=custom),
        example.joint("UniversalJoint", "u", "a", "b", [example.coordinate("u1"), example.coordinate("u2", range="-1 2")], frames=FRAMES),
        example.joint("WeldJoint", "w", "b", "c", frames=FRAMES),
        example.joint("SliderJoint", "s", "pelvis", "d", [example.coordinate("s")], frames=FRAMES),
    ]
    bodies = ("pelvis", "a", "b", "c", "d")
    model = read(tmp_path, example.model(joints, bodies, [example.marker(f"m{b}", b, "0.1 0.2 -0.3") for b in bodies]))
    converted = convert(model)
    assert converted.approximations == () and converted.left_out == ()
    tree = compiled(converted, "it")
    assert [tree.joint(j).name for j in range(tree.njnt)] == ["pelvis_free", "c4", "c1", "c3", "u1", "u2", "s"]
    np.testing.assert_allclose(tree.joint("u2").range, [-1, 2])
    assert not tree.jnt_limited[tree.joint("u1").id]
    rng = np.random.default_rng(0)
    for _ in range(5):
        values = {name: rng.uniform(-1, 1) for name in model.coordinate_names} | {"c2": 0.4}
        np.testing.assert_allclose(markers(tree, model, values), model.markers(values), atol=DIGITS)


def test_a_knee_that_shifts_becomes_the_nearest_hinge(tmp_path):
    model = read(tmp_path, example.leg_model())
    converted = convert(model)
    (knee,) = converted.approximations
    tree = compiled(converted, "it")
    angles = np.linspace(-2, 0.2, 61)
    neutral = {name: 0.0 for name in model.coordinate_names}
    error = np.array([np.linalg.norm(markers(tree, model, neutral | {"knee": q}) - model.markers({"knee": q}), axis=1)[8:] for q in angles]) * 1e3
    assert (knee.joint, knee.coordinate) == ("knee_joint", "knee")
    assert knee.max_mm == pytest.approx(error.max(), abs=1e-3) and knee.rms_mm == pytest.approx(np.sqrt((error**2).mean()), abs=1e-3)
    shift = 1e3 * model.linkage.joints[2].translations[0].function.evaluate(angles)[0]
    assert knee.rms_mm < shift.std()  # what the shift held at its mean would cost
    assert tree.joint("knee").range.tolist() == [-2, 0.2]


def test_a_driven_body_without_markers_is_left_out(tmp_path):
    patella = (
        '<CoordinateCouplerConstraint name="c"><coupled_coordinates_function><LinearFunction><coefficients>1 0</coefficients></LinearFunction>'
        "</coupled_coordinates_function><independent_coordinate_names>q</independent_coordinate_names>"
        "<dependent_coordinate_name>beta</dependent_coordinate_name></CoordinateCouplerConstraint>"
    )
    joints = [ROOT, example.joint("PinJoint", "k", "pelvis", "tibia", [example.coordinate("q")])]
    joints += [example.joint("PinJoint", "p", "pelvis", "patella", [example.coordinate("beta")])]
    marker = [example.marker("m", "tibia", "0 -0.2 0")]
    converted = convert(read(tmp_path, example.model(joints, ("pelvis", "tibia", "patella"), marker, [patella])))
    assert converted.left_out == ("patella",) and "patella" not in converted.mjcf
    seen = [*marker, example.marker("n", "patella", "0 0 0")]
    with pytest.raises(InputError, match="the coordinate q moves the joints k and p; models with shared or coupled"):
        convert(read(tmp_path, example.model(joints, ("pelvis", "tibia", "patella"), seen, [patella])))


@pytest.mark.parametrize(
    ("joints", "bodies", "words"),
    [
        ([example.joint("PinJoint", "p", "ground", "pelvis", [example.coordinate("q")])], ["pelvis"], "must hang on the ground by one joint with three"),
        (
            [ROOT, example.joint("CustomJoint", "k", "pelvis", "a", [example.coordinate("knee"), example.coordinate("twist")],
                                 inside=example.spatial_transform(4))], ["pelvis", "a"], "joint k: knee, twist move it by other than one axis each",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_tracked_is_named(tmp_path, joints, bodies, words):
    with pytest.raises(InputError, match=words):
        convert(read(tmp_path, example.model(joints, bodies, [])))


def test_a_moving_axis_needs_a_range(tmp_path):
    content = example.leg_model().replace("<range>-2 0.2</range>", "")
    with pytest.raises(InputError, match="joint knee_joint: the coordinate knee needs a range"):
        convert(read(tmp_path, content))


def test_body_model_with_a_yaml(tmp_path):
    read(tmp_path, example.leg_model())
    content = {"keypoints": {"Hip": {"site": "pelvis1"}, "Shin": {"site": "tibia2", "offset_std": 0.01}}, "scales": {"shank": ["tibia"]}}
    (tmp_path / "body.yaml").write_text(yaml.safe_dump(content))
    points = KeypointSet("two", ("Hip", "Shin"), (), (-1, -1))
    body = load_body_model(tmp_path / "body.osim", points)
    assert body.coordinate_names[6:] == ("h1", "h2", "h3", "knee") and body.scale_names == ("shank",) and body.has_free_root
    assert [body.mj_model.body(b).name for b in body.keypoint_body] == ["pelvis", "tibia"]
    np.testing.assert_allclose(body.keypoint_position[1], [0.02, -0.3, -0.05])
    assert (body.lower[-1], body.upper[-1]) == (-2, 0.2)


def test_body_model_by_names(tmp_path):
    names = {"femur": "femur_r", "tibia": "tibia_r"}
    content = example.leg_model()
    for old, new in names.items():
        content = content.replace(f'name="{old}"', f'name="{new}"').replace(f"/{old}<", f"/{new}<").replace(f"{old}_offset", f"{new}_offset")
    content = content.replace('name="knee"', 'name="knee_angle_r"').replace(">knee<", ">knee_angle_r<").replace('"tibia2"', '"RAnkle"')
    model = read(tmp_path, content)
    body = load_body_model(tmp_path / "body.osim", load_keypoint_set("coco_17"))
    places = {n: body.mj_model.body(b).name for n, b in zip(body.keypoint_names, body.keypoint_body, strict=True) if b >= 0}
    assert places == {"RHip": "femur_r", "RKnee": "tibia_r", "RAnkle": "tibia_r"}
    assert set(body.scale_names) == {"pelvis", "pelvis_width", "thigh_r", "shank_r"} and body.segments == {"thigh_r": ("RHip", "RKnee")}
    knee = body.coordinate_names.index("knee_angle_r")
    assert (body.jerk_std[knee], body.pose_mean[knee]) == (2000, -0.4)  # the built-in body's, whose knee is positive in flexion
    ankle = body.keypoint_position[body.keypoint_names.index("RAnkle")]
    np.testing.assert_allclose(ankle, model.linkage.marker_position[model.marker_names.index("RAnkle")])
    (tmp_path / "body.osim").write_text(example.leg_model())
    with pytest.raises(InputError, match="no marker is called like a keypoint of coco_17"):
        load_body_model(tmp_path / "body.osim", load_keypoint_set("coco_17"))


def test_gait2354_costs_what_the_document_says():
    """Only the knees are fitted; docs/osim.md has the figures."""
    if not REFERENCE.is_dir():
        pytest.skip("needs ../shared/data/opensim_ik_reference")
    model = read_osim(REFERENCE / "subject01_simbody.osim")
    converted = convert(model)
    assert [a.joint for a in converted.approximations] == ["knee_r", "knee_l"]
    assert all(a.rms_mm < 1.3 and a.max_mm < 3.2 for a in converted.approximations)
    tree, motion = compiled(converted, "it"), read_mot(REFERENCE / "std_subject01_walk1_ik.mot")
    worst = 0.0
    for t in range(0, 73, 6):
        values = {name: float(motion[name][t]) for name in motion.names}
        worst = max(worst, np.linalg.norm(markers(tree, model, values) - model.markers(values), axis=1).max())
    assert worst < 1.6e-3
