"""OpenSim model files (.osim): bodies, joints, coordinates, couplings and markers. docs/osim.md says what is read and what is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.core.linkage import Coordinate, Coupling, Frame, Joint, Linkage
from biomech_fit.formats.osim_functions import read_function
from biomech_fit.formats.osim_joints import JOINTS, read_coordinates, read_motions
from biomech_fit.formats.osim_xml import FrameNames, flag, members, numbers, offset, socket, text
from biomech_fit.formats.safe_read import parse_xml, read_text


@dataclass(frozen=True, eq=False)
class OsimModel:
    """A model as its file has it: no scaling, no muscles. Positions are in OpenSim's ground, m."""

    name: str
    path: Path
    linkage: Linkage

    @property
    def coordinate_names(self) -> tuple[str, ...]:
        return self.linkage.coordinate_names

    @property
    def marker_names(self) -> tuple[str, ...]:
        return self.linkage.marker_names

    def values(self, coordinates: Mapping[str, float | np.ndarray]) -> np.ndarray:
        """(N,) or (T, N) of values by name, rad and m: those not named at their default, dependent ones by their couplings.

        Raises InputError for a name that the model lacks.
        """
        unknown = next((name for name in coordinates if name not in self.coordinate_names), None)
        if unknown is not None:
            raise InputError(f"'{self.path}' has no coordinate '{unknown}'; it has {', '.join(self.coordinate_names)}.")
        shape = np.broadcast_shapes(*(np.shape(v) for v in coordinates.values()))
        full = np.broadcast_to(self.linkage.default, (*shape, len(self.coordinate_names))).copy()
        for name, value in coordinates.items():
            full[..., self.linkage.index(name)] = value
        return self.linkage.complete(full)

    def markers(self, coordinates: Mapping[str, float | np.ndarray] | np.ndarray) -> np.ndarray:
        """(M, 3) of all markers, or (T, M, 3), for coordinates by name or as an array (N,) or (T, N)."""
        full = self.values(coordinates) if isinstance(coordinates, Mapping) else self.linkage.complete(np.asarray(coordinates, float))
        points = self.linkage.markers(self.linkage.poses(np.atleast_2d(full)))
        return points if full.ndim == 2 else points[0]

    def body_poses(self, coordinates: Mapping[str, float | np.ndarray]) -> dict[str, Frame]:
        """The frame of every body in the ground, for single values."""
        poses = self.linkage.poses(np.atleast_2d(self.values(coordinates)))
        return {name: Frame(poses.position[:, b, 0], poses.rotation[:, :, b, 0]) for b, name in enumerate(self.linkage.body_names)}


def read_osim(path: str | Path) -> OsimModel:
    """Read a model of OpenSim 2 to 4.

    Raises InputError for a file that is not a model, and for what the linkage cannot express: other joints, functions and constraints, loops, prescribed
    coordinates.
    """
    path = Path(path)
    root = parse_xml(read_text(path), path)
    model = root if root.tag == "Model" else root.find("Model")
    if model is None:
        raise InputError(f"'{path}' is not an OpenSim model: it has no <Model>.")
    units = text(model, "length_units", "meters").lower()
    if units not in ("meters", "m", "metres"):
        raise InputError(f"'{path}': the length unit '{units}' is not supported; it must be meters.")
    return OsimModel(model.get("name") or path.stem, path, _linkage(model, str(path)))


@dataclass(frozen=True, eq=False)
class _Link:
    """A joint as it was found, before bodies are put in order."""

    element: Element
    kind: str
    where: str
    parent: int
    parent_frame: Frame
    child: int
    child_frame: Frame


def _linkage(model: Element, file: str) -> Linkage:
    bodies = list(members(model, "BodySet"))
    names = [body.get("name", "") for body in bodies]
    _unique(names, "bodies", file)
    if "ground" not in names:
        names = ["ground", *names]
    frames = FrameNames(names, file)
    for body in bodies:
        frames.add(body.get("name", ""), list(members(body, "components")))
    for ground in members(model, "Ground"):
        frames.add("ground", list(ground))
    links = [_new_link(joint, frames, file) for joint in members(model, "JointSet")]
    links += [_old_link(body, joint, frames, file) for body in bodies for joint in members(body, "Joint")]
    order = _parents_first(names, links, file)
    number = {old: new for new, old in enumerate([names.index("ground"), *(link.child for link in order)])}

    listed = {link.child: read_coordinates(link.element, link.kind, link.where) for link in links}
    coordinates = [c for own in listed.values() for c in own]
    _unique([c.name for c in coordinates], "coordinates", file)
    index = {c.name: k for k, c in enumerate(coordinates)}
    joints = []
    for link in order:
        rotations, translations = read_motions(link.element, link.kind, [c.name for c in listed[link.child]], index, link.where)
        joints.append(
            Joint(link.element.get("name", ""), link.kind, number[link.parent], number[link.child], link.parent_frame, link.child_frame,
                  rotations, translations, flag(link.element, "reverse"))
        )  # fmt: skip
    markers = [_marker(marker, frames, file) for marker in members(model, "MarkerSet")]
    _unique([name for name, _, _ in markers], "markers", file)
    return Linkage(
        tuple(names[old] for old in number),
        tuple(joints),
        tuple(coordinates),
        _couplings(model, coordinates, index, file),
        tuple(name for name, _, _ in markers),
        np.array([number[body] for _, body, _ in markers], int),
        np.array([position for _, _, position in markers]).reshape(-1, 3),
    )


def _unique(names: list[str], what: str, file: str) -> None:
    repeated = next((n for k, n in enumerate(names) if n in names[:k]), None)
    if repeated is not None:
        raise InputError(f"'{file}': two {what} are called '{repeated}'.")


def _kind(joint: Element, where: str) -> str:
    if joint.tag not in JOINTS:
        raise InputError(f"{where}: the joint type {joint.tag} is not supported; those read are {', '.join(JOINTS)}.")
    return joint.tag


def _new_link(joint: Element, frames: FrameNames, file: str) -> _Link:
    """OpenSim 4: a joint of the JointSet with two sockets."""
    name = joint.get("name", "")
    where = f"'{file}', joint {name}"
    kind = _kind(joint, where)
    frames.add(name, list(members(joint, "frames")))
    ends = [socket(joint, end) for end in ("parent_frame", "child_frame")]
    if not all(ends):
        raise InputError(f"{where}: it does not say what it connects (<socket_parent_frame>, <socket_child_frame>).")
    (parent, parent_frame), (child, child_frame) = (frames.find(end, name) for end in ends)
    return _Link(joint, kind, where, parent, parent_frame, child, child_frame)


def _old_link(body: Element, joint: Element, frames: FrameNames, file: str) -> _Link:
    """OpenSim 2 and 3: the joint stands in the body that it carries."""
    where = f"'{file}', joint {joint.get('name', '')}"
    kind = _kind(joint, where)
    parent, parent_frame = frames.find(text(joint, "parent_body", "ground"), "")
    ends = [offset(joint, *tags, where) for tags in (("location_in_parent", "orientation_in_parent"), ("location", "orientation"))]
    if joint.find("location_in_child") is not None:
        ends[1] = offset(joint, "location_in_child", "orientation_in_child", where)
    return _Link(joint, kind, where, parent, parent_frame @ ends[0], frames.bodies[body.get("name", "")], ends[1])


def _parents_first(names: list[str], links: list[_Link], file: str) -> list[_Link]:
    by_parent: dict[int, list[_Link]] = {}
    seen: dict[int, _Link] = {}
    for link in links:
        if link.child in seen:
            first = seen[link.child].element.get("name")
            raise InputError(f"{link.where}: the body '{names[link.child]}' already hangs on the joint {first}; loops are not supported.")
        seen[link.child] = link
        by_parent.setdefault(link.parent, []).append(link)
    order, reached = [], [names.index("ground")]
    for body in reached:
        for link in by_parent.get(body, []):
            order.append(link)
            reached.append(link.child)
    lost = next((name for k, name in enumerate(names) if k not in reached), None)
    if lost is not None:
        raise InputError(f"'{file}': no chain of joints leads from the ground to the body '{lost}'.")
    if not order:
        raise InputError(f"'{file}' has no bodies.")
    return order


def _marker(marker: Element, frames: FrameNames, file: str) -> tuple[str, int, np.ndarray]:
    name = marker.get("name", "")
    where = f"'{file}', marker {name}"
    if not name:
        raise InputError(f"{where}: it has no name.")
    body, frame = frames.find(socket(marker, "parent_frame") or text(marker, "body"), f"marker {name}")
    return name, body, frame.position + frame.rotation @ numbers(marker, "location", where, 3)


def _couplings(model: Element, coordinates: list[Coordinate], index: dict[str, int], file: str) -> tuple[Coupling, ...]:
    found: dict[int, Coupling] = {}
    for element in members(model, "ConstraintSet"):
        where = f"'{file}', constraint {element.get('name', '')}"
        if flag(element, "isDisabled") or not flag(element, "isEnforced", True):
            continue
        if element.tag != "CoordinateCouplerConstraint":
            raise InputError(f"{where}: the constraint type {element.tag} is not supported; only CoordinateCouplerConstraint is.")
        dependent, independent = text(element, "dependent_coordinate_name"), text(element, "independent_coordinate_names").split()
        unknown = next((n for n in [dependent, *independent] if n not in index), None)
        if unknown is not None:
            raise InputError(f"{where}: the coordinate '{unknown}' is not one of the model's.")
        if index[dependent] in found:
            raise InputError(f"{where}: another constraint already drives the coordinate '{dependent}'.")
        holder = element.find("coupled_coordinates_function")
        function = read_function(next(iter(holder), None) if holder is not None else None, len(independent), where)
        scale = float(numbers(element, "scale_factor", where, 1, (1.0,))[0])
        if not coordinates[index[dependent]].locked:
            found[index[dependent]] = Coupling(index[dependent], tuple(index[n] for n in independent), function.scaled(scale))
    return tuple(_independent_first(found, coordinates, file))


def _independent_first(couplings: dict[int, Coupling], coordinates: list[Coordinate], file: str) -> list[Coupling]:
    order: list[Coupling] = []
    waiting = dict(couplings)
    while waiting:
        ready = [c for c in waiting.values() if not any(i in waiting for i in c.independent)]
        if not ready:
            raise InputError(f"'{file}': the couplings of the coordinate '{coordinates[next(iter(waiting))].name}' lead back to itself.")
        order += ready
        for coupling in ready:
            del waiting[coupling.dependent]
    return order
