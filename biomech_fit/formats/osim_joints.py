"""OpenSim's joint elements -> the motions and coordinates of `core.linkage`."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.core.joint_function import Affine
from biomech_fit.core.linkage import Coordinate, Motion
from biomech_fit.formats.osim_functions import read_function
from biomech_fit.formats.osim_xml import flag, members, numbers, text

_PLAIN = {
    "WeldJoint": "", "PinJoint": "Z", "SliderJoint": "x", "BallJoint": "XYZ", "GimbalJoint": "XYZ", "UniversalJoint": "XY", "PlanarJoint": "Zxy",
    "FreeJoint": "XYZxyz",
}  # fmt: skip
"""Coordinates of the plain joints in OpenSim's order: X is a rotation about the (moved) x axis, x a translation along the parent frame's."""
JOINTS = ("CustomJoint", *_PLAIN)
"""Element names that are read."""
_AXES = dict(zip("xyz", np.eye(3), strict=True))


def read_coordinates(joint: Element, kind: str, where: str) -> list[Coordinate]:
    """The joint's coordinates in its order; of plain joints that do not list them, under OpenSim's default names."""
    found = list(members(joint, "coordinates", "CoordinateSet"))
    plain = _PLAIN.get(kind)
    if plain is None:
        return [_coordinate(e, _is_angle(joint, e, where), where) for e in found]
    if not found:
        return [Coordinate(f"{joint.get('name', '')}_coord_{k}", letter.isupper()) for k, letter in enumerate(plain)]
    if len(found) != len(plain):
        raise InputError(f"{where}: a {kind} has {len(plain)} coordinates, not {len(found)}.")
    return [_coordinate(e, letter.isupper(), where) for e, letter in zip(found, plain, strict=True)]


def read_motions(joint: Element, kind: str, own: list[str], numbers_of: dict[str, int], where: str) -> tuple[tuple[Motion, ...], tuple[Motion, ...]]:
    """Three rotations and three translations. `own` names the joint's coordinates, `numbers_of` has the number of every coordinate of the model."""
    if kind == "CustomJoint":
        return _spatial_transform(joint, numbers_of, where)
    rotations = [Motion(_AXES[letter.lower()], Affine((1.0,)), (numbers_of[name],)) for letter, name in zip(_PLAIN[kind], own, strict=True) if letter.isupper()]
    translations = [Motion(_AXES[letter], Affine((1.0,)), (numbers_of[name],)) for letter, name in zip(_PLAIN[kind], own, strict=True) if letter.islower()]
    return _three(rotations), _three(translations)


def _three(motions: list[Motion]) -> tuple[Motion, ...]:
    still = Motion(_AXES["x"])
    return tuple([*motions, still, still, still][:3])


def _spatial_transform(joint: Element, numbers_of: dict[str, int], where: str) -> tuple[tuple[Motion, ...], tuple[Motion, ...]]:
    transform = joint.find("SpatialTransform")
    if transform is None:
        raise InputError(f"{where}: a CustomJoint needs a <SpatialTransform>.")
    axes = list(transform.iter("TransformAxis"))
    named = {axis.get("name", ""): axis for axis in axes}
    motions = []
    for place, name in enumerate(f"{kind}{k}" for kind in ("rotation", "translation") for k in (1, 2, 3)):
        element = named.get(name, axes[place] if place < len(axes) and not named.keys() & {"rotation1", "translation1"} else None)
        motions.append(Motion(np.eye(3)[place % 3]) if element is None else _motion(element, numbers_of, f"{where}, {name}"))
    return tuple(motions[:3]), tuple(motions[3:])


def _motion(element: Element, numbers_of: dict[str, int], where: str) -> Motion:
    names = text(element, "coordinates").split()
    unknown = next((n for n in names if n not in numbers_of), None)
    if unknown is not None:
        raise InputError(f"{where}: the coordinate '{unknown}' is not one of the model's.")
    axis = numbers(element, "axis", where, 3)
    length = float(np.linalg.norm(axis))
    if length < 1e-9:
        raise InputError(f"{where}: the axis has no length.")
    function = _function_element(element)
    if function is None and not names:
        return Motion(axis / length)
    return Motion(axis / length, read_function(function, len(names), where), tuple(numbers_of[n] for n in names))


def _function_element(element: Element) -> Element | None:
    """OpenSim 3 wraps the function in <function>, 4 has it as the axis' own child."""
    wrapped = element.find("function")
    if wrapped is not None:
        return next(iter(wrapped), None)
    return next((e for e in element if e.tag not in ("coordinates", "axis")), None)


def _is_angle(joint: Element, coordinate: Element, where: str) -> bool:
    """OpenSim's motion type: as the old files say it, else by the first axis that the coordinate drives with slope 1 or -1."""
    said = text(coordinate, "motion_type").lower()
    if said:
        return said == "rotational"
    for axis in joint.iterfind("SpatialTransform/TransformAxis"):
        if text(axis, "coordinates").split() == [coordinate.get("name")]:
            function = _function_element(axis)
            if function is not None and function.tag == "LinearFunction" and abs(numbers(function, "coefficients", where, 2)[0]) == 1.0:
                return axis.get("name", "").startswith("rotation")
    return False


def _coordinate(element: Element, is_angle: bool, where: str) -> Coordinate:
    name = element.get("name", "")
    where = f"{where}, coordinate {name}"
    if not name:
        raise InputError(f"{where}: it has no name.")
    if flag(element, "prescribed") and any(True for _ in element.iterfind("prescribed_function/*")):
        raise InputError(f"{where}: a coordinate that is prescribed as a function of time is not supported.")
    lower, upper = numbers(element, "range", where, 2) if text(element, "range") else (-np.inf, np.inf)
    if lower > upper:
        raise InputError(f"{where}: its range ends before it begins.")
    default = float(numbers(element, "default_value", where, 1, (0.0,))[0])
    return Coordinate(name, is_angle, float(lower), float(upper), default, flag(element, "clamped"), flag(element, "locked"))
