"""Forward kinematics and geometric Jacobians of a scaled body, batched over frames.

The recursion is MuJoCo's (mj_kinematics), evaluated level by level of the tree with one matrix product per level: XLA's CPU fusions recompute whole chains
of small products otherwise (minutes of compilation or a thousandfold slower on some trees). Agreement with MuJoCo C is a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import mujoco
import numpy as np
from jax import Array

from biomech_fit.core import rotation
from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError

_FREE, _SLIDE, _HINGE = (int(t) for t in (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE))


class BodyPoses(NamedTuple):
    """World poses of T frames: B bodies, N coordinates, S scale parameters."""

    position: Array
    """(T, B, 3) m."""
    rotation: Array
    """(T, B, 3, 3) body to world."""
    axis: Array
    """(T, N, 3) world axis of each coordinate."""
    anchor: Array
    """(T, N, 3) a world point on the axis."""
    position_by_scale: Array
    """(T, B, 3, S) derivative of `position`."""


class Keypoints(NamedTuple):
    """World positions and derivatives of K points in T frames."""

    position: Array
    """(T, K, 3) m."""
    by_pose: Array
    """(T, K, 3, N)."""
    by_scale: Array
    """(T, K, 3, S)."""
    by_offset: Array
    """(T, K, 3, 3): the body's rotation."""


@dataclass(frozen=True)
class _Slot:
    """One joint of each of some bodies of a level; bodies with several joints have several slots."""

    members: np.ndarray
    dof: np.ndarray
    axis: np.ndarray
    joint_position: np.ndarray
    qpos0: np.ndarray
    is_hinge: np.ndarray


@dataclass(frozen=True)
class _Level:
    bodies: np.ndarray
    parents: np.ndarray
    body_position: np.ndarray
    body_rotation: np.ndarray
    slots: tuple[_Slot, ...]


class Kinematics:
    """The tree of a `BodyModel` as constants, ready to be traced by jit."""

    def __init__(self, body: BodyModel):
        m = body.mj_model
        self.n_bodies, self.n_coordinates, self.n_scales = m.nbody, m.nv, len(body.scale_names)
        self.free_root = body.has_free_root
        self.root_body = int(m.jnt_bodyid[0]) if self.free_root else 0
        self.scale_matrix = np.asarray(body.scale_matrix, np.float32)
        self.has_joint_offsets = bool(np.any(m.jnt_pos[int(self.free_root) :]))
        self.ancestors = _ancestor_matrix(m)
        self.moves = np.zeros((m.nbody, m.nv), np.float32)
        """moves[b, j] = 1 if coordinate j moves body b."""
        for b in range(m.nbody):
            for j in range(m.nv):
                self.moves[b, j] = self.ancestors[b, m.dof_bodyid[j]]
        self.is_rotation = np.ones(m.nv, np.float32)
        if self.free_root:
            self.is_rotation[:3] = 0
        self.levels = self._levels(m)

    def _levels(self, m: mujoco.MjModel) -> tuple[_Level, ...]:
        depth = np.zeros(m.nbody, int)
        for b in range(1, m.nbody):
            depth[b] = depth[m.body_parentid[b]] + 1
        levels = []
        for d in range(1, depth.max() + 1):
            bodies = np.flatnonzero(depth == d).astype(np.int32)
            slots = []
            for slot in range(max((m.body_jntnum[b] for b in bodies), default=0)):
                members, joints = [], []
                for i, b in enumerate(bodies):
                    if m.body_jntnum[b] > slot:
                        j = m.body_jntadr[b] + slot
                        kind = int(m.jnt_type[j])
                        if kind == _FREE and j == 0:
                            continue
                        if kind not in (_HINGE, _SLIDE):
                            raise InputError(
                                f"joint '{m.joint(j).name}' is a ball or a free joint below the root; use hinge and slide joints, free only as the first joint"
                            )
                        members.append(i)
                        joints.append(j)
                if joints:
                    j = np.array(joints)
                    hinge = m.jnt_type[j] == _HINGE
                    self.is_rotation[m.jnt_dofadr[j]] = hinge
                    constants = (np.float32(a) for a in (m.jnt_axis[j], m.jnt_pos[j], m.qpos0[m.jnt_qposadr[j]], hinge))
                    slots.append(_Slot(np.array(members, np.int32), m.jnt_dofadr[j].astype(np.int32), *constants))
            quat = np.zeros((len(bodies), 9))
            for i, b in enumerate(bodies):
                mujoco.mju_quat2Mat(quat[i], m.body_quat[b])
            parents, turns = m.body_parentid[bodies].astype(np.int32), np.float32(quat.reshape(-1, 3, 3))
            levels.append(_Level(bodies, parents, np.float32(m.body_pos[bodies]), turns, tuple(slots)))
        return tuple(levels)

    def poses(self, x: Array, reference: Array, scales: Array) -> BodyPoses:
        """Poses for coordinates x (T, N), the root's reference orientation (3, 3) and scale parameters (S,)."""
        frames, dtype = x.shape[0], x.dtype
        scale = 1.0 + jnp.asarray(self.scale_matrix, dtype) @ scales
        position = jnp.zeros((frames, self.n_bodies, 3), dtype)
        matrix = jnp.broadcast_to(jnp.eye(3, dtype=dtype), (frames, self.n_bodies, 3, 3))
        axis = jnp.zeros((frames, self.n_coordinates, 3), dtype)
        anchor = jnp.zeros((frames, self.n_coordinates, 3), dtype)
        link_by_scale = jnp.zeros((frames, self.n_bodies, 3, self.n_scales), dtype)
        if self.free_root:
            root = reference @ rotation.exp(x[:, 3:6])
            turn_axes = jnp.swapaxes(reference @ rotation.left_jacobian(x[:, 3:6]), -1, -2)
            axis = axis.at[:, 0:3].set(jnp.eye(3, dtype=dtype)).at[:, 3:6].set(turn_axes)
            anchor = anchor.at[:, 3:6].set(x[:, None, 0:3])
        for level in self.levels:
            parent_matrix = matrix[:, level.parents]
            offset = level.body_position * scale[level.parents]
            here = position[:, level.parents] + jnp.squeeze(parent_matrix @ offset[..., None], -1)
            turn = parent_matrix @ level.body_rotation
            link = parent_matrix @ (level.body_position[..., None] * self.scale_matrix[level.parents])
            if self.free_root and self.root_body in level.bodies:
                i = int(np.flatnonzero(level.bodies == self.root_body)[0])
                here, turn, link = here.at[:, i].set(x[:, 0:3]), turn.at[:, i].set(root), link.at[:, i].set(0.0)
            for slot in level.slots:
                old = turn[:, slot.members]
                start = here[:, slot.members]
                world_axis = jnp.squeeze(old @ slot.axis[..., None], -1)
                value = x[:, slot.dof] - slot.qpos0
                new = old @ rotation.exp(slot.axis * (value * slot.is_hinge)[..., None])
                moved = start + world_axis * (value * (1 - slot.is_hinge))[..., None]
                pivot = start
                if self.has_joint_offsets:
                    centre = slot.joint_position * scale[level.bodies[slot.members]]
                    pivot = start + jnp.squeeze(old @ centre[..., None], -1)
                    moved = moved + jnp.squeeze((old - new) @ centre[..., None], -1)
                    by_scale = slot.joint_position[..., None] * self.scale_matrix[level.bodies[slot.members]]
                    link = link.at[:, slot.members].add((old - new) @ by_scale)
                turn, here = turn.at[:, slot.members].set(new), here.at[:, slot.members].set(moved)
                axis, anchor = axis.at[:, slot.dof].set(world_axis), anchor.at[:, slot.dof].set(pivot)
            position, matrix = position.at[:, level.bodies].set(here), matrix.at[:, level.bodies].set(turn)
            link_by_scale = link_by_scale.at[:, level.bodies].set(link)
        by_scale = jnp.einsum("ab,tbcs->tacs", self.ancestors, link_by_scale)
        return BodyPoses(position, matrix, axis, anchor, by_scale)

    def points(self, poses: BodyPoses, scales: Array, body: np.ndarray, local: np.ndarray, offsets: Array | None = None) -> Array:
        """World positions (T, P, 3) of P points given in body frames, unscaled (P, 3), plus unscaled offsets (P, 3)."""
        body = np.asarray(body, np.int32)
        scaled = local * (1.0 + jnp.asarray(self.scale_matrix[body]) @ scales)
        if offsets is not None:
            scaled = scaled + offsets
        return poses.position[:, body] + jnp.squeeze(poses.rotation[:, body] @ scaled[..., None], -1)

    def keypoints(self, poses: BodyPoses, scales: Array, body: np.ndarray, local: np.ndarray, offsets: Array) -> Keypoints:
        """Positions of K points with their derivatives by coordinates, scales and offsets."""
        body = np.asarray(body, np.int32)
        position = self.points(poses, scales, body, local, offsets)
        turn = jnp.moveaxis(poses.rotation, 1, -1)[..., body]
        # Component by component, which saves turning the largest arrays.
        axis = [poses.axis[:, None, :, a] for a in range(3)]
        arm = [position[:, :, None, a] - poses.anchor[:, None, :, a] for a in range(3)]
        swing = [axis[a - 2] * arm[a - 1] - axis[a - 1] * arm[a - 2] for a in range(3)]
        moves, turns = self.moves[body], self.is_rotation > 0
        by_pose = jnp.stack([jnp.where(turns, swing[a], axis[a]) * moves for a in range(3)], 1)
        stretch = local[..., None] * self.scale_matrix[body]
        origin = jnp.swapaxes(poses.position_by_scale, 1, 2)[:, :, body]
        by_scale = origin + sum(turn[:, :, b, :, None] * stretch[:, b] for b in range(3))
        return Keypoints(position, jnp.swapaxes(by_pose, 1, 2), jnp.swapaxes(by_scale, 1, 2), jnp.moveaxis(turn, -1, 1))


def _ancestor_matrix(m: mujoco.MjModel) -> np.ndarray:
    """(B, B) float32: 1 where the second body is the first or above it."""
    out = np.eye(m.nbody, dtype=np.float32)
    for b in range(1, m.nbody):
        out[b] = np.maximum(out[b], out[m.body_parentid[b]])
    return out
