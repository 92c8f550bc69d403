"""The fitted skeleton as geometry: joint centres, bones (as a mesh and as MJCF), and how deep they lie."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from itertools import pairwise

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from biomech_fit.core.body import BodyModel
from biomech_fit.formats.mjcf import body_scale, mjcf_from_model, numbers, scaled_mj_model
from biomech_fit.formats.surface_body import SurfaceBody
from biomech_fit.surface.bones import bone_points, scaled_radius
from biomech_fit.surface.skeleton_fit import SkeletonFit

BONE_COLOUR = "0.90 0.87 0.77 1"
LARGEST_MOVE_M = 0.03
"""A bone that the pose leaves less deep than it has to be is moved inwards, so far at most: shoulder girdles and toes move where our body has no joints."""
MOVES = 6
ROUND = 8
"""Corners of a bone's cross-section."""


@dataclass(frozen=True, eq=False)
class Chain:
    """A bone in one surface: capsules along points."""

    name: str
    body: int
    points: np.ndarray
    """(P, 3) m, world."""
    radius: float
    moved_m: float
    """How far it was moved inwards at most."""
    depth_m: float
    """Depth of its surface under the skin, where it is least."""


class Skeleton:
    """The geometry of a fit."""

    def __init__(self, body: BodyModel, parts: SurfaceBody, fit: SkeletonFit) -> None:
        self.body, self.parts, self.fit = body, parts, fit
        self.model = scaled_mj_model(body, fit.scales)
        """The person's body; its shapes are those of flesh, not of bone."""
        factors = body_scale(body, fit.scales)
        data = mujoco.MjData(self.model)
        frames = len(fit.scans)
        self.position, self.rotation = np.zeros((frames, self.model.nbody, 3)), np.zeros((frames, self.model.nbody, 3, 3))
        for f, qpos in enumerate(fit.qpos()):
            data.qpos[:] = qpos
            mujoco.mj_kinematics(self.model, data)
            self.position[f], self.rotation[f] = data.xpos, data.xmat.reshape(-1, 3, 3)
        self.joint_centres = self._world(body.joint_centre_body, body.joint_centre_position * factors[body.joint_centre_body])
        """(F, J, 3) m."""
        self.chains = [self._chains(f, factors) for f in range(frames)]
        """F lists."""

    def _world(self, bodies: np.ndarray, local: np.ndarray) -> np.ndarray:
        return self.position[:, bodies] + np.einsum("fpij,pj->fpi", self.rotation[:, bodies], local)

    def _chains(self, f: int, factors: np.ndarray) -> list[Chain]:
        spheres, skin = bone_points(self.parts), self.fit.skins[f]
        points = self._world(spheres.body, spheres.position * factors[spheres.body])[f]
        radius = spheres.radius * scaled_radius(self.body, self.fit.scales)[spheres.body]
        moved = np.zeros(len(points))
        depth, outward = skin.depth(points, spheres.body)
        for _ in range(MOVES):
            lack = np.clip(radius + spheres.depth - depth, 0, LARGEST_MOVE_M - moved)
            short = np.flatnonzero(lack)
            if not len(short):
                break
            points[short] -= lack[short, None] * outward[short]
            moved += lack
            depth[short], outward[short] = skin.depth(points[short], spheres.body[short])
        depth = depth - radius
        chains: list[Chain] = []
        for bone in self.parts.bones:
            rows = np.flatnonzero(spheres.chain == len(chains))
            corners = rows if moved[rows].any() else rows[spheres.corner[rows]]
            chains.append(Chain(bone.name, bone.body, points[corners], float(radius[rows[0]]), float(moved[rows].max()), float(depth[rows].min())))
        return chains

    def bone_mesh(self, f: int) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (V, 3) m and faces (F, 3) of all bones in surface f."""
        vertices, faces, count = [], [], 0
        for chain in self.chains[f]:
            for a, b in pairwise(chain.points if len(chain.points) > 1 else np.repeat(chain.points, 2, 0)):
                v, t = _capsule(a, b, chain.radius)
                vertices.append(v)
                faces.append(t + count)
                count += len(v)
        return np.concatenate(vertices), np.concatenate(faces)

    def mjcf(self, up: np.ndarray) -> str:
        """MJCF of the person's skeleton in the pose of the first surface: its angles are the joints' `ref`, and a key for each surface holds its qpos.

        In the axes of the surface's file; gravity is against `up` (3,).
        """
        root = ElementTree.fromstring(mjcf_from_model(posed_model(self.model, self.fit.qpos()[0]), f"{self.body.name}_skeleton"))
        root.insert(1, ElementTree.Element("option", gravity=numbers(-9.81 * up)))
        elements = {element.get("name"): element for element in root.iter("body")}
        for element in elements.values():
            for geom in element.findall("geom"):
                element.remove(geom)
        for chain in self.chains[0]:
            element = elements[self.model.body(chain.body).name]
            local = (chain.points - self.position[0, chain.body]) @ self.rotation[0, chain.body]
            common = {"rgba": BONE_COLOUR, "contype": "0", "conaffinity": "0", "group": "1", "density": "0"}
            if len(local) == 1:
                ElementTree.SubElement(element, "geom", type="sphere", pos=numbers(local[0]), size=numbers([chain.radius]), **common)
            for a, b in pairwise(local):
                ElementTree.SubElement(element, "geom", type="capsule", fromto=numbers([*a, *b]), size=numbers([chain.radius]), **common)
        keys = ElementTree.SubElement(root, "keyframe")
        names = [scan.name for scan in self.fit.scans]
        for number, (name, qpos) in enumerate(zip(names, self.fit.qpos(), strict=True), 1):
            ElementTree.SubElement(keys, "key", name=name if names.count(name) == 1 else f"{name}_{number}", qpos=numbers(qpos))
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="unicode") + "\n"


def posed_model(model: mujoco.MjModel, qpos: np.ndarray) -> mujoco.MjModel:
    """A copy whose rest pose is `qpos` (nq,), with the same motion for the same coordinates.

    Hinges at their bodies' origins only. With R = R1 R2 R3 of a body's joints, turning joint 1 further by d is R exp(R3^T R2^T a1 d): that is its axis in
    the posed body.
    """
    out = copy.copy(model)
    out.qpos0[:] = qpos
    for b in range(1, model.nbody):
        joints = range(model.body_jntadr[b], model.body_jntadr[b] + model.body_jntnum[b])
        turn = Rotation.identity()
        for j in reversed(joints):
            if model.jnt_type[j] != mujoco.mjtJoint.mjJNT_HINGE:
                continue
            out.jnt_axis[j] = turn.inv().apply(model.jnt_axis[j])
            angle = qpos[model.jnt_qposadr[j]] - model.qpos0[model.jnt_qposadr[j]]
            turn = Rotation.from_rotvec(angle * model.jnt_axis[j]) * turn
        base = Rotation.from_quat(model.body_quat[b], scalar_first=True)
        out.body_quat[b] = (base * turn).as_quat(scalar_first=True)
    return out


def _capsule(a: np.ndarray, b: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and outward faces of a capsule from a to b."""
    along = b - a
    length = np.linalg.norm(along)
    axis = along / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])
    side = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    angles = np.arange(ROUND) * 2 * np.pi / ROUND
    ring = np.cos(angles)[:, None] * side + np.sin(angles)[:, None] * other
    latitudes = np.deg2rad([-90, -45, 0, 0, 45, 90])
    ends = (a, a, a, b, b, b)
    rows = [end + radius * (np.cos(t) * ring + np.sin(t) * axis) for end, t in zip(ends[1:-1], latitudes[1:-1], strict=True)]
    vertices = np.concatenate([[a - radius * axis], *rows, [b + radius * axis]])
    k = np.arange(ROUND)
    after = (k + 1) % ROUND
    faces = [np.stack([np.zeros_like(k), 1 + after, 1 + k], 1)]
    for row in range(len(rows) - 1):
        low, high = 1 + row * ROUND, 1 + (row + 1) * ROUND
        faces += [np.stack([low + k, low + after, high + after], 1), np.stack([low + k, high + after, high + k], 1)]
    last, top = 1 + (len(rows) - 1) * ROUND, len(vertices) - 1
    faces.append(np.stack([last + k, last + after, np.full_like(k, top)], 1))
    return vertices, np.concatenate(faces)
