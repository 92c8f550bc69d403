"""Bones as spheres along their chains: what is kept under the skin, and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from biomech_fit.core.body import BodyModel
from biomech_fit.formats.surface_body import SurfaceBody

BONE_STEP_M = 0.015
"""Between neighbouring spheres of a bone."""


@dataclass(frozen=True, eq=False)
class BonePoints:
    """Centres of spheres that fill the bones."""

    body: np.ndarray
    """(P,)"""
    position: np.ndarray
    """(P, 3) m, unscaled."""
    radius: np.ndarray
    """(P,) m, unscaled."""
    depth: np.ndarray
    """(P,) m."""
    chain: np.ndarray
    """(P,) number of the bone."""
    corner: np.ndarray
    """(P,) whether it is a point of the bone's chain, not one between."""


def bone_points(parts: SurfaceBody) -> BonePoints:
    """Spheres along the bones' chains."""
    rows: list[tuple[int, np.ndarray, float, float, int, bool]] = []
    for number, bone in enumerate(parts.bones):
        rows.append((bone.body, bone.points[0], bone.radius, bone.depth, number, True))
        for a, b in pairwise(bone.points):
            steps = max(1, int(np.ceil(np.linalg.norm(b - a) / BONE_STEP_M)))
            rows += [(bone.body, a + (b - a) * k / steps, bone.radius, bone.depth, number, k == steps) for k in range(1, steps + 1)]
    return BonePoints(*map(np.array, zip(*rows, strict=True)))


def scaled_radius(body: BodyModel, scales: np.ndarray) -> np.ndarray:
    """(nbody,) factor by which bones get thicker: the cube root of the volume's."""
    return np.cbrt(np.prod(1.0 + body.scale_matrix @ scales, axis=1))
