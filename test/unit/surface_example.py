"""A small set of surfaces with known joint centres, and files of them, for the tests of the skeleton."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import yaml

from biomech_fit.formats.landmark_table import LandmarkTable
from biomech_fit.formats.mesh import Mesh, write_mesh
from biomech_fit.sim.surface import BodySurface, Person, pose_surface, random_person, random_poses, template
from biomech_fit.stream.device import use_compilation_cache
from biomech_fit.surface.skeleton_fit import SkeletonFitter


@cache
def fitter() -> SkeletonFitter:
    """Compiled once for all tests, and found in the compilation cache by later runs."""
    use_compilation_cache()
    return SkeletonFitter(template().body, template().parts)


@cache
def person_surfaces(seed: int = 1, count: int = 5) -> tuple[Person, tuple[BodySurface, ...]]:
    """A random person standing in A- and T-pose, then in everyday poses, the fifth lying."""
    rng = np.random.default_rng(seed)
    person = random_person(rng)
    return person, tuple(pose_surface(person, qpos) for qpos in random_poses(rng, count))


def as_mesh(surface: BodySurface, name: str = "person") -> Mesh:
    return Mesh(name, surface.vertices, surface.faces)


def write_surface(path: Path, surface: BodySurface, factor: float = 1.0) -> Path:
    write_mesh(path, surface.vertices * factor, surface.faces)
    return path


def write_table(path: Path, table: LandmarkTable) -> Path:
    """The table as a user would write it."""
    landmarks: dict[str, dict] = {}
    for entry in table.landmarks:
        stem, side = (entry.name[:-2], {"_l": "left", "_r": "right"}[entry.name[-2:]]) if entry.name[-2:] in ("_l", "_r") else (entry.name, "middle")
        one = landmarks.setdefault(stem, {"tissue_mm": round(1000 * entry.tissue_m, 2), "source": "test"})
        one[side] = list(entry.vertices)
    path.write_text(yaml.safe_dump({"name": table.name, "title": table.title, "vertices": table.vertex_count, "landmarks": landmarks}))
    return path


def synthetic_body(table: LandmarkTable) -> Mesh:
    """Not a body: a closed mesh of a topology's size whose landmark vertices are where an average person's are, the others on small spheres out of the way.

    For reading, detection and orientation of topologies whose surfaces must not be shipped.
    """
    skin = template()
    surface = pose_surface(*_neutral())
    ours = dict(zip(skin.table.names, skin.table.points(surface.vertices), strict=True))
    count, rng = table.vertex_count, np.random.default_rng(0)
    vertices = rng.standard_normal((count, 3))
    vertices = 0.05 * vertices / np.linalg.norm(vertices, axis=1, keepdims=True) + (0, 0, 1)
    for entry in table.landmarks:
        vertices[list(entry.vertices)] = ours[entry.name]
    # A closed strip round all vertices: a ring of triangles between two poles is a sphere in topology.
    ring, poles = np.arange(2, count), (0, 1)
    after = np.roll(ring, -1)
    faces = np.concatenate([np.stack([np.full_like(ring, pole), a, b], 1) for pole, a, b in ((poles[0], ring, after), (poles[1], after, ring))])
    return Mesh(table.name, vertices, faces)


@cache
def _neutral() -> tuple[Person, np.ndarray]:
    rng = np.random.default_rng(0)
    return random_person(rng, size_spread=0.0), random_poses(rng, 1)[0]
