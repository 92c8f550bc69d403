"""A body surface made ready: units, orientation of its faces, landmarks; what cannot be right is said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.formats.landmark_table import LandmarkTable
from biomech_fit.formats.mesh import Mesh, vertex_normals

UNITS = {"m": 1.0, "mm": 0.001, "cm": 0.01, "in": 0.0254}
"""In metres. Inches are taken only where they are said: a small child in cm has a man's height in inches."""
DETECTED_UNITS = ("m", "mm", "cm")
STATURE_M = (0.75, 2.6)
"""People's; of these no two detected units overlap."""
CHAIN_PER_STATURE = 0.815
"""Mid-PSIS to C7 + ASIS to knee + knee to ankle, over stature: of our body, and within 2 % that of the average SMPL bodies."""
NEEDED = (
    "ASIS_l", "ASIS_r", "PSIS_l", "PSIS_r", "C7", "suprasternale", "femoral_epicondyle_lateral_l", "femoral_epicondyle_medial_l",
    "femoral_epicondyle_lateral_r", "femoral_epicondyle_medial_r", "malleolus_lateral_l", "malleolus_medial_l", "malleolus_lateral_r", "malleolus_medial_r",
)  # fmt: skip
"""Landmarks without which there is no pelvis frame, no trunk or no leg."""
STANDING = 0.05
"""A body whose extent along its long axis is that close to the stature of its trunk and legs is taken to stand upright."""
_LARGEST_ASYMMETRY = 1.6


@dataclass(frozen=True, eq=False)
class Scan:
    """One surface in metres, in the axes of its file."""

    name: str
    vertices: np.ndarray
    """(V, 3) m."""
    faces: np.ndarray
    """(F, 3) outward."""
    normals: np.ndarray
    """(V, 3) outward unit normals."""
    table: LandmarkTable
    skin: dict[str, np.ndarray]
    """(3,) m, each landmark on the skin."""
    bone: dict[str, np.ndarray]
    """(3,) m, the same with the soft tissue subtracted."""
    unit: str
    stature_m: float
    """Of a standing body its extent, else estimated from trunk and legs."""
    notices: tuple[str, ...]


def prepare(mesh: Mesh, table: LandmarkTable, unit: str | None = None) -> Scan:
    """Metres, outward faces and landmarks of a mesh of the table's topology.

    Raises InputError for a mirrored body, for a size that is nobody's, and for landmarks that do not look like a body (vertices in another order).
    """
    missing = [name for name in NEEDED if name not in table.names]
    if missing:
        raise InputError(f"The landmark table {table.name} lacks {', '.join(missing)}; a skeleton needs {', '.join(NEEDED)}.")
    label = f"The mesh {mesh.name}"
    points = dict(zip(table.names, table.points(mesh.vertices), strict=True))
    size = stature(points)
    unit = unit or _unit(size, label)
    factor, notices = UNITS[unit], [*mesh.notices]
    if not STATURE_M[0] <= size * factor <= STATURE_M[1]:
        raise InputError(f"{label} would be a person of {size * factor:.3g} m in {unit}; people are {STATURE_M[0]} to {STATURE_M[1]} m tall.")
    if factor != 1:
        notices.append(f"{mesh.name} is in {unit} and was converted to metres.")
    _check_body(points, size, label, table)
    vertices, faces = mesh.vertices * factor, mesh.faces
    if _volume(vertices, faces) < 0:
        faces = faces[:, ::-1]
        notices.append(f"The faces of {mesh.name} pointed inwards and were turned round.")
    normals = vertex_normals(vertices, faces)
    skin = table.points(vertices)
    bone = skin + np.array([entry.tissue_m for entry in table.landmarks])[:, None] * _towards_bone(table, skin, normals)
    names = table.names
    extent = float(np.ptp(vertices @ file_up(points)[0]))
    tall = extent if abs(extent / (size * factor) - 1) < STANDING else size * factor
    return Scan(
        mesh.name, vertices, faces, normals, table, dict(zip(names, skin, strict=True)), dict(zip(names, bone, strict=True)),
        unit, float(tall), tuple(notices),
    )  # fmt: skip


def _towards_bone(table: LandmarkTable, skin: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(L, 3) unit vectors: the inward normal, but from a landmark of a joint's pair towards the other one.

    There the skin's normal leans as muscles and fat shape it, which would shift the joint along the limb.
    """
    inward = -table.points(normals)
    for k, other in table.opposite().items():
        inward[k] = skin[other] - skin[k]
    return inward / np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-9)


def stature(points: dict[str, np.ndarray]) -> float:
    """Of landmarks in any pose, in their units: lengths of trunk and legs over their share."""

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a - b))

    legs = 0.0
    for s in "lr":
        knee = (points[f"femoral_epicondyle_lateral_{s}"] + points[f"femoral_epicondyle_medial_{s}"]) / 2
        ankle = (points[f"malleolus_lateral_{s}"] + points[f"malleolus_medial_{s}"]) / 2
        legs += (distance(points[f"ASIS_{s}"], knee) + distance(knee, ankle)) / 2
    return (distance((points["PSIS_l"] + points["PSIS_r"]) / 2, points["C7"]) + legs) / CHAIN_PER_STATURE


def body_axes(points: dict[str, np.ndarray]) -> np.ndarray:
    """(3, 3) rows forward, left, up of the trunk, orthonormal."""
    left = points["ASIS_l"] - points["ASIS_r"]
    up = points["C7"] - (points["PSIS_l"] + points["PSIS_r"]) / 2
    forward = np.cross(left, up)
    forward /= np.linalg.norm(forward)
    up = up / np.linalg.norm(up)
    return np.array([forward, np.cross(up, forward), up])


def file_up(points: dict[str, np.ndarray]) -> tuple[np.ndarray, str]:
    """The axis of the file (x, -x, y ...) that the body's long axis, heels to C7, points along most: up, if the person stands."""
    feet = [points[name] for name in points if name.startswith("malleolus")]
    along = points["C7"] - np.mean(feet, 0)
    axis = int(np.argmax(np.abs(along)))
    up = np.zeros(3)
    up[axis] = np.sign(along[axis])
    return up, ("" if up[axis] > 0 else "-") + "xyz"[axis]


def _unit(size: float, label: str) -> str:
    for unit in DETECTED_UNITS:
        if STATURE_M[0] <= size * UNITS[unit] <= STATURE_M[1]:
            return unit
    known = ", ".join(DETECTED_UNITS)
    raise InputError(f"{label} has a body of {size:.4g} units from head to foot, which is no person's height in {known}; say its unit (--unit).")


def _check_body(points: dict[str, np.ndarray], size: float, label: str, table: LandmarkTable) -> None:
    """Raises InputError for a mirrored body and for points that are no body's."""
    forward = (points["ASIS_l"] + points["ASIS_r"] - points["PSIS_l"] - points["PSIS_r"]) / 2
    left, up = points["ASIS_l"] - points["ASIS_r"], points["C7"] - (points["PSIS_l"] + points["PSIS_r"]) / 2
    lengths = [
        np.linalg.norm(points[f"femoral_epicondyle_lateral_{s}"] - points[f"malleolus_lateral_{s}"]) / size for s in "lr"
    ] + [np.linalg.norm(points[f"ASIS_{s}"] - points[f"femoral_epicondyle_lateral_{s}"]) / size for s in "lr"]  # fmt: skip
    low, high = 0.13, 0.42
    pelvis = [np.linalg.norm(v) / size for v in (left, forward)]
    alike = max(lengths[0] / lengths[1], lengths[1] / lengths[0], lengths[2] / lengths[3], lengths[3] / lengths[2])
    volume = np.linalg.det(np.array([forward, left, up])) / (np.linalg.norm(forward) * np.linalg.norm(left) * np.linalg.norm(up) + 1e-12)
    if min(lengths) < low or max(lengths) > high or not all(0.05 < p < 0.35 for p in pelvis) or alike > _LARGEST_ASYMMETRY or abs(volume) < 0.3:
        raise InputError(
            f"{label} has the {table.vertex_count} vertices of {table.title}, but its landmarks do not form a body: its vertices are in another order."
        )
    if volume < 0:
        raise InputError(f"{label} is mirrored: what {table.title} has on the left is on its right; mirror it back (negate one axis of it).")


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices - vertices.mean(0))[faces].transpose(1, 0, 2)
    return float(np.einsum("fi,fi->", a, np.cross(b, c))) / 6
