"""How deep a bone lies under the skin that covers it.

Only the skin of the bone's own part of the body counts: where an arm touches the trunk, or a surface runs through itself, the nearest skin may be another
part's.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

NEAREST = 6
"""Vertices whose faces are looked at."""
CANDIDATES = 12
"""Bone points among which a vertex finds its own."""
FACED = 0.7
"""Cosine between a vertex' normal and the direction to a point, from which the vertex' plane is the skin there."""
CLOSE_M = 0.02
"""Nearer than that to a vertex the skin is taken for flat, and a plane that faces the point says whether it is inside."""
TOUCHING_M = 0.005
"""That near to the plane a point may be on either side of it."""
FACING = 0.4
"""Cosine between a vertex' normal and the direction from its bone, at least."""
_ASKEW = np.linalg.qr(np.array([[0.83, 0.29, 0.47], [-0.31, 0.91, 0.17], [-0.41, -0.23, 0.88]]))[0]
_ASKEW *= np.sign(np.linalg.det(_ASKEW))
"""(3, 3) rotation: rays along no axis of a file, in which vertices may be lined up."""


class Skin:
    """A closed surface whose vertices belong to bodies of the skeleton."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, labels: np.ndarray, neighbours: np.ndarray) -> None:
        """Vertices (V, 3) m, faces (F, 3) outward, unit normals (V, 3), the body of each vertex (V,) and which bodies adjoin (B, B), with themselves."""
        self.vertices, self.faces, self.normals = vertices, faces, normals
        order = np.argsort(faces.ravel(), kind="stable")
        self._faces_by_vertex = order // 3
        self._first = np.searchsorted(faces.ravel()[order], np.arange(len(vertices) + 1))
        self._most = int(np.diff(self._first).max())
        self._turned = vertices @ _ASKEW
        middle = self._turned[faces].mean(1)[:, :2]
        self._columns = cKDTree(middle)
        self._widest = float(np.linalg.norm(self._turned[faces][..., :2] - middle[:, None], axis=-1).max())
        self._own: dict[int, tuple[np.ndarray, cKDTree]] = {}
        for body in range(len(neighbours)):
            own = np.flatnonzero(neighbours[body][labels])
            if len(own) >= NEAREST:
                self._own[body] = own, cKDTree(vertices[own])

    def _nearest(self, points: np.ndarray, bodies: np.ndarray, k: int) -> np.ndarray:
        """(P, k) vertices of the points' own parts; -1 where a part has no skin."""
        out = np.full((len(points), k), -1)
        for body, (own, tree) in self._own.items():
            here = np.flatnonzero(bodies == body)
            if len(here):
                out[here] = own[tree.query(points[here], k=k)[1]].reshape(len(here), k)
        return out

    def inside(self, points: np.ndarray) -> np.ndarray:
        """(P,) whether the surface goes round a point: true as well where the surface runs through itself.

        By the winding number, which is the sum of the signed crossings of a ray.
        """
        flat, height = points @ _ASKEW[:, :2], points @ _ASKEW[:, 2]
        out = np.empty(len(points), bool)
        for k, faces in enumerate(self._columns.query_ball_point(flat, self._widest)):
            corners = self._turned[self.faces[faces]]
            away = corners[..., :2] - flat[k]
            cross = [away[:, i, 0] * away[:, j, 1] - away[:, i, 1] * away[:, j, 0] for i, j in ((1, 2), (2, 0), (0, 1))]
            area = cross[0] + cross[1] + cross[2]
            hit = ((cross[0] > 0) == (area > 0)) & ((cross[1] > 0) == (area > 0)) & ((cross[2] > 0) == (area > 0)) & (area != 0)
            level = sum(c[hit] * corners[hit, i, 2] for i, c in enumerate(cross)) / area[hit]
            out[k] = np.sign(area[hit])[level > height[k]].sum() > 0
        return out

    def near(self, points: np.ndarray, bodies: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth (P,) m, and the direction (P, 3) in which it gets less: quick, good to a millimetre or two near the skin.

        By the tangent plane of the nearest vertex; where that cannot be (a fold) by the distance from it, on the side that `inside` (P,) says.
        """
        nearest = self._nearest(points, bodies, 1)[:, 0]
        away = points - self.vertices[nearest]
        distance = np.maximum(np.linalg.norm(away, axis=1), 1e-9)
        normal = self.normals[nearest]
        plane = -np.einsum("pi,pi->p", away, normal)
        faced = np.abs(plane) > FACED * distance
        close = distance < CLOSE_M
        inside = np.where(faced & close, plane > 0, inside)
        flat = (faced | close) & ((plane > 0) == inside) | close & (np.abs(plane) < TOUCHING_M)
        sign = np.where(inside, 1.0, -1.0)
        depth = np.where(flat, plane, sign * distance)
        direction = np.where(flat[:, None], normal, -sign[:, None] * away / distance[:, None])
        return np.where(nearest >= 0, depth, np.inf), direction

    def depth(self, points: np.ndarray, bodies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance (P,) m of points of bodies (P,) from the nearest face of their own skin, positive inside, and the direction (P, 3) in which it gets less.

        Outside is what the winding number as well calls outside.
        """
        depth, outward = np.empty(len(points)), np.empty((len(points), 3))
        for begin in range(0, len(points), 2000):
            rows = slice(begin, begin + 2000)
            depth[rows], outward[rows] = self._depth(points[rows], bodies[rows])
        doubtful = np.flatnonzero(depth < 0)
        doubtful = doubtful[self.inside(points[doubtful])]
        depth[doubtful] *= -1.0
        outward[doubtful] *= -1.0
        return depth, outward

    def _depth(self, points: np.ndarray, bodies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        near = self._nearest(points, bodies, NEAREST)
        known = near[:, 0] >= 0
        slots = self._first[near][..., None] + np.arange(self._most)
        valid = slots < self._first[near + 1][..., None]
        candidates = self._faces_by_vertex[np.where(valid, slots, 0)].reshape(len(points), -1)
        valid = valid.reshape(len(points), -1)
        closest, weights = closest_on_triangles(points[:, None], self.vertices[self.faces[candidates]])
        away = points[:, None] - closest
        square = np.where(valid, (away**2).sum(-1), np.inf)
        rows, best = np.arange(len(points)), np.argmin(square, axis=1)
        away, distance = away[rows, best], np.sqrt(square[rows, best])
        normal = np.einsum("pk,pki->pi", weights[rows, best], self.normals[self.faces[candidates[rows, best]]])
        sign = np.where(np.einsum("pi,pi->p", away, normal) > 0, -1.0, 1.0)
        touching = distance < 1e-6
        outward = np.where(touching[:, None], normal, -sign[:, None] * away / np.where(touching, 1.0, distance)[:, None])
        return np.where(known, sign * distance, np.inf), outward


def label_vertices(vertices: np.ndarray, normals: np.ndarray, bones: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    """(V,) the body whose bone points (P, 3) of bodies (P,) a vertex lies over: of the nearest ones the first that its normal points away from."""
    _, near = cKDTree(bones).query(vertices, k=min(CANDIDATES, len(bones)))
    away = vertices[:, None] - bones[near]
    facing = np.einsum("vki,vi->vk", away, normals) > FACING * np.linalg.norm(away, axis=-1)
    return bodies[near[np.arange(len(vertices)), np.argmax(facing, axis=1)]]


def closest_on_triangles(points: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Closest points (..., 3) on triangles (..., 3, 3) and their barycentric weights (..., 3)."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    ab, ac, ap = b - a, c - a, points - a
    d11, d12, d22 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    e1, e2 = (ab * ap).sum(-1), (ac * ap).sum(-1)
    det = np.maximum(d11 * d22 - d12 * d12, 1e-30)
    v, w = (d22 * e1 - d12 * e2) / det, (d11 * e2 - d12 * e1) / det
    inside = (v >= 0) & (w >= 0) & (v + w <= 1)
    # Outside: the best of the three edges.
    on_ab = np.clip(e1 / np.maximum(d11, 1e-30), 0, 1)
    on_ac = np.clip(e2 / np.maximum(d22, 1e-30), 0, 1)
    bc = c - b
    on_bc = np.clip(((points - b) * bc).sum(-1) / np.maximum((bc * bc).sum(-1), 1e-30), 0, 1)
    zero = np.zeros_like(v)
    choices = np.stack([np.stack([v, w], -1), np.stack([on_ab, zero], -1), np.stack([zero, on_ac], -1), np.stack([1 - on_bc, on_bc], -1)], -2)
    places = a[..., None, :] + choices[..., :1] * ab[..., None, :] + choices[..., 1:] * ac[..., None, :]
    square = ((places - points[..., None, :]) ** 2).sum(-1)
    square[..., 0] = np.where(inside, square[..., 0], np.inf)
    best = np.argmin(square, axis=-1)[..., None, None]
    place = np.take_along_axis(places, best, -2)[..., 0, :]
    vw = np.take_along_axis(choices, best, -2)[..., 0, :]
    return place, np.concatenate([1 - vw.sum(-1, keepdims=True), vw], -1)
