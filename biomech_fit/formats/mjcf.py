"""The fitted body as a MuJoCo model and as MJCF text."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable

import mujoco
import numpy as np

from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError

_GEOM_SIZES = {"sphere": 1, "capsule": 2, "cylinder": 2, "ellipsoid": 3, "box": 3}


def body_scale(body: BodyModel, scales: np.ndarray) -> np.ndarray:
    """(nbody, 3) factors along each body's axes for the scale parameters (S,), additive to 1. Raises InputError when a factor is not positive."""
    scales = np.asarray(scales, dtype=float)
    if scales.shape != (len(body.scale_names),):
        raise InputError(f"The model {body.name} has {len(body.scale_names)} scale parameters; {scales.shape} values were given.")
    factors = 1.0 + body.scale_matrix @ scales
    if not np.all(np.isfinite(factors)) or factors.min() <= 0.05:
        raise InputError(f"The scales of the model {body.name} give a body part a size of {factors.min():.3g} times its own; it must be above 0.05.")
    return factors


def scaled_mj_model(body: BodyModel, scales: np.ndarray) -> mujoco.MjModel:
    """A copy of the body's MuJoCo model with the scale parameters (S,) put in.

    Lengths (body_pos by the parent's factors; joint, site, geom and inertial positions by the body's own) follow `BodyModel.scale_matrix` exactly;
    geom sizes follow as well as the primitive shapes allow; masses grow with the volume and inertias as those of a stretched solid.
    """
    factors = body_scale(body, scales)
    model = copy.copy(body.mj_model)
    model.body_pos[:] *= factors[model.body_parentid]
    model.jnt_pos[:] *= factors[model.jnt_bodyid]
    model.site_pos[:] *= factors[model.site_bodyid]
    for g in range(model.ngeom):
        _scale_geom(model, g, factors[model.geom_bodyid[g]])
    for b in range(1, model.nbody):
        _scale_inertia(model, b, factors[b])
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def scaled_mjcf(body: BodyModel, scales: np.ndarray) -> str:
    """MJCF of the body with the scale parameters (S,) put in: bodies, joints, primitive geoms, sites and inertias. Meshes are left out."""
    return mjcf_from_model(scaled_mj_model(body, scales), body.name)


def body_names(model: mujoco.MjModel) -> list[str]:
    """Names of all bodies; those without one are called body_<number>."""
    return [model.body(b).name or f"body_{b}" for b in range(model.nbody)]


def mjcf_from_model(model: mujoco.MjModel, name: str) -> str:
    """MJCF text of a compiled model's bodies, joints, primitive geoms, sites and inertias (angles in radians, a free root at its qpos0)."""
    root = ElementTree.Element("mujoco", model=name)
    ElementTree.SubElement(root, "compiler", angle="radian", autolimits="true", inertiafromgeom="false")
    elements = {0: ElementTree.SubElement(root, "worldbody")}
    _add_geoms(elements[0], model, 0)
    names = body_names(model)
    for b in range(1, model.nbody):
        joints = range(model.body_jntadr[b], model.body_jntadr[b] + model.body_jntnum[b])
        free = bool(joints) and model.jnt_type[joints[0]] == mujoco.mjtJoint.mjJNT_FREE
        position, quat = (model.qpos0[0:3], model.qpos0[3:7]) if free else (model.body_pos[b], model.body_quat[b])
        element = ElementTree.SubElement(elements[int(model.body_parentid[b])], "body", name=names[b], pos=numbers(position), quat=numbers(quat))
        elements[b] = element
        if model.body_mass[b] > 0:
            ElementTree.SubElement(
                element, "inertial", pos=numbers(model.body_ipos[b]), quat=numbers(model.body_iquat[b]),
                mass=numbers([model.body_mass[b]]), diaginertia=numbers(model.body_inertia[b]),
            )  # fmt: skip
        for j in joints:
            _add_joint(element, model, j)
        _add_geoms(element, model, b)
        for s in np.flatnonzero(model.site_bodyid == b):
            attributes = {"name": model.site(s).name} if model.site(s).name else {}
            ElementTree.SubElement(element, "site", attributes, pos=numbers(model.site_pos[s]), quat=numbers(model.site_quat[s]))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def numbers(values: Iterable[float]) -> str:
    """Numbers as XML text: "0 0.1 -2", nine digits."""
    return " ".join(f"{value + 0.0:.9g}" for value in np.asarray(list(values), dtype=float))


def _add_joint(element: ElementTree.Element, model: mujoco.MjModel, j: int) -> None:
    name = model.joint(j).name or f"joint_{j}"
    kind = model.jnt_type[j]
    if kind == mujoco.mjtJoint.mjJNT_FREE:
        ElementTree.SubElement(element, "freejoint", name=name)
        return
    dof = model.jnt_dofadr[j]
    attributes = {
        "name": name,
        "type": "slide" if kind == mujoco.mjtJoint.mjJNT_SLIDE else "hinge",
        "pos": numbers(model.jnt_pos[j]),
        "axis": numbers(model.jnt_axis[j]),
        "ref": numbers([model.qpos0[model.jnt_qposadr[j]]]),
        "damping": numbers([model.dof_damping[dof, 0] if model.dof_damping.ndim == 2 else model.dof_damping[dof]]),
        "armature": numbers([model.dof_armature[dof]]),
    }
    if model.jnt_limited[j]:
        attributes["range"] = numbers(model.jnt_range[j])
    ElementTree.SubElement(element, "joint", attributes)


def _add_geoms(element: ElementTree.Element, model: mujoco.MjModel, b: int) -> None:
    for g in map(int, np.flatnonzero(model.geom_bodyid == b)):
        kind = mujoco.mjtGeom(model.geom_type[g]).name.removeprefix("mjGEOM_").lower()
        if kind not in _GEOM_SIZES:
            continue
        ElementTree.SubElement(
            element, "geom", type=kind, size=numbers(model.geom_size[g, : _GEOM_SIZES[kind]]), pos=numbers(model.geom_pos[g]),
            quat=numbers(model.geom_quat[g]), rgba=numbers(model.geom_rgba[g]), contype=str(model.geom_contype[g]),
            conaffinity=str(model.geom_conaffinity[g]), group=str(model.geom_group[g]),
        )  # fmt: skip


def _scale_geom(model: mujoco.MjModel, g: int, factor: np.ndarray) -> None:
    model.geom_pos[g] *= factor
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, model.geom_quat[g])
    stretched = factor[:, None] * axes.reshape(3, 3)
    length = np.linalg.norm(stretched, axis=0)
    kind = model.geom_type[g]
    before = float(model.geom_size[g].max())
    if kind in (mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_CYLINDER):
        model.geom_size[g, 0] *= np.sqrt(length[0] * length[1])
        model.geom_size[g, 1] *= length[2]
        turn, turned = np.zeros(4), np.zeros(4)  # the long axis follows the stretch
        mujoco.mju_quatZ2Vec(turn, axes.reshape(3, 3).T @ stretched[:, 2])
        mujoco.mju_mulQuat(turned, model.geom_quat[g], turn)
        model.geom_quat[g] = turned
    elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        model.geom_size[g, 0] *= np.prod(length) ** (1 / 3)
    elif kind in (mujoco.mjtGeom.mjGEOM_ELLIPSOID, mujoco.mjtGeom.mjGEOM_BOX):
        model.geom_size[g] *= length
    if before > 0:
        model.geom_rbound[g] *= float(length.max())


def _scale_inertia(model: mujoco.MjModel, b: int, factor: np.ndarray) -> None:
    volume = float(np.prod(factor))
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, model.body_iquat[b])
    frame = axes.reshape(3, 3)
    inertia = frame @ np.diag(model.body_inertia[b]) @ frame.T
    second_moments = (0.5 * np.trace(inertia) * np.eye(3) - inertia) * np.outer(factor, factor) * volume
    scaled = np.trace(second_moments) * np.eye(3) - second_moments
    values, vectors = np.linalg.eigh(scaled)
    values, vectors = values[::-1], vectors[:, ::-1]
    if np.linalg.det(vectors) < 0:
        vectors = vectors * np.array([1.0, 1.0, -1.0])
    model.body_ipos[b] *= factor
    model.body_mass[b] *= volume
    model.body_inertia[b] = values
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(vectors).ravel())
    model.body_iquat[b] = quat
