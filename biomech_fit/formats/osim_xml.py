"""Small things that readers of OpenSim's XML share: values with their unit of complaint, and frames that components name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.core.linkage import Frame


def text(element: Element | None, tag: str, default: str = "") -> str:
    """The stripped text of a child, or the default where it is absent or empty."""
    found = element.findtext(tag) if element is not None else None
    return found.strip() if found and found.strip() else default


def numbers(element: Element | None, tag: str, where: str, count: int | None = None, default: tuple[float, ...] | None = None) -> np.ndarray:
    """The child's numbers, all finite, `count` of them if said; InputError names `where` and the tag."""
    words = text(element, tag).split()
    if not words and default is not None:
        return np.array(default, float)
    try:
        values = np.array([float(w) for w in words])
    except ValueError:
        values = np.array([math.nan])
    if not np.isfinite(values).all() or not len(values) or (count is not None and len(values) != count):
        raise InputError(f"{where}: <{tag}> must be {count or 'some'} finite number{'' if count == 1 else 's'}, not '{text(element, tag)[:60]}'.")
    return values


def flag(element: Element | None, tag: str, default: bool = False) -> bool:
    """OpenSim's true or false."""
    value = text(element, tag).lower()
    return value in ("true", "1", "yes") if value else default


def members(parent: Element | None, *tags: str) -> Iterator[Element]:
    """Objects of a set (inside <objects>), or of a plain list property: the elements under the first of `tags` that is there."""
    for tag in tags:
        holder = parent.find(tag) if parent is not None else None
        if holder is not None:
            objects = holder.find("objects")
            yield from (e for e in (holder if objects is None else objects) if e.tag not in ("groups", "objects"))
            return


def socket(element: Element, name: str) -> str:
    """What a component's socket is connected to, in any of the spellings of versions 4.0 and later; empty if it is not said."""
    for tag in (f"socket_{name}", f"socket_{name}_connectee_name", f"connector_{name}_connectee_name"):
        if text(element, tag):
            return text(element, tag)
    for holder in element.iterfind("connectors/*"):
        if holder.get("name") == name:
            return text(holder, "connectee_name")
    return ""


def offset(element: Element | None, translation: str, orientation: str, where: str) -> Frame:
    """The frame at a translation (m), turned by body-fixed x, y, z angles (rad)."""
    zero = (0.0, 0.0, 0.0)
    position, angles = numbers(element, translation, where, 3, zero), numbers(element, orientation, where, 3, zero)
    return Frame(position, rotation_xyz(angles))


def rotation_xyz(angles: np.ndarray) -> np.ndarray:
    """Rx(a) Ry(b) Rz(c)."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    return x @ y @ np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])


class FrameNames:
    """Bodies and the frames fixed to them, found by the paths that components use (`/bodyset/femur_r`, `../femur_r`, `femur_r_offset`)."""

    def __init__(self, bodies: list[str], file: str) -> None:
        self.bodies, self.file = {name: number for number, name in enumerate(bodies)}, file
        self._offsets: dict[str, Element] = {}

    def add(self, owner: str, elements: list[Element]) -> None:
        """Offset frames that a component owns."""
        for element in elements:
            if element.tag == "PhysicalOffsetFrame":
                self._offsets[f"{owner}/{element.get('name', '')}"] = element

    def find(self, path: str, owner: str, depth: int = 0) -> tuple[int, Frame]:
        """Body number and the frame in it. `owner` is the component whose own frames are looked at first."""
        steps = [step for step in path.split("/") if step not in ("", ".")]
        name = steps[-1] if steps else ""
        if name == "..":  # a frame's parent may be the body that owns it
            return self._body(owner, path, owner)
        above = steps[-2] if len(steps) > 1 and steps[-2] != ".." else owner
        for key in (f"{above}/{name}", f"{owner}/{name}"):
            if key in self._offsets:
                return self._offset(key, depth)
        if name in self.bodies:
            return self.bodies[name], Frame()
        others = [key for key in self._offsets if key.endswith(f"/{name}")]
        if len(others) == 1:
            return self._offset(others[0], depth)
        return self._body(name, path, owner)

    def _offset(self, key: str, depth: int) -> tuple[int, Frame]:
        element, owner = self._offsets[key], key.rsplit("/", 1)[0]
        where = f"'{self.file}', frame {key}"
        if depth > 20:
            raise InputError(f"{where}: its parents lead back to itself.")
        parent = socket(element, "parent")
        if not parent:
            raise InputError(f"{where}: it has no <socket_parent>.")
        body, outer = self.find(parent, owner, depth + 1)
        return body, outer @ offset(element, "translation", "orientation", where)

    def _body(self, name: str, path: str, owner: str) -> tuple[int, Frame]:
        if name not in self.bodies:
            raise InputError(f"'{self.file}', {owner}: '{path}' is neither a body nor a frame of the model.")
        return self.bodies[name], Frame()
