"""Reading of surfaces: order of vertices, polygons, and what is wrong with a file in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from surface_example import as_mesh, person_surfaces, write_surface

from biomech_fit.core.errors import InputError
from biomech_fit.formats.mesh import Mesh, check_mesh, mesh_files, read_mesh, write_mesh
from biomech_fit.sim.surface import template
from biomech_fit.surface.scan import UNITS, prepare

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
QUADS = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]


def obj(path: Path, faces: list[list[int]] = QUADS, extra: str = "") -> Path:
    lines = ["# a comment", "o cube", *(f"v {x} {y} {z} 0.5 0.5 0.5" for x, y, z in CUBE), "vt 0 0", "usemtl a"]
    lines += [f"f {' '.join(f'{v + 1}/1' for v in face)}" for face in faces[:3]]
    lines += ["usemtl b", "o more", *(f"f {' '.join(str(v - 8) for v in face)}" for face in faces[3:])]
    path.write_text("\n".join(lines) + extra + "\n")
    return path


def test_obj_keeps_vertices_and_turns_polygons_into_triangles(tmp_path: Path) -> None:
    """Also with texture seams, materials, objects and numbers from the end, for which common readers renumber vertices."""
    mesh = read_mesh(obj(tmp_path / "cube.obj"))
    assert np.array_equal(mesh.vertices, CUBE)
    assert len(mesh.faces) == 12


@pytest.mark.parametrize("suffix", [".ply", ".obj"])
def test_written_meshes_are_read_back(suffix: str, tmp_path: Path) -> None:
    surface = person_surfaces()[1][0]
    write_mesh(tmp_path / f"body{suffix}", surface.vertices, surface.faces)
    mesh = read_mesh(tmp_path / f"body{suffix}")
    assert np.allclose(mesh.vertices, surface.vertices, atol=1e-6)  # .ply holds float32
    assert np.array_equal(mesh.faces, surface.faces)


def test_files_of_a_folder_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.ply", "a.obj", "note.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in mesh_files([tmp_path])] == ["a.obj", "b.ply"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no mesh"):
        mesh_files([tmp_path / "empty"])


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("body.stl", b"x", "give a .ply or .obj"),
        ("body.ply", b"ply\nformat ascii 1.0\nelement vertex 3\n", "cannot be read as a ply mesh"),
        ("body.obj", b"v 0 0 zero\n", "line 1 is 'v 0 0 zero'"),
        ("body.obj", b"v 0 0 0\nf 1 2\n", "line 2"),
        ("body.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "3 vertices and 0 faces"),
        ("body.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "vertex number 3"),
        ("body.obj", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "1 vertices that are not finite numbers, the first is number 0"),
        ("body.obj", b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_broken_files(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_mesh(tmp_path / name)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_mesh(tmp_path / "none.obj")


def test_open_and_branching_meshes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is open: a hole with 4 edges"):
        read_mesh(obj(tmp_path / "open.obj", QUADS[:-1]))
    with pytest.raises(InputError, match="not a manifold: 1 edges have more than two faces"):
        read_mesh(obj(tmp_path / "fin.obj", QUADS, "\nv 3 3 3\nf 1 2 9"))


def test_openings_as_small_as_eye_sockets_are_no_holes() -> None:
    surface = person_surfaces()[1][0]
    vertex = template().table.landmarks[0].vertices[0]
    mesh = as_mesh(surface)
    assert check_mesh(mesh, "person") == 0
    assert check_mesh(Mesh("person", mesh.vertices, mesh.faces[~(mesh.faces == vertex).any(1)]), "person") == 1
    with pytest.raises(InputError, match="is open"):
        above = mesh.vertices[:, 2] > np.quantile(mesh.vertices[:, 2], 0.9)
        check_mesh(Mesh("headless", mesh.vertices, mesh.faces[~above[mesh.faces].any(1)]), "headless")


@pytest.mark.parametrize("unit", UNITS)
def test_units(unit: str) -> None:
    """m, cm and mm are found out; inches are taken when said."""
    surface = person_surfaces()[1][0]
    mesh = Mesh("person", surface.vertices / UNITS[unit], surface.faces)
    scan = prepare(mesh, template().table, unit if unit == "in" else None)
    assert scan.unit == unit
    assert np.allclose(scan.vertices, surface.vertices)
    assert bool(scan.notices) == (unit != "m")


def test_sizes_of_nobody() -> None:
    surface = person_surfaces()[1][0]
    with pytest.raises(InputError, match="which is no person's height in m, mm, cm; say its unit"):
        prepare(Mesh("doll", surface.vertices / 7, surface.faces), template().table)
    with pytest.raises(InputError, match="would be a person of"):
        prepare(Mesh("doll", surface.vertices / 7, surface.faces), template().table, "m")


def test_mirrored_and_inside_out() -> None:
    surface = person_surfaces()[1][2]
    for faces in (surface.faces, surface.faces[:, ::-1]):
        with pytest.raises(InputError, match=r"is mirrored: .* on the left is on its right"):
            prepare(Mesh("person", surface.vertices * (1, -1, 1), faces), template().table)
    scan = prepare(Mesh("person", surface.vertices, surface.faces[:, ::-1]), template().table)
    assert np.array_equal(scan.faces, surface.faces) and "pointed inwards" in scan.notices[0]


def test_vertices_in_another_order() -> None:
    surface = person_surfaces()[1][0]
    order = np.random.default_rng(0).permutation(len(surface.vertices))
    back = np.argsort(order)
    with pytest.raises(InputError, match="do not form a body: its vertices are in another order"):
        prepare(Mesh("person", surface.vertices[order], back[surface.faces]), template().table)


def test_the_file_is_written_by_its_suffix(tmp_path: Path) -> None:
    path = write_surface(tmp_path / "body.ply", person_surfaces()[1][0])
    assert path.read_bytes().startswith(b"ply\nformat binary")
