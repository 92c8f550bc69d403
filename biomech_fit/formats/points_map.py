"""Which of a trial's 3D points are heels, toes, ankles and pelvis (and keypoints): maps by name, from a YAML, or the first built-in one that fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from biomech_fit.config.paths import config_directory
from biomech_fit.core.errors import InputError
from biomech_fit.formats.points3d import Points3D
from biomech_fit.formats.resources import read_yaml

ROLES = ("left_heel", "right_heel", "left_toe", "right_toe", "left_ankle", "right_ankle", "pelvis")
FALLBACK = {"left_heel": "left_ankle", "right_heel": "right_ankle", "left_toe": "left_ankle", "right_toe": "right_ankle"}
"""Every one of these, or what stands in for it, must be there."""
_MOST_NAMES = 1000
_ENTRIES = ("name", "points", "keypoint_set", "keypoints")


@dataclass(frozen=True)
class PointsMap:
    """For each role the alternatives, best first; an alternative is one point or several whose mean is taken."""

    name: str
    roles: dict[str, tuple[tuple[str, ...], ...]]
    keypoint_set: str | None = None
    """The set that the points are of; None = by their names."""
    keypoints: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """The same for keypoints of that set, where their names are not in the file."""


@dataclass(frozen=True, eq=False)
class FeetAndPelvis:
    """What the gait is read from: T samples, left and right, m; NaN = missing."""

    heels: np.ndarray
    """(T, 2, 3)"""
    toes: np.ndarray
    """(T, 2, 3)"""
    pelvis: np.ndarray
    """(T, 3); NaN throughout where the trial has none."""
    used: dict[str, str]
    """Role to the points' names."""
    stand_ins: tuple[str, ...]
    """Heels and toes for which the ankle had to be taken."""
    map_name: str


def points_map_names() -> list[str]:
    """Names of the maps that come with the package, in the order in which they are tried."""
    order = ["plug_in_gait", "keypoints"]
    return [*order, *sorted(p.stem for p in (config_directory() / "points_maps").glob("*.yaml") if p.stem not in order)]


def load_points_map(name_or_path: str | Path) -> PointsMap:
    """A map by name or from a YAML file.

    Raises InputError for an unknown name (with the valid ones) and for a malformed file (naming the entry).
    """
    text = str(name_or_path)
    if text in points_map_names():
        path = config_directory() / "points_maps" / f"{text}.yaml"
    elif text.lower().endswith((".yaml", ".yml")):
        path = Path(text)
    else:
        raise InputError(f"Unknown points map '{text}'; choose one of {', '.join(points_map_names())} or give a YAML file.")
    content = read_yaml(path, "points map")
    other = sorted(str(entry) for entry in content if entry not in _ENTRIES)
    if other:
        raise InputError(f"The points map '{path}' has an unknown entry '{other[0]}'; valid are {', '.join(_ENTRIES)}.")
    roles, keypoints, keypoint_set = content.get("points", {}), content.get("keypoints", {}), content.get("keypoint_set")
    good = isinstance(roles, dict) and isinstance(keypoints, dict) and (roles or keypoints or keypoint_set) and isinstance(keypoint_set, str | None)
    if not good:
        raise InputError(f"The points map '{path}' must have points or keypoints (names to points), or keypoint_set (a set's name).")
    unknown = [str(r) for r in roles if r not in ROLES]
    if unknown:
        raise InputError(f"The points map '{path}' has an unknown entry '{unknown[0]}' under points; valid are {', '.join(ROLES)}.")
    named, placed = ({str(role): _alternatives(value, str(role), path) for role, value in entries.items()} for entries in (roles, keypoints))
    return PointsMap(str(content.get("name", path.stem)), named, keypoint_set, placed)


def _alternatives(value: Any, role: str, path: Path) -> tuple[tuple[str, ...], ...]:
    listed = value if isinstance(value, list) else [value]
    groups = [one if isinstance(one, list) else [one] for one in listed]
    if not groups or sum(map(len, groups)) > _MOST_NAMES or not all(g and all(isinstance(n, (str, int)) for n in g) for g in groups):
        raise InputError(f"In the points map '{path}', {role} must be a point's name, or a list of names or of lists of names.")
    return tuple(tuple(str(n) for n in g) for g in groups)


def find_feet(points: Points3D, source: str, mapping: PointsMap | None = None) -> FeetAndPelvis:
    """Heels, toes and pelvis of a trial. Names are compared without regard to case, and without the subject in front ("Ann:LHEE").

    Args:
        points: the trial.
        source: its name, for the error.
        mapping: None = the first built-in map that fits.

    Raises:
        InputError: naming what was looked for and what there is.
    """
    index = point_index(points, source)
    if mapping is not None and not mapping.roles:
        mapping = None  # it says only which points are keypoints
    maps = [mapping] if mapping is not None else [load_points_map(n) for n in points_map_names()]
    for candidate in maps:
        found = {role: columns for role in candidate.roles if (columns := _first(candidate.roles[role], index)) is not None}
        chosen = {role: found.get(role) or found.get(instead) for role, instead in FALLBACK.items()}
        if all(chosen.values()):
            values = {role: mean_of(points, columns) for role, columns in chosen.items() if columns}
            if "pelvis" in found:
                chosen["pelvis"] = found["pelvis"]
            pelvis = mean_of(points, found["pelvis"]) if "pelvis" in found else np.full((len(points.time_s), 3), np.nan)
            heels, toes = (np.stack([values[f"{side}_{part}"] for side in ("left", "right")], axis=1) for part in ("heel", "toe"))
            used = {role: " ".join(points.names[c] for c in columns) for role, columns in chosen.items() if columns}
            return FeetAndPelvis(heels, toes, pelvis, used, tuple(role for role in FALLBACK if role not in found), candidate.name)
    there = listed([n for n in points.names if np.isfinite(points[n]).any()])
    if mapping is None:
        raise InputError(
            f"'{source}' has no heel and toe, or ankle, of both feet under the names of any built-in map ({', '.join(points_map_names())}); "
            f"give a map with --points-map. Its points are: {there}."
        )
    missing = [role for role, instead in FALLBACK.items() if _first(mapping.roles.get(role, ()), index) is None and instead not in found]
    wanted = "; ".join(f"{role}: {' or '.join(' + '.join(g) for g in mapping.roles.get(role, ())) or 'not in the map'}" for role in missing)
    raise InputError(f"'{source}' lacks points of the map '{mapping.name}' ({wanted}); its points are: {there}.")


def point_index(points: Points3D, source: str) -> dict[str, int]:
    """Lower-case names, whole and without what is before a colon, to columns that have a value somewhere."""
    whole = {n.lower(): i for i, n in reversed(list(enumerate(points.names))) if np.isfinite(points.points[:, i]).any()}
    short: dict[str, int] = {}
    for name, i in whole.items():
        prefix, colon, rest = name.rpartition(":")
        if colon and rest in short and points.names[short[rest]].lower().rpartition(":")[0] != prefix:
            both = " and ".join(sorted({prefix, points.names[short[rest]].lower().rpartition(":")[0]}))
            raise InputError(
                f"'{source}' has points of several people ({both}); say whose with a points map that names them in full, such as '{prefix}:{rest}'."
            )
        short[rest] = i
    return short | whole


def _first(groups: tuple[tuple[str, ...], ...], index: dict[str, int]) -> list[int] | None:
    return next(([index[n.lower()] for n in g] for g in groups if all(n.lower() in index for n in g)), None)


def mean_of(points: Points3D, columns: list[int]) -> np.ndarray:
    """(T, 3) mean of some points; NaN where one of the points is missing."""
    return points.points[:, columns].mean(axis=1)


def listed(names: list[str]) -> str:
    """Names for an error, not more than fit."""
    return ", ".join(names[:60]) + (f" and {len(names) - 60} more" if len(names) > 60 else "") if names else "none"
