"""Body surfaces: triangle meshes from .ply and .obj with the vertices in the file's order, checked; and bone meshes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import trimesh

from biomech_fit.core.errors import InputError
from biomech_fit.formats.atomic import replacing
from biomech_fit.formats.safe_read import read_text

SUFFIXES = (".ply", ".obj")
MAX_FILE_BYTES = 200_000_000
MAX_OPENING = 0.11
"""Length of a boundary over the root of the surface's area (15 cm in a man): a longer one is a hole. SMPL-X has eye sockets, which are smaller."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface. Vertices keep the file's order, which is what vertex numbers of landmarks refer to."""

    name: str
    vertices: np.ndarray
    """(V, 3) in the file's units and axes."""
    faces: np.ndarray
    """(F, 3) vertex numbers."""
    notices: tuple[str, ...] = ()
    """What was put up with, for the user."""


def read_mesh(path: str | Path) -> Mesh:
    """Read a .ply or .obj. Raises InputError for a file that is absent, not a triangle mesh, has NaN vertices, is open or not a manifold."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"'{path}' is not a mesh that is read here; give a .ply or .obj file.")
    if not path.is_file():
        raise InputError(f"The mesh '{path}' does not exist.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"'{path}' has {path.stat().st_size} bytes; meshes of up to {MAX_FILE_BYTES} are read.")
    vertices, faces = _read_obj(path) if path.suffix.lower() == ".obj" else _read_ply(path)
    mesh = Mesh(path.stem, vertices, faces)
    openings = check_mesh(mesh, f"'{path}'")
    return replace(mesh, notices=(f"{path.name} has {openings} small openings, which are taken for closed.",)) if openings else mesh


def _read_ply(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        # No processing: merged or sorted vertices would lose their numbers.
        loaded = trimesh.load(path, force="mesh", process=False, maintain_order=True)
        return np.array(loaded.vertices, float).reshape(-1, 3), np.array(loaded.faces, int).reshape(-1, 3)
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise InputError(f"'{path}' cannot be read as a ply mesh: {' '.join(str(error).split()) or type(error).__name__}.") from None


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces alone, polygons as fans. trimesh gives vertices of objects, materials and texture seams new numbers, which landmarks cannot have."""
    vertices: list[list[float]] = []
    faces: list[list[int]] = []
    for number, line in enumerate(read_text(path, MAX_FILE_BYTES).splitlines(), 1):
        words = line.split()
        try:
            if words[:1] == ["v"]:
                vertices.append([float(x) for x in words[1:4]])
                if len(vertices[-1]) != 3:
                    raise ValueError
            elif words[:1] == ["f"]:
                corners = [int(word.split("/")[0]) for word in words[1:]]
                if len(corners) < 3 or 0 in corners or max(map(abs, corners)) >= 2**31:
                    raise ValueError
                corners = [c - 1 if c > 0 else len(vertices) + c for c in corners]
                faces += [[corners[0], b, c] for b, c in pairwise(corners[1:])]
        except ValueError:
            raise InputError(f"'{path}' cannot be read as an obj mesh: line {number} is {line.strip()[:40]!r}.") from None
    return np.array(vertices, float).reshape(-1, 3), np.array(faces, int).reshape(-1, 3)


def mesh_files(inputs: Sequence[str | Path]) -> list[Path]:
    """The meshes that the arguments name: files as given, of a folder all its .ply and .obj in the order of their names. Raises InputError."""
    found: list[Path] = []
    for path in map(Path, inputs):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise InputError(f"The folder '{path}' has no mesh (.ply or .obj).")
            found += inside
        else:
            found.append(path)
    return found


def check_mesh(mesh: Mesh, label: str) -> int:
    """The number of small openings. Raises InputError where the surface is not finite, not closed but for them, or not a manifold."""
    if not len(mesh.vertices) or not len(mesh.faces):
        raise InputError(f"{label} has {len(mesh.vertices)} vertices and {len(mesh.faces)} faces; a body surface needs both.")
    bad = np.flatnonzero(~np.isfinite(mesh.vertices).all(1))
    if len(bad):
        raise InputError(f"{label} has {len(bad)} vertices that are not finite numbers, the first is number {bad[0]}; all must be.")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise InputError(f"{label} has a face with the vertex number {mesh.faces.max()}; it has {len(mesh.vertices)} vertices.")
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    if np.any(count > 2):
        a, b = unique[count > 2][0]
        raise InputError(f"{label} is not a manifold: {np.sum(count > 2)} edges have more than two faces, the first between vertices {a} and {b}.")
    return _openings(mesh, unique[count == 1], label)


def _openings(mesh: Mesh, boundary: np.ndarray, label: str) -> int:
    if not len(boundary):
        return 0
    loops = trimesh.graph.connected_components(boundary, min_len=1)
    corners = mesh.vertices[mesh.faces]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
    loop_of = np.zeros(len(mesh.vertices), int)
    for number, loop in enumerate(loops):
        loop_of[loop] = number
    own = loop_of[boundary[:, 0]]
    length = np.bincount(own, np.linalg.norm(mesh.vertices[boundary[:, 0]] - mesh.vertices[boundary[:, 1]], axis=1), len(loops))
    worst = int(np.argmax(length))
    if length[worst] > MAX_OPENING * np.sqrt(area):
        where, edges = ", ".join(f"{x:.3g}" for x in mesh.vertices[loops[worst]].mean(0)), int(np.sum(own == worst))
        raise InputError(f"{label} is open: a hole with {edges} edges and {length[worst]:.3g} of length at ({where}); the body surface must be closed.")
    return len(loops)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) outward unit normals of outward faces (F, 3), these weighted by their areas."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    face = np.cross(b - a, c - a)
    out = np.stack([np.bincount(faces.ravel(), np.repeat(face[:, k], 3), len(vertices)) for k in range(3)], 1)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def write_mesh(path: str | Path, vertices: np.ndarray, faces: np.ndarray, colour: tuple[int, int, int] = (230, 221, 196)) -> None:
    """Write a .ply (binary) or .obj; coloured as bone if not said otherwise."""
    mesh = trimesh.Trimesh(vertices, faces, process=False, vertex_colors=np.array([*colour, 255], np.uint8))
    with replacing(path) as temporary:
        mesh.export(temporary, file_type=Path(path).suffix[1:])
