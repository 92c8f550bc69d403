"""Which of a trial's 3D points are the keypoints of which set: by the names in the file, a set that is asked for, or a map of one's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.formats.keypoint_sets import keypoint_set_names, load_keypoint_set
from biomech_fit.formats.points3d import Points3D
from biomech_fit.formats.points_map import PointsMap, listed, mean_of, point_index

LEAST_KEYPOINTS = 8
"""With fewer points of a body found by their names, no set is taken to be meant."""


@dataclass(frozen=True, eq=False)
class PointsOfSet:
    """A trial's points as the keypoints of a set."""

    keypoint_set: KeypointSet
    xyz: np.ndarray
    """(T, K, 3) m; NaN = missing, or not in the file."""
    used: dict[str, str]
    """Keypoint to the names of the file's points."""
    notices: tuple[str, ...] = ()
    """What is to be said of it."""


def find_points(points: Points3D, source: str, wanted: str | None = None, mapping: PointsMap | None = None) -> PointsOfSet | None:
    """The trial's points as keypoints of the set `wanted` (name or YAML), or of the one whose names fit most of them.

    What a map says of a keypoint goes in place of its names. Names are compared without regard to case, and without the subject in front ("Ann:LKNE").
    Where a set is asked for, none of its names is there, and the file has as many points, they are taken in the set's order.
    None: no set fits, and none was asked for. Raises InputError where one was, naming what it looked for and what there is.
    """
    index = point_index(points, source)
    name = wanted or (mapping.keypoint_set if mapping else None)
    own = mapping.keypoints if mapping else {}
    if name is None and own:
        raise InputError(f"The points map '{mapping.name}' names keypoints but no keypoint_set that they are of; valid are {', '.join(keypoint_set_names())}.")
    sets = [load_keypoint_set(n) for n in ([name] if name else keypoint_set_names())]
    found = [(s, _columns(s, own, index)) for s in sets]
    # Of sets with equally many points in the file the smallest: it lacks fewest.
    chosen, columns = max(found, key=lambda pair: (len(pair[1]), -len(pair[0])))
    unknown = sorted(set(own) - set(chosen.names))
    if unknown:
        names = ", ".join(chosen.names)
        raise InputError(f"The points map '{mapping.name}' names the keypoint {unknown[0]}, which the set {chosen.name} lacks; it has {names}.")
    notices = []
    if not columns and name is not None and not own and len(points.names) == len(chosen):
        columns = {keypoint: [k] for k, keypoint in enumerate(chosen.names)}
        notices = [f"'{source}' has none of the names of {chosen.name}, but as many points; they are taken in its order ({', '.join(chosen.names[:4])} ...)."]
    if len(columns) < LEAST_KEYPOINTS:
        if name is None:
            return None
        there = listed([n for n in points.names if np.isfinite(points[n]).any()])
        raise InputError(
            f"'{source}' has {len(columns)} points of the keypoint set {chosen.name} ({', '.join(chosen.names[:6])} ...); at least {LEAST_KEYPOINTS} are "
            f"needed to fit a body. Its points are: {there}."
        )
    xyz = np.full((len(points.time_s), len(chosen), 3), np.nan)
    for keypoint, which in columns.items():
        xyz[:, chosen.names.index(keypoint)] = mean_of(points, which)
    lacking = {k: " or ".join(" + ".join(g) for g in groups) for k, groups in own.items() if k not in columns}
    notices += [f"'{source}': the points map gives {k} no point; {names} is not in the file, or is another keypoint's." for k, names in lacking.items()]
    used = {k: " ".join(points.names[c] for c in which) for k, which in columns.items()}
    return PointsOfSet(chosen, xyz, used, tuple(notices))


def _columns(keypoint_set: KeypointSet, own: dict[str, tuple[tuple[str, ...], ...]], index: dict[str, int]) -> dict[str, list[int]]:
    """Keypoint to the columns of its points. A point is one keypoint's only; the mean of several is taken where none of them is a keypoint by itself."""
    wanted: dict[str, list[int]] = {}
    for k, keypoint in enumerate(keypoint_set.names):
        groups = own.get(keypoint) or tuple((n,) for n in keypoint_set.names_of(k))
        which = next(([index[n.lower()] for n in g] for g in groups if all(n.lower() in index for n in g)), None)
        if which:
            wanted[keypoint] = which
    chosen: set[str] = set()
    taken: set[int] = set()
    for keypoint in sorted(wanted, key=lambda k: len(wanted[k])):
        if not taken & set(wanted[keypoint]):
            chosen.add(keypoint)
            taken |= set(wanted[keypoint])
    return {keypoint: which for keypoint, which in wanted.items() if keypoint in chosen}
