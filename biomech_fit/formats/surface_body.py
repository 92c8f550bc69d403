"""Where landmarks, joint centres and bones are on our body (config/surface/biomech_body.yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from biomech_fit.config.paths import config_directory
from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.formats.model import positive, vector
from biomech_fit.formats.resources import read_yaml

_MIRROR = np.array([1.0, 1.0, -1.0])


@dataclass(frozen=True, eq=False)
class Place:
    """A point of the body."""

    body: int
    position: np.ndarray
    """(3,) m, in the body's frame, unscaled."""
    std: float
    """m, how far per axis a person's point may lie from here."""


@dataclass(frozen=True, eq=False)
class Bone:
    """A chain of capsules."""

    name: str
    body: int
    points: np.ndarray
    """(P, 3) m, in the body's frame, unscaled."""
    radius: float
    depth: float
    """m, how far under the skin its surface has to be at least."""


@dataclass(frozen=True, eq=False)
class SurfaceBody:
    """What of the body can be seen from a surface, or has to be inside it."""

    landmarks: dict[str, Place]
    joint_centres: dict[str, Place]
    bones: tuple[Bone, ...]


def read_surface_body(body: BodyModel) -> SurfaceBody:
    """The landmarks, joint centres and bones of a body model. Raises InputError for a model without such a file."""
    path = config_directory() / "surface" / f"{body.name}.yaml"
    if not path.is_file():
        raise InputError(f"The model {body.name} has no landmarks and bones ('{path}'); a skeleton is fitted with biomech_body.")
    content = read_yaml(path, "surface body")
    bodies = {body.mj_model.body(b).name: b for b in range(1, body.mj_model.nbody)}
    landmarks, centres, bones = {}, {}, []
    for name, entry in content["landmarks"].items():
        for suffix, number, position in _sides(name, entry, [entry["position"]], bodies):
            landmarks[name + suffix] = Place(number, position[0], positive(entry["std"], name))
    for name, entry in content["joint_centres"].items():
        for suffix, number, position in _sides(name, entry, [entry["position"]], bodies):
            centres[name + suffix] = Place(number, position[0], 0.0)
    for name, entry in content["bones"].items():
        for suffix, number, points in _sides(name, entry, entry["points"], bodies):
            bones.append(Bone(name + suffix, number, points, positive(entry["radius"], name), positive(entry["depth"], name)))
    return SurfaceBody(landmarks, centres, tuple(bones))


def _sides(name: str, entry: dict[str, Any], points: list[Any], bodies: dict[str, int]) -> list[tuple[str, int, np.ndarray]]:
    """Suffix, body and points of each side; of `side: both` the left one is the right one's mirror image."""
    right = np.array([vector(p, name) for p in points])
    if entry.get("side") != "both":
        return [("", bodies[entry["body"]], right)]
    stem = entry["body"]
    left_body = stem[:-2] + "_l" if stem.endswith("_r") else stem
    return [("_r", bodies[stem], right), ("_l", bodies[left_body], right * _MIRROR)]
