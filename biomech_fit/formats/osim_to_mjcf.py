"""OpenSim models as MJCF of hinges and slides, the tree that the streaming solver fits. What a hinge cannot do exactly is fitted, and the cost measured."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from biomech_fit.core.errors import InputError
from biomech_fit.core.joint_function import Affine, value
from biomech_fit.core.linkage import Joint, Linkage, Motion
from biomech_fit.core.opensim_axes import WORLD_FROM_OPENSIM
from biomech_fit.formats.mjcf import numbers
from biomech_fit.formats.osim import OsimModel

_SAMPLES = 61
_EXACT_M = 1e-6


@dataclass(frozen=True)
class Approximation:
    """A joint that the MJCF has as one hinge though its axis moves with its angle."""

    joint: str
    coordinate: str
    rms_mm: float
    """Over the coordinate's range and the markers that the joint carries (the child's origin where it carries none), all other coordinates at their default."""
    max_mm: float


@dataclass(frozen=True)
class Converted:
    """An OpenSim model as MJCF, and what the conversion costs."""

    mjcf: str
    """Bodies, joints, ranges, and a site for every marker; the root floats in the z-up world."""
    approximations: tuple[Approximation, ...]
    left_out: tuple[str, ...]
    """Bodies without markers whose joints other coordinates drive (a patella)."""


@dataclass(frozen=True, eq=False)
class _Axis:
    """A hinge or slide in the child's frame at rest."""

    name: str
    coordinate: int
    is_hinge: bool
    axis: np.ndarray
    anchor: np.ndarray


@dataclass(frozen=True, eq=False)
class _Rest:
    """A body in its parent where all its axes are at 0."""

    position: np.ndarray
    rotation: np.ndarray
    axes: tuple[_Axis, ...] = ()


def convert(model: OsimModel) -> Converted:
    """The model as MJCF. Raises InputError where a joint has no likeness among hinges and slides: the root must have six coordinates of its own, every other
    joint one coordinate, or several that each turn or shift about an axis of their own, and no coordinate may move two joints."""
    linkage, where = model.linkage, f"'{model.path}'"
    drives = _drivers(linkage)
    left_out = _bodies_left_out(linkage, drives)
    kept = [j for j in linkage.joints if j.child not in left_out]
    _check(linkage, kept, drives, where)
    root = ElementTree.Element("mujoco", model=model.name)
    ElementTree.SubElement(root, "compiler", angle="radian", autolimits="true", balanceinertia="true")
    elements = {0: ElementTree.SubElement(root, "worldbody")}
    approximations = []
    for joint in kept:
        is_root = joint.parent == 0
        if is_root:
            rest = _root(linkage, joint)
        else:
            rest, cost = _joint(linkage, joint, drives[joint.child], f"{where}, joint {joint.name}")
            approximations += [cost] if cost else []
        quat = Rotation.from_matrix(rest.rotation).as_quat(scalar_first=True)
        name = linkage.body_names[joint.child]
        element = ElementTree.SubElement(elements[joint.parent], "body", name=name, pos=numbers(rest.position), quat=numbers(quat))
        elements[joint.child] = element
        # Masses play no part in kinematics; MuJoCo wants some.
        ElementTree.SubElement(element, "inertial", pos="0 0 0", mass="1", diaginertia="0.01 0.01 0.01")
        if is_root:
            ElementTree.SubElement(element, "freejoint", name=f"{name}_free")
        for axis in rest.axes:
            coordinate = linkage.coordinates[axis.coordinate]
            attributes = {"name": axis.name, "type": "hinge" if axis.is_hinge else "slide", "pos": numbers(axis.anchor), "axis": numbers(axis.axis)}
            if np.isfinite([coordinate.lower, coordinate.upper]).all() and coordinate.lower < coordinate.upper:
                attributes["range"] = numbers([coordinate.lower, coordinate.upper])
            ElementTree.SubElement(element, "joint", attributes)
    for name, body, position in zip(linkage.marker_names, linkage.marker_body, linkage.marker_position, strict=True):
        ElementTree.SubElement(elements[int(body)], "site", name=name, pos=numbers(position))
    _add_bones(linkage, kept, elements)
    ElementTree.indent(root)
    return Converted(ElementTree.tostring(root, encoding="unicode") + "\n", tuple(approximations), tuple(linkage.body_names[b] for b in sorted(left_out)))


def compiled(converted: Converted, where: str) -> mujoco.MjModel:
    """The MJCF as MuJoCo has it; InputError where it cannot be compiled."""
    try:
        return mujoco.MjModel.from_xml_string(converted.mjcf)
    except ValueError as error:
        raise InputError(f"MuJoCo cannot compile what {where} became: {' '.join(str(error).split())}") from None


def _drivers(linkage: Linkage) -> dict[int, tuple[int, ...]]:
    """Body to the free coordinates that move its joint, directly or by couplings."""
    slopes = linkage.free_slopes(linkage.default[None] + 1e-3)[0]
    drives = {}
    for joint in linkage.joints:
        own = {c for m in (*joint.rotations, *joint.translations) for c in m.coordinates if not _is_constant(m)}
        drives[joint.child] = tuple(int(c) for k, c in enumerate(linkage.free) if any(slopes[o, k] != 0 for o in own))
    return drives


def _is_constant(motion: Motion) -> bool:
    return isinstance(motion.function, Affine) and not any(motion.function.coefficients)


def _bodies_left_out(linkage: Linkage, drives: dict[int, tuple[int, ...]]) -> set[int]:
    """Bodies that carry no marker and have a coordinate that drives a body with markers, too: nothing could be seen of them."""
    seen = {j.child for j in linkage.joints if linkage.carried[j.child][linkage.marker_body].any()}
    driving = {c for b in seen for c in drives[b]}
    out = {j.child for j in linkage.joints if j.child not in seen and driving & set(drives[j.child])}
    return {j.child for j in linkage.joints if any(linkage.carried[b, j.child] for b in out)}


def _check(linkage: Linkage, kept: list[Joint], drives: dict[int, tuple[int, ...]], where: str) -> None:
    roots = [j for j in kept if j.parent == 0]
    if len(roots) != 1 or len(drives[roots[0].child]) != 6 or not _is_plain(roots[0], drives[roots[0].child]):
        raise InputError(f"{where}: to be tracked, a model must hang on the ground by one joint with three rotations and three translations of its own.")
    owner: dict[int, str] = {}
    for joint in kept:
        for c in drives[joint.child]:
            if c in owner:
                two = f"moves the joints {owner[c]} and {joint.name}"
                raise InputError(
                    f"{where}: the coordinate {linkage.coordinate_names[c]} {two}; models with shared or coupled coordinates can be read, but not tracked."
                )
            owner[c] = joint.name


def _is_plain(joint: Joint, coordinates: tuple[int, ...]) -> bool:
    """Every driving coordinate has a motion of its own, with slope 1 or -1, and nothing else moves."""
    moving = [m for m in (*joint.rotations, *joint.translations) if not _is_constant(m) and set(m.coordinates) & set(coordinates)]
    own = [m.coordinates for m in moving]
    plain = all(isinstance(m.function, Affine) and [abs(k) for k in m.function.coefficients] == [1.0] for m in moving)
    return plain and not joint.reverse and sorted(own) == sorted((c,) for c in coordinates)


def _root(linkage: Linkage, joint: Joint) -> _Rest:
    """The root at its default position, with all rotations 0, in the world."""
    full = linkage.default.copy()
    full[[c for m in joint.rotations for c in m.coordinates]] = 0.0
    position, rotation = _relative(linkage, joint, full[None])
    return _Rest(WORLD_FROM_OPENSIM @ position[0], WORLD_FROM_OPENSIM @ rotation[0])


def _relative(linkage: Linkage, joint: Joint, full: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, 3) and (T, 3, 3): the child in its parent."""
    poses = linkage.poses(full)
    rotation, position = poses.rotation.transpose(2, 3, 0, 1), poses.position.transpose(1, 2, 0)
    inverse = rotation[joint.parent].swapaxes(1, 2)
    return (inverse @ (position[joint.child] - position[joint.parent])[..., None])[..., 0], inverse @ rotation[joint.child]


def _joint(linkage: Linkage, joint: Joint, driving: tuple[int, ...], where: str) -> tuple[_Rest, Approximation | None]:
    if not driving:
        position, rotation = _relative(linkage, joint, linkage.default[None])
        return _Rest(position[0], rotation[0]), None
    if _is_plain(joint, driving):
        return _plain(linkage, joint, set(driving)), None
    names = ", ".join(linkage.coordinate_names[c] for c in driving)
    if len(driving) > 1:
        raise InputError(
            f"{where}: {names} move it by other than one axis each, which neither hinges nor slides can do; such joints can be read, but not tracked."
        )
    coordinate = linkage.coordinates[driving[0]]
    if not np.isfinite([coordinate.lower, coordinate.upper]).all() or coordinate.lower >= coordinate.upper:
        raise InputError(f"{where}: the coordinate {names} needs a range, over which its moving axis is replaced by a fixed one.")
    return _fitted(linkage, joint, driving[0])


def _plain(linkage: Linkage, joint: Joint, driving: set[int]) -> _Rest:
    """Slides, then hinges, exactly; constant rotations between hinges turn the later axes and the rest."""
    constant, shift = Rotation.identity(), np.zeros(3)
    axes: list[tuple[int, bool, np.ndarray]] = []
    for is_hinge, motions in ((False, joint.translations), (True, joint.rotations)):
        for motion in motions:
            moves = not _is_constant(motion) and motion.coordinates[0] in driving
            fixed = motion.function.constant if moves else float(value(motion.function, linkage.default[list(motion.coordinates)]))
            if moves:
                axes.append((motion.coordinates[0], is_hinge, motion.function.coefficients[0] * (constant.apply(motion.axis) if is_hinge else motion.axis)))
            if is_hinge:
                constant = constant * Rotation.from_rotvec(fixed * motion.axis)
            else:
                shift += fixed * motion.axis
    turn = constant.as_matrix() @ joint.child_frame.rotation.T
    rotation = joint.parent_frame.rotation @ turn
    position = joint.parent_frame.position + joint.parent_frame.rotation @ shift - rotation @ joint.child_frame.position
    return _Rest(
        position, rotation,
        tuple(_Axis(linkage.coordinate_names[c], c, is_hinge, turn.T @ axis, joint.child_frame.position) for c, is_hinge, axis in axes),
    )  # fmt: skip


def _fitted(linkage: Linkage, joint: Joint, coordinate: int) -> tuple[_Rest, Approximation | None]:
    """The fixed hinge, or slide where nothing turns, nearest to a motion of one coordinate over its range."""
    c = linkage.coordinates[coordinate]
    full = np.repeat(linkage.default[None], _SAMPLES, 0)
    full[:, coordinate] = at = np.linspace(c.lower, c.upper, _SAMPLES)
    full = linkage.complete(full)
    position, rotation = _relative(linkage, joint, full)
    turns, axis = _fixed_axis(Rotation.from_matrix(rotation), at)
    if np.linalg.norm(axis) < 0.5:
        slide, start = np.polyfit(at, position, 1)
        rest = _Rest(start, turns[0].as_matrix(), (_Axis(c.name, coordinate, False, turns[0].inv().apply(slide), np.zeros(3)),))
        fitted = start + at[:, None] * slide
    else:
        # position = centre - turn @ anchor, linear in both; the axis itself adds nothing to the anchor, hence the least norm.
        matrices = turns.as_matrix()
        system = np.concatenate([np.repeat(np.eye(3)[None], _SAMPLES, 0), -matrices], 2).reshape(-1, 6)
        centre, anchor = np.split(np.linalg.lstsq(system, position.ravel(), rcond=1e-9)[0], 2)
        neutral = turns * Rotation.from_rotvec(-at[:, None] * axis)
        rest = _Rest(centre - neutral[0].apply(anchor), neutral[0].as_matrix(), (_Axis(c.name, coordinate, True, axis, anchor),))
        fitted = centre - matrices @ anchor
    points = _carried_points(linkage, joint)
    error = np.linalg.norm(np.einsum("txy,py->tpx", rotation - turns.as_matrix(), points) + (position - fitted)[:, None], axis=-1)
    cost = Approximation(joint.name, c.name, round(1e3 * float(np.sqrt((error**2).mean())), 3), round(1e3 * float(error.max()), 3))
    return rest, cost if error.max() > _EXACT_M else None


def _fixed_axis(turns: Rotation, at: np.ndarray) -> tuple[Rotation, np.ndarray]:
    """Rotations ``rest * exp(at * axis)`` nearest to `turns` (T,), and the axis: of length 1, or 0 where they do not turn."""
    middle = len(at) // 2
    away = (turns[middle].inv() * turns).as_rotvec()
    slope = np.linalg.lstsq((at - at[middle])[:, None], away, rcond=None)[0][0]
    if np.linalg.norm(slope) < 0.05:
        return Rotation.from_quat(np.repeat(turns.mean().as_quat()[None], len(at), 0)), np.zeros(3)
    first = slope / np.linalg.norm(slope)

    def rotations(x: np.ndarray) -> tuple[Rotation, np.ndarray]:
        axis = first + x[3:]
        axis = axis / np.linalg.norm(axis)
        return turns[middle] * Rotation.from_rotvec(x[:3]) * Rotation.from_rotvec((at - at[middle])[:, None] * axis), axis

    best = least_squares(lambda x: (turns.inv() * rotations(x)[0]).as_rotvec().ravel(), np.zeros(6), xtol=1e-12, ftol=1e-14, gtol=1e-14)
    return rotations(best.x)


def _carried_points(linkage: Linkage, joint: Joint) -> np.ndarray:
    """(P, 3) the markers that a joint carries, in the child's frame with all coordinates at their default; its origin where there are none."""
    which = np.flatnonzero(linkage.carried[joint.child][linkage.marker_body])
    if not len(which):
        return np.zeros((1, 3))
    poses = linkage.poses(linkage.default[None])
    offset = linkage.marker_rows(poses, which)[:, :, 0].T - poses.position[:, joint.child, 0]
    return offset @ poses.rotation[:, :, joint.child, 0]


def _add_bones(linkage: Linkage, kept: list[Joint], elements: dict[int, ElementTree.Element]) -> None:
    """A thin capsule from every body's origin to those that hang on it, to look at."""
    for joint in kept:
        if joint.parent == 0:
            continue
        end = np.array([float(v) for v in elements[joint.child].get("pos", "").split()])
        if np.linalg.norm(end) > 0.05:
            attributes = {"type": "capsule", "fromto": f"0 0 0 {numbers(end)}", "size": "0.01", "contype": "0", "conaffinity": "0", "mass": "0"}
            ElementTree.SubElement(elements[joint.parent], "geom", attributes)
