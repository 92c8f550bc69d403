"""Test bodies: closed surfaces of random people whose joint centres are known.

A template skin is put round the neutral body's shapes once (their fields added as metaballs, the zero set by surface nets), with a vertex layout of its
own. A person's surface is that template on the person's bones: linear blend skinning, thicker or thinner flesh, poses by MuJoCo C. No data of any other body
model is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import mujoco
import numpy as np
from scipy.spatial import cKDTree

from biomech_fit.core.body import BodyModel
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.landmark_table import OPPOSITE, Landmark, LandmarkTable
from biomech_fit.formats.mesh import vertex_normals
from biomech_fit.formats.model import load_body_model
from biomech_fit.formats.surface_body import SurfaceBody, read_surface_body
from biomech_fit.sim.subject import Subject, body_points, random_subject

GRID_M = 0.012
"""Edge of a cell of the grid in which the template is made."""
BLEND_M = 0.008
"""Over such a distance neighbouring shapes flow into each other."""
SKINNING_M = 0.012
"""A vertex follows a bone whose shapes are that much further away by 1/e less."""
TEMPLATE_POSE = {"arm_add": -0.9, "hip_adduction": -0.2}
"""rad, both sides: limbs away from each other and from the trunk."""
FLESH_M = (-0.003, 0.010)
"""Thickness that a part of a person's body may have more than the template."""
OVER_BONES_M = 0.003
"""Of flesh more than a bone's least depth, wherever the body's shapes leave it bare."""
LANDMARK_FLESH = 0.4
"""Over bony landmarks flesh varies by this share of it."""
LEAN = {"head": 0.3, "hand": 0.3, "calcn": 0.3, "toes": 0.3, "talus": 0.3}
"""Where flesh varies by less in all people, to this share."""
LANDMARK_HOLD = 0.7
"""So much of the skin over a bony landmark follows the landmark's bone."""
LANDMARK_REACH_M = 0.03


@dataclass(frozen=True, eq=False)
class Template:
    """The skin of the neutral body."""

    body: BodyModel
    parts: SurfaceBody
    faces: np.ndarray
    """(F, 3)"""
    local: np.ndarray
    """(V, B, 3) m, each vertex in each body's frame."""
    normal: np.ndarray
    """(V, B, 3) the outward normal there."""
    weights: np.ndarray
    """(V, B) sum to 1."""
    table: LandmarkTable
    """Its landmarks, with the depth of the bone as it is on the template."""
    flesh_share: np.ndarray
    """(V,) 1, less near bony landmarks."""


@dataclass(frozen=True, eq=False)
class Person:
    """A random person with flesh."""

    subject: Subject
    scale: np.ndarray
    """(B, 3) size of each body of the skeleton along its axes."""
    flesh_m: np.ndarray
    """(B,)"""


@dataclass(frozen=True, eq=False)
class BodySurface:
    """One mesh and its truth."""

    vertices: np.ndarray
    """(V, 3) m, world."""
    faces: np.ndarray
    joint_centres: np.ndarray
    """(J, 3) m, in the body's order of joint centres, by MuJoCo C."""


@cache
def template() -> Template:
    """Made once per process, the same everywhere; about two seconds."""
    body = load_body_model(None, load_keypoint_set("halpe_26"))
    model, parts = body.mj_model, read_surface_body(body)
    data = mujoco.MjData(model)
    for name, angle in TEMPLATE_POSE.items():
        for side in "rl":
            data.qpos[model.joint(f"{name}_{side}").qposadr[0]] = angle
    mujoco.mj_kinematics(model, data)
    vertices, faces = _skin(model, data, parts)
    distance = _body_distances(model, data, vertices)
    weights = np.exp(-(distance - distance.min(1, keepdims=True)) / SKINNING_M)
    weights[:, 0] = 0.0
    weights /= weights.sum(1, keepdims=True)
    normals = vertex_normals(vertices, faces)
    turns = data.xmat.reshape(-1, 3, 3)
    local = np.einsum("bij,vbi->vbj", turns, vertices[:, None] - data.xpos)
    normal = np.einsum("bij,vi->vbj", turns, normals)
    table = _landmarks(parts, data, vertices, faces)
    away, which = cKDTree(table.points(vertices)).query(vertices)
    near = np.exp(-((away / LANDMARK_REACH_M) ** 2))
    share = 1 - (1 - LANDMARK_FLESH) * near
    holder = np.array([parts.landmarks[name].body for name in table.names])[which]
    weights *= 1 - LANDMARK_HOLD * near[:, None]
    weights[np.arange(len(weights)), holder] += LANDMARK_HOLD * near
    return Template(body, parts, faces, local, normal, weights, table, share)


def random_person(rng: np.random.Generator, size_spread: float = 0.10, joint_offset_m: float = 0.002) -> Person:
    """Proportions, flesh and joint positions unlike the neutral body's, and not only those that the fit has parameters for."""
    body = template().body
    subject = random_subject(body, rng, size_spread=size_spread, segment_spread=0.05, side_spread=0.01, joint_offset_m=joint_offset_m, keypoint_offset_m=0.0)
    names = [body.mj_model.body(b).name for b in range(body.mj_model.nbody)]
    by_stem = {stem: LEAN.get(stem, 1.0) * rng.uniform(*FLESH_M) for stem in dict.fromkeys(re.sub("_[rl]$", "", name) for name in names)}
    flesh = np.array([by_stem[re.sub("_[rl]$", "", name)] for name in names])
    return Person(subject, subject.body_scale, flesh)


def random_poses(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, nq): an A-pose, a T-pose, then random everyday ones; the body stands, sits or lies anywhere and faces any direction."""
    model = template().body.mj_model
    out = np.tile(model.qpos0, (count, 1))

    def put(i: int, name: str, right: float, left: float) -> None:
        for side, angle in (("_r", right), ("_l", left)) if f"{name}_r" in joints else (("", right),):
            low, high = model.joint(name + side).range
            out[i, model.joint(name + side).qposadr[0]] = np.clip(angle, low + 0.02, high - 0.02)

    joints = {model.joint(j).name for j in range(model.njnt)}
    for i in range(count):
        _place_root(out[i], rng, lying=i % 5 == 4)
        put(i, "arm_add", *(-0.7 + 0.1 * rng.standard_normal(2)) if i % 5 == 0 else -1.45 + 0.1 * rng.standard_normal(2))
        put(i, "hip_adduction", *(-0.12 + 0.06 * rng.standard_normal(2)))
        put(i, "pro_sup", *(1.0 + 0.4 * rng.standard_normal(2)))
        put(i, "elbow_flex", *np.abs(0.15 * rng.standard_normal(2)))
        if i % 5 < 2:
            continue
        put(i, "hip_flexion", *rng.uniform(-0.2, 1.2, 2))
        put(i, "knee_angle", *rng.uniform(0.05, 1.5, 2))
        put(i, "ankle_angle", *rng.uniform(-0.4, 0.3, 2))
        put(i, "hip_rotation", *rng.uniform(-0.3, 0.3, 2))
        put(i, "arm_flex", *rng.uniform(-0.4, 1.4, 2))
        put(i, "arm_add", *rng.uniform(-1.3, -0.3, 2))
        put(i, "arm_rot", *rng.uniform(-0.6, 0.6, 2))
        put(i, "elbow_flex", *rng.uniform(0.1, 1.6, 2))
        for name, size in (("lumbar_extension", 0.15), ("lumbar_bending", 0.15), ("lumbar_rotation", 0.2), ("neck_flexion", 0.25), ("neck_rotation", 0.4)):
            put(i, name, *([size * rng.uniform(-1, 1)] * 2))
    return out


def pose_surface(person: Person, qpos: np.ndarray) -> BodySurface:
    """The person's skin and joint centres in a pose (nq,)."""
    skin, model = template(), person.subject.mj_model
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    turns = data.xmat.reshape(-1, 3, 3)
    flesh = (person.flesh_m * skin.flesh_share[:, None])[..., None]
    local = skin.local * person.scale + skin.normal * flesh
    vertices = np.einsum("vb,vbi->vi", skin.weights, np.einsum("bij,vbj->vbi", turns, local) + data.xpos)
    _cover(vertices, skin.parts, person.scale, data)
    centres = body_points(model, qpos[None], person.subject.joint_centre_body, person.subject.joint_centre_position)[0]
    return BodySurface(vertices, skin.faces, centres)


def _cover(vertices: np.ndarray, parts: SurfaceBody, scale: np.ndarray, data: mujoco.MjData) -> None:
    """Push out skin that skinning has drawn over a bone: it stays at least the bone's depth away."""
    tree = cKDTree(vertices)
    for bone in parts.bones:
        chain = data.xpos[bone.body] + (bone.points * scale[bone.body]) @ data.xmat[bone.body].reshape(3, 3).T
        size = bone.radius * np.cbrt(np.prod(scale[bone.body])) + bone.depth
        for a, b in pairwise(chain if len(chain) > 1 else [chain[0], chain[0]]):
            close = tree.query_ball_point((a + b) / 2, np.linalg.norm(b - a) / 2 + size)
            share = np.clip((vertices[close] - a) @ (b - a) / max((b - a) @ (b - a), 1e-12), 0, 1)
            away = vertices[close] - a - share[:, None] * (b - a)
            length = np.linalg.norm(away, axis=1, keepdims=True)
            vertices[close] += away * np.maximum(size / np.maximum(length, 1e-6) - 1, 0)


def _place_root(qpos: np.ndarray, rng: np.random.Generator, lying: bool) -> None:
    turn, fall, out = np.zeros(4), np.zeros(4), np.zeros(4)
    mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), rng.uniform(-np.pi, np.pi))
    mujoco.mju_axisAngle2Quat(fall, np.array([0.0, 1.0, 0.0]), -np.pi / 2 if lying else 0.1 * rng.standard_normal())
    mujoco.mju_mulQuat(out, turn, fall)
    mujoco.mju_mulQuat(turn, out, qpos[3:7].copy())
    qpos[3:7] = turn
    qpos[:3] = (*rng.uniform(-1, 1, 2), 0.25 if lying else qpos[2])


def _skin(model: mujoco.MjModel, data: mujoco.MjData, parts: SurfaceBody) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and faces of the metaballs' surface: the set where sum exp(-distance / BLEND_M) = 1, of the body's shapes and what covers its bones."""
    low = np.min(data.geom_xpos - model.geom_rbound[:, None], 0) - 0.05
    high = np.max(data.geom_xpos + model.geom_rbound[:, None], 0) + 0.05
    # A fraction of a cell off the body's plane of symmetry: no sample lies on the surface by design.
    axes = [np.arange(a, b, GRID_M) + 0.00037 for a, b in zip(low, high, strict=True)]
    field = np.zeros([len(a) for a in axes])

    def window(centre: np.ndarray, reach: float) -> tuple[tuple[slice, ...], np.ndarray]:
        inside = tuple(slice(*np.searchsorted(a, (x - reach, x + reach))) for a, x in zip(axes, centre, strict=True))
        return inside, np.stack(np.meshgrid(*(a[w] for a, w in zip(axes, inside, strict=True)), indexing="ij"), -1)

    for g in range(model.ngeom):
        where, points = window(data.geom_xpos[g], model.geom_rbound[g] + 5 * BLEND_M)
        field[where] += np.exp(-_geom_distance(model, data, g, points) / BLEND_M)
    bare = np.zeros_like(field)
    for bone in parts.bones:
        chain = data.xpos[bone.body] + bone.points @ data.xmat[bone.body].reshape(3, 3).T
        for a, b in pairwise(chain if len(chain) > 1 else [chain[0], chain[0]]):
            size = bone.radius + bone.depth + OVER_BONES_M
            where, points = window((a + b) / 2, np.linalg.norm(b - a) / 2 + size + 5 * BLEND_M)
            share = np.clip((points - a) @ (b - a) / max((b - a) @ (b - a), 1e-12), 0, 1)
            distance = np.linalg.norm(points - a - share[..., None] * (b - a), axis=-1) - size
            bare[where] = np.maximum(bare[where], np.exp(-distance / BLEND_M))
    return surface_nets(1.0 - np.maximum(field, bare), axes)


def surface_nets(values: np.ndarray, axes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces (outward) of the zero set of values on a grid, negative inside (Gibson 1998): one vertex per cell that it crosses."""
    inside = values < 0
    shape = np.array(values.shape)
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    cell = [slice(0, n - 1) for n in shape]
    count = sum(inside[tuple(slice(c, c + n - 1) for c, n in zip(corner, shape, strict=True))].astype(int) for corner in corners)
    mixed = np.argwhere((count[tuple(cell)] > 0) & (count[tuple(cell)] < 8))
    number = np.full(shape - 1, -1)
    number[tuple(mixed.T)] = np.arange(len(mixed))
    total, crossings = np.zeros((len(mixed), 3)), np.zeros(len(mixed))
    for a in corners:
        for axis in range(3):
            if a[axis]:
                continue
            p, q = mixed + a, mixed + a + np.eye(3, dtype=int)[axis]
            f, g = values[tuple(p.T)], values[tuple(q.T)]
            crosses = (f < 0) != (g < 0)
            share = np.where(crosses, f / np.where(crosses, f - g, 1.0), 0.0)
            total += crosses[:, None] * (a + share[:, None] * np.eye(3)[axis])
            crossings += crosses
    origin, step = np.array([a[0] for a in axes]), axes[0][1] - axes[0][0]
    vertices = origin + step * (mixed + total / crossings[:, None])
    quads = []
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        f = inside
        g = np.roll(inside, -1, axis)
        edge = f != g
        edge[tuple(slice(-1, None) if k == axis else slice(None) for k in range(3))] = False
        at = np.argwhere(edge)
        u, v = np.eye(3, dtype=int)[first], np.eye(3, dtype=int)[second]
        ring = np.stack([number[tuple((at - u - v).T)], number[tuple((at - v).T)], number[tuple(at.T)], number[tuple((at - u).T)]], 1)
        flip = ~f[tuple(at.T)]
        ring[flip] = ring[flip][:, ::-1]
        quads.append(ring)
    ring = np.concatenate(quads)
    return vertices, np.concatenate([ring[:, [0, 1, 2]], ring[:, [0, 2, 3]]])


def _geom_distance(model: mujoco.MjModel, data: mujoco.MjData, g: int, points: np.ndarray) -> np.ndarray:
    """Signed distance (m, nearly) of points (..., 3) from a geom."""
    p = (points - data.geom_xpos[g]) @ data.geom_xmat[g].reshape(3, 3)
    size, kind = model.geom_size[g], model.geom_type[g]
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return np.linalg.norm(p, axis=-1) - size[0]
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        p[..., 2] -= np.clip(p[..., 2], -size[1], size[1])
        return np.linalg.norm(p, axis=-1) - size[0]
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        near, far = np.linalg.norm(p / size, axis=-1), np.linalg.norm(p / size**2, axis=-1)
        return near * (near - 1) / np.maximum(far, 1e-9)
    beyond = np.abs(p) - size
    return np.linalg.norm(np.maximum(beyond, 0), axis=-1) + np.minimum(beyond.max(-1), 0)


def _body_distances(model: mujoco.MjModel, data: mujoco.MjData, points: np.ndarray) -> np.ndarray:
    """(V, B) m, to each body's nearest shape."""
    out = np.full((len(points), model.nbody), np.inf)
    for g in range(model.ngeom):
        b = model.geom_bodyid[g]
        out[:, b] = np.minimum(out[:, b], _geom_distance(model, data, g, points))
    return np.where(np.isfinite(out), out, 10.0)


def _landmarks(parts: SurfaceBody, data: mujoco.MjData, vertices: np.ndarray, faces: np.ndarray) -> LandmarkTable:
    """For each bony landmark the vertex, or the mean of two neighbours, from which the inward normal leads closest to it.

    Of a joint's pair the line through both instead of the normal.
    """
    edges = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    choices = np.concatenate([np.repeat(np.arange(len(vertices))[:, None], 2, 1), edges])
    places, normals = vertices[choices].mean(1), vertex_normals(vertices, faces)[choices].mean(1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    tree = cKDTree(places)
    bones = {name: data.xpos[place.body] + data.xmat[place.body].reshape(3, 3) @ place.position for name, place in parts.landmarks.items()}
    entries, taken = [], np.zeros(len(vertices), bool)
    for name, bone in bones.items():
        near = np.array(tree.query_ball_point(bone, 0.06))
        near = near[~taken[choices[near]].any(1)]
        outward = normals[near]
        if name in OPPOSITE:
            line = bone - bones[OPPOSITE[name]]
            outward = np.repeat([line / np.linalg.norm(line)], len(near), 0)
        depth = np.einsum("vi,vi->v", places[near] - bone, outward)
        miss = np.linalg.norm(places[near] - np.maximum(depth, 0)[:, None] * outward - bone, axis=1)
        best = int(np.argmin(miss + 0.2 * np.abs(depth)))
        chosen = tuple(dict.fromkeys(choices[near[best]].tolist()))
        taken[list(chosen)] = True
        entries.append(Landmark(name, chosen, float(max(depth[best], 0.0)), "template of biomech_fit.sim.surface"))
    return LandmarkTable("biomech_fit_surface", "test body of biomech_fit", len(vertices), tuple(entries))
