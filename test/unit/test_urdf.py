"""The fitted body as MuJoCo model, MJCF and URDF: the same poses everywhere."""

import importlib.util
import re
import xml.etree.ElementTree as ElementTree

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.mjcf import scaled_mj_model, scaled_mjcf
from biomech_fit.formats.model import load_body_model
from biomech_fit.formats.urdf import urdf_from_body


@pytest.fixture(scope="module", params=["biomech_body", "cmu_humanoid"])
def body(request: pytest.FixtureRequest) -> BodyModel:
    if request.param == "cmu_humanoid" and importlib.util.find_spec("dm_control") is None:
        pytest.skip("the Python package dm_control is not installed")
    return load_body_model(request.param, load_keypoint_set("halpe_26"))


def some_scales(body: BodyModel) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.06, len(body.scale_names))


def some_pose(model: mujoco.MjModel) -> mujoco.MjData:
    data, rng = mujoco.MjData(model), np.random.default_rng(4)
    data.qpos[:] = model.qpos0
    data.qpos[7:] += rng.uniform(-0.8, 0.8, model.nq - 7)
    data.qpos[:7] = [1.0, -2.0, 1.1, *Rotation.random(random_state=5).as_quat()]
    mujoco.mj_forward(model, data)
    return data


def urdf_poses(text: str, root: str, values: dict[str, float]) -> dict[str, np.ndarray]:
    """(4, 4) poses of all links from the URDF specification alone."""
    joints, poses = ElementTree.fromstring(text).findall("joint"), {root: np.eye(4)}
    while joints:
        ready = [joint for joint in joints if joint.find("parent").get("link") in poses]
        assert ready, "the links form one tree"
        for joint in ready:
            joints.remove(joint)
            origin, pose = joint.find("origin"), np.eye(4)
            pose[:3, 3] = np.fromstring(origin.get("xyz"), sep=" ")
            pose[:3, :3] = Rotation.from_euler("xyz", np.fromstring(origin.get("rpy"), sep=" ")).as_matrix()
            if joint.get("type") in ("revolute", "continuous"):
                axis = np.fromstring(joint.find("axis").get("xyz"), sep=" ")
                pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(axis * values[joint.get("name")]).as_matrix()
            poses[joint.find("child").get("link")] = poses[joint.find("parent").get("link")] @ pose
    return poses


def test_scaled_model_moves_points_as_the_contract_says(body: BodyModel) -> None:
    scales = some_scales(body)
    model, factors = scaled_mj_model(body, scales), 1 + body.scale_matrix @ scales
    for b in range(1, model.nbody):
        np.testing.assert_allclose(model.body_pos[b], body.mj_model.body_pos[b] * factors[model.body_parentid[b]])
    assert not np.allclose(model.body_pos, body.mj_model.body_pos)
    taller = scaled_mj_model(body, np.full(len(scales), 0.1))
    whole = body.scale_matrix.sum(axis=(1, 2)) > 0
    np.testing.assert_allclose(taller.body_mass[whole], 1.1**3 * body.mj_model.body_mass[whole], rtol=1e-9)
    np.testing.assert_allclose(np.sort(taller.body_inertia[whole]), 1.1**5 * np.sort(body.mj_model.body_inertia[whole]), rtol=1e-6)


def test_mjcf_compiles_to_the_same_body(body: BodyModel) -> None:
    model = scaled_mj_model(body, some_scales(body))
    again = mujoco.MjModel.from_xml_string(scaled_mjcf(body, some_scales(body)))
    data, copied = some_pose(model), mujoco.MjData(again)
    copied.qpos[:] = data.qpos
    mujoco.mj_forward(again, copied)
    np.testing.assert_allclose(copied.xpos, data.xpos, atol=1e-7)
    np.testing.assert_allclose(copied.subtree_com, data.subtree_com, atol=1e-7)
    np.testing.assert_allclose(again.jnt_range, model.jnt_range, atol=1e-7)


def test_urdf_links_agree_with_mujoco(body: BodyModel) -> None:
    model = scaled_mj_model(body, some_scales(body))
    data = some_pose(model)
    root = model.body(1).name
    values = dict(zip(body.coordinate_names[6:], data.qpos[7:], strict=True))
    poses = urdf_poses(urdf_from_body(body, some_scales(body)), root, values)
    rotation = data.xmat[1].reshape(3, 3)
    for b in range(1, model.nbody):
        pose = poses[model.body(b).name]
        np.testing.assert_allclose(rotation @ pose[:3, 3] + data.xpos[1], data.xpos[b], atol=1e-6)
        np.testing.assert_allclose(rotation @ pose[:3, :3], data.xmat[b].reshape(3, 3), atol=1e-6)


def test_urdf_is_a_single_tree_that_another_parser_reads(body: BodyModel) -> None:
    text = urdf_from_body(body, np.zeros(len(body.scale_names)))
    robot = ElementTree.fromstring(text)
    links = [link.get("name") for link in robot.findall("link")]
    children = [joint.find("child").get("link") for joint in robot.findall("joint")]
    assert len(set(links)) == len(links) and len(set(children)) == len(children) and set(links) - set(children) == {body.mj_model.body(1).name}
    moving = [joint.get("name") for joint in robot.findall("joint") if joint.get("type") != "fixed"]
    assert sorted(moving) == sorted(body.coordinate_names[6:])
    for joint in robot.findall("joint"):
        assert joint.get("type") != "revolute" or float(joint.find("limit").get("lower")) < float(joint.find("limit").get("upper"))
    extension = '<mujoco><compiler discardvisual="false" balanceinertia="true" boundmass="1e-6" boundinertia="1e-9" fusestatic="false"/></mujoco>'
    parsed = mujoco.MjModel.from_xml_string(re.sub("(<robot[^>]*>)", rf"\1{extension}", text))
    assert parsed.njnt == len(moving) and parsed.ngeom >= body.mj_model.nbody


def test_impossible_scales_are_refused(body: BodyModel) -> None:
    with pytest.raises(InputError, match=r"scale parameters; .* values were given"):
        scaled_mj_model(body, np.zeros(3))
    with pytest.raises(InputError, match=r"must be above 0\.05"):
        urdf_from_body(body, np.full(len(body.scale_names), -1.0))
