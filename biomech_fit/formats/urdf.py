"""URDF of the fitted body, for robot_state_publisher and rviz' RobotModel."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Generator

import mujoco
import numpy as np

from biomech_fit.core.body import BodyModel
from biomech_fit.core.quaternions import quat_to_matrix
from biomech_fit.formats.mjcf import body_names, numbers, scaled_mj_model

_EFFORT, _VELOCITY = "1000", "50"  # URDF demands limits of torque (N m) and speed (rad/s); nothing here uses them


def urdf_from_body(body: BodyModel, scales: np.ndarray) -> str:
    """URDF of the body with the scale parameters (S,) put in.

    Links are the model's bodies, joints are named as its coordinates and take the values of our joint_states. A body that hangs on several hinges hangs
    on a chain of massless links, named <body>/<coordinate>. The root link is the free root body (pelvis), whose pose in the world is on /tf, or
    `world` where the model has none. Capsules become a cylinder with two spheres, ellipsoids the capsule nearest to them; meshes are left out.
    """
    pieces = urdf_in_pieces(body, scales)
    while True:
        try:
            next(pieces)
        except StopIteration as last:
            return last.value


def urdf_in_pieces(body: BodyModel, scales: np.ndarray) -> Generator[None, None, str]:
    """The same with a pause after each body, for those who have other things to do meanwhile; `yield from` gives the text."""
    model = scaled_mj_model(body, scales)
    yield
    names = body_names(model)
    root = ElementTree.Element("robot", name=body.name)
    if not body.has_free_root:
        ElementTree.SubElement(root, "link", name="world")
    for b in range(1, model.nbody):
        link = _link(root, names[b], model, b)
        joints = list(range(model.body_jntadr[b], model.body_jntadr[b] + model.body_jntnum[b]))
        if joints and model.jnt_type[joints[0]] == mujoco.mjtJoint.mjJNT_FREE:
            continue
        _attach(root, model, body.coordinate_names, names, b, joints)
        root.remove(link)
        root.append(link)
        yield
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _attach(root: ElementTree.Element, model: mujoco.MjModel, coordinates: tuple[str, ...], names: list[str], b: int, joints: list[int]) -> None:
    parent = "world" if model.body_parentid[b] == 0 else names[model.body_parentid[b]]
    rotation = quat_to_matrix(model.body_quat[b])
    offset = model.body_pos[b].copy()  # where the next joint's anchor sits in the frame of `parent`
    anchor = np.zeros(3)
    for j in joints:
        coordinate = coordinates[model.jnt_dofadr[j]]
        hinge = model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE
        origin = offset + rotation @ (model.jnt_pos[j] - anchor)
        reference = float(model.qpos0[model.jnt_qposadr[j]])
        axis = model.jnt_axis[j] / np.linalg.norm(model.jnt_axis[j])
        if reference and hinge:  # MuJoCo turns by qpos - qpos0
            quat = np.zeros(4)
            mujoco.mju_axisAngle2Quat(quat, axis, -reference)
            rotation = rotation @ quat_to_matrix(quat)
        elif reference:
            origin = origin - reference * (rotation @ axis)
        anchor = model.jnt_pos[j]
        last = j == joints[-1] and not np.any(np.abs(anchor) > 1e-9)
        child = names[b] if last else f"{names[b]}/{coordinate}"
        if not last:
            ElementTree.SubElement(root, "link", name=child)
        limited = bool(model.jnt_limited[j])
        kind = ("revolute" if limited else "continuous") if hinge else "prismatic"
        element = _joint(root, coordinate, kind, parent, child, origin, rotation)
        ElementTree.SubElement(element, "axis", xyz=numbers(axis))
        lower, upper = model.jnt_range[j] if limited else (-1e3, 1e3)
        if kind != "continuous":
            ElementTree.SubElement(element, "limit", lower=numbers([lower]), upper=numbers([upper]), effort=_EFFORT, velocity=_VELOCITY)
        parent, rotation, offset = child, np.eye(3), np.zeros(3)
    if not joints or np.any(np.abs(anchor) > 1e-9):
        _joint(root, f"{names[b]}/fixed", "fixed", parent, names[b], offset - rotation @ anchor, rotation)


def _joint(root: ElementTree.Element, name: str, kind: str, parent: str, child: str, origin: np.ndarray, rotation: np.ndarray) -> ElementTree.Element:
    element = ElementTree.SubElement(root, "joint", name=name, type=kind)
    _origin(element, origin, rotation)
    ElementTree.SubElement(element, "parent", link=parent)
    ElementTree.SubElement(element, "child", link=child)
    return element


def _link(root: ElementTree.Element, name: str, model: mujoco.MjModel, b: int) -> ElementTree.Element:
    link = ElementTree.SubElement(root, "link", name=name)
    if model.body_mass[b] > 0:
        inertial = ElementTree.SubElement(link, "inertial")
        _origin(inertial, model.body_ipos[b], quat_to_matrix(model.body_iquat[b]))
        ElementTree.SubElement(inertial, "mass", value=numbers([model.body_mass[b]]))
        xx, yy, zz = (numbers([value]) for value in model.body_inertia[b])
        ElementTree.SubElement(inertial, "inertia", ixx=xx, iyy=yy, izz=zz, ixy="0", ixz="0", iyz="0")
    for g in map(int, np.flatnonzero(model.geom_bodyid == b)):
        for shape, attributes, position in _shapes(model, g):
            visual = ElementTree.SubElement(link, "visual")
            _origin(visual, position, _long_axis_frame(model, g))
            ElementTree.SubElement(ElementTree.SubElement(visual, "geometry"), shape, attributes)
            material = ElementTree.SubElement(visual, "material", name="_".join(f"{value:.2f}" for value in model.geom_rgba[g]))
            ElementTree.SubElement(material, "color", rgba=numbers(model.geom_rgba[g]))
    return link


def _long_axis_frame(model: mujoco.MjModel, g: int) -> np.ndarray:
    """(3, 3) frame of the shape; for an ellipsoid its longest axis becomes z."""
    frame = quat_to_matrix(model.geom_quat[g])
    if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        frame = np.roll(frame, 2 - int(np.argmax(model.geom_size[g])), axis=1)
    return frame


def _shapes(model: mujoco.MjModel, g: int) -> list[tuple[str, dict[str, str], np.ndarray]]:
    """URDF shapes (tag, attributes, centre in the body's frame) of a geom."""
    kind, size, centre = model.geom_type[g], model.geom_size[g], model.geom_pos[g]
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return [("box", {"size": numbers(2 * size)}, centre)]
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return [("sphere", {"radius": numbers([size[0]])}, centre)]
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return [("cylinder", {"radius": numbers([size[0]]), "length": numbers([2 * size[1]])}, centre)]
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        radius, half = float(size[0]), float(size[1])
    elif kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        small, middle, large = np.sort(size)
        radius = float(np.sqrt(small * middle))
        half = max(float(large) - radius, 0.0)
    else:
        return []
    ball = {"radius": numbers([radius])}
    if half < 1e-6:
        return [("sphere", ball, centre)]
    along = half * _long_axis_frame(model, g)[:, 2]
    return [("cylinder", {**ball, "length": numbers([2 * half])}, centre), ("sphere", ball, centre + along), ("sphere", ball, centre - along)]


def _origin(element: ElementTree.Element, position: np.ndarray, rotation: np.ndarray) -> None:
    pitch = np.arcsin(np.clip(-rotation[2, 0], -1.0, 1.0))
    if abs(rotation[2, 0]) < 1 - 1e-12:
        roll, yaw = np.arctan2(rotation[2, 1], rotation[2, 2]), np.arctan2(rotation[1, 0], rotation[0, 0])
    else:  # looking straight up or down: only roll +- yaw is defined
        roll, yaw = 0.0, np.arctan2(-rotation[0, 1], rotation[1, 1])
    ElementTree.SubElement(element, "origin", xyz=numbers(position), rpy=numbers([roll, pitch, yaw]))
