"""Depth under a surface: a sphere, folds and surfaces that run through themselves."""

from __future__ import annotations

import numpy as np
import trimesh

from biomech_fit.formats.mesh import vertex_normals
from biomech_fit.surface.skin import Skin, closest_on_triangles, label_vertices


def sphere(centre=(0.0, 0.0, 0.0), radius: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    ball = trimesh.creation.icosphere(3)
    return np.array(ball.vertices) * radius + centre, np.array(ball.faces)


def skin_of(vertices: np.ndarray, faces: np.ndarray, labels: np.ndarray | None = None) -> Skin:
    labels = np.ones(len(vertices), int) if labels is None else labels
    return Skin(vertices, faces, vertex_normals(vertices, faces), labels, np.eye(labels.max() + 1, dtype=bool))


def test_depth_in_a_sphere() -> None:
    """Of 0.1 m and with vertices 15 mm apart, as a surface has them."""
    vertices, faces = sphere(radius=0.1)
    skin, rng = skin_of(vertices, faces), np.random.default_rng(0)
    points = rng.uniform(-0.13, 0.13, (500, 3))
    radius, ones = np.linalg.norm(points, axis=1), np.ones(500, int)
    depth, outward = skin.depth(points, ones)
    assert np.abs(depth - (0.1 - radius)).max() < 0.0006  # the flat faces lie 0.5 mm under the sphere
    far = np.abs(0.1 - radius) > 0.005
    assert np.einsum("pi,pi->p", outward, points / radius[:, None])[far & (radius > 0.02)].min() > 0.98
    assert np.array_equal(skin.inside(points)[far], (radius < 0.1)[far])
    quick, direction = skin.near(points, ones, radius < 0.1)
    shallow = np.abs(0.1 - radius) < 0.02
    assert np.abs(quick - depth)[shallow].max() < 0.003  # vertex planes and distances from vertices
    assert np.einsum("pi,pi->p", direction, outward)[shallow].min() > 0.7


def test_inside_where_a_surface_runs_through_itself() -> None:
    """Two overlapping spheres as one surface: the overlap is inside twice; each part's bones see their own skin only."""
    (a, faces), (b, _) = sphere(), sphere((1.0, 0, 0))
    labels = np.repeat([1, 2], len(a))
    skin = skin_of(np.concatenate([a, b]), np.concatenate([faces, faces + len(a)]), labels)
    points = np.array([[0.5, 0, 0], [-0.5, 0, 0], [0.05, 0, 0], [1.9, 0, 0], [2.2, 0, 0]])
    assert skin.inside(points).tolist() == [True, True, True, True, False]
    # Just inside the first sphere's middle, next to the second one's skin: deep for a bone of the first part.
    assert skin.depth(points[2:3], np.array([1]))[0][0] > 0.9
    assert skin.depth(points[2:3], np.array([2]))[0][0] < 0.1


def test_labels_are_of_the_bone_that_the_skin_covers() -> None:
    (a, faces), (b, _) = sphere((0, 0, 0), 0.5), sphere((0.8, 0, 0), 0.5)
    normals = np.concatenate([vertex_normals(a, faces), vertex_normals(b, faces)])
    labels = label_vertices(np.concatenate([a, b]), normals, np.array([[0.0, 0, 0], [0.8, 0, 0]]), np.array([3, 7]))
    assert np.all(labels[: len(a)] == 3) and np.all(labels[len(a) :] == 7)


def test_closest_points_on_triangles() -> None:
    corners = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0]])
    points = np.array([[0.5, 0.5, 1], [-1, -1, 0], [1, -1, 0], [2, 2, 0], [3, -1, 0]])
    closest, weights = closest_on_triangles(points, np.broadcast_to(corners, (5, 3, 3)))
    assert np.allclose(closest, [[0.5, 0.5, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 0, 0]])
    assert np.allclose(np.einsum("pk,ki->pi", weights, corners), closest)
