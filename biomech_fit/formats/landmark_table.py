"""Landmark tables (config/surface/*.yaml): which vertices of a mesh topology are which bony landmarks, from which source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from biomech_fit.config.paths import config_directory
from biomech_fit.core.errors import InputError
from biomech_fit.formats.resources import read_yaml

BUILT_IN = ("smpl", "smplx")
JOINT_PAIRS = {
    "knee": ("femoral_epicondyle_lateral", "femoral_epicondyle_medial"),
    "ankle": ("malleolus_lateral", "malleolus_medial"),
    "elbow": ("humeral_epicondyle_lateral", "humeral_epicondyle_medial"),
    "wrist": ("radial_styloid", "ulnar_styloid"),
}
"""The landmarks on either side of a joint, of which it is the middle. Soft tissue over one of them lies along the line to the other."""
OPPOSITE = {f"{x}_{s}": f"{y}_{s}" for a, b in JOINT_PAIRS.values() for s in "rl" for x, y in ((a, b), (b, a))}
"""For each of them the other one."""
_SIDES = {"left": "_l", "right": "_r", "middle": ""}


@dataclass(frozen=True)
class Landmark:
    """A point of the surface over a bone."""

    name: str
    """ASIS_l, ASIS_r, C7 ..."""
    vertices: tuple[int, ...]
    """Their mean is the point."""
    tissue_m: float
    """How far under the skin the bone is taken to lie: of a joint's pair towards the other one, else along the inward normal."""
    source: str
    note: str = ""
    """Where sources disagree."""


@dataclass(frozen=True)
class LandmarkTable:
    """The landmarks of one topology, which is known by its number of vertices."""

    name: str
    title: str
    vertex_count: int
    landmarks: tuple[Landmark, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.landmarks)

    def opposite(self) -> dict[int, int]:
        """OPPOSITE by number, of the pairs that the table has whole."""
        number = {name: k for k, name in enumerate(self.names)}
        return {number[x]: number[y] for x, y in OPPOSITE.items() if x in number and y in number}

    def points(self, vertices: np.ndarray) -> np.ndarray:
        """(L, D) of anything per vertex (V, D), e.g. positions or normals."""
        return np.array([vertices[list(entry.vertices)].mean(0) for entry in self.landmarks])


def read_landmark_table(path: str | Path) -> LandmarkTable:
    """Read a table. Raises InputError naming the entry that is wrong: an unknown key, a vertex out of range or used twice, a side without the other."""
    path = Path(path)
    content = read_yaml(path, "landmark table")
    where = f"landmark table '{path}'"
    count = content.get("vertices")
    if not isinstance(count, int) or count < 4:
        raise InputError(f"In the {where}, vertices is {count!r}; it must be the topology's number of vertices.")
    entries = content.get("landmarks")
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"The {where} has no landmarks.")
    landmarks = [landmark for name, entry in entries.items() for landmark in _landmarks(str(name), entry, count, where)]
    table = LandmarkTable(str(content.get("name", path.stem)), str(content.get("title", path.stem)), count, tuple(landmarks))
    used = [v for landmark in table.landmarks for v in landmark.vertices]
    twice = sorted({v for v in used if used.count(v) > 1})
    if twice:
        raise InputError(f"In the {where}, vertex {twice[0]} is used by two landmarks.")
    return table


@cache
def built_in_tables() -> tuple[LandmarkTable, ...]:
    """The tables that come with the package."""
    return tuple(read_landmark_table(config_directory() / "surface" / f"{name}.yaml") for name in BUILT_IN)


def table_for(vertex_count: int, own: LandmarkTable | None = None) -> LandmarkTable:
    """The table of a mesh with so many vertices; `own` is the user's. Raises InputError that names the known topologies."""
    known = (*built_in_tables(), *([own] if own else []))
    for table in reversed(known):
        if table.vertex_count == vertex_count:
            return table
    names = "; ".join(f"{table.title} ({table.vertex_count})" for table in known)
    raise InputError(f"A mesh with {vertex_count} vertices is of no known topology; known are {names}. For another one give its landmark table (--landmarks).")


def _landmarks(name: str, entry: Any, count: int, where: str) -> list[Landmark]:
    label = f"In the {where}, {name}"
    if not isinstance(entry, dict) or not set(entry) <= {*_SIDES, "tissue_mm", "source", "note"}:
        raise InputError(f"{label} must be {{left: N, right: N, tissue_mm: X, source: S}} or {{middle: N, ...}}.")
    sides = [side for side in _SIDES if side in entry]
    if sides not in (["left", "right"], ["middle"]):
        raise InputError(f"{label} must have left and right, or middle.")
    tissue = entry.get("tissue_mm")
    if not isinstance(tissue, (int, float)) or not 0 <= tissue <= 100:
        raise InputError(f"{label}.tissue_mm is {tissue!r}; it must be between 0 and 100.")
    if not isinstance(entry.get("source"), str):
        raise InputError(f"{label} needs its source.")
    out = []
    for side in sides:
        numbers = entry[side] if isinstance(entry[side], list) else [entry[side]]
        for n in numbers:
            if not isinstance(n, int) or isinstance(n, bool) or not 0 <= n < count:
                raise InputError(f"{label}.{side} is {n!r}; it must be a vertex number from 0 to {count - 1}.")
        out.append(Landmark(name + _SIDES[side], tuple(numbers), tissue / 1000, entry["source"], str(entry.get("note", ""))))
    return out
