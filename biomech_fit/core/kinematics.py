"""Forward kinematics and geometric Jacobians of a scaled body, batched over frames.

The recursion is MuJoCo's (mj_kinematics), evaluated for all bodies at once: in their parents' frames first, then along the tree by pointer doubling, with a
matrix product for each doubling. Few operations are soon compiled; and XLA's CPU fusions would recompute whole chains of small products (a thousandfold slower
on some trees). Agreement with MuJoCo C is a test.
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
    """The first, second, third ... joint of all bodies that have so many, but for the free root."""

    bodies: np.ndarray
    dof: np.ndarray
    axis: np.ndarray
    joint_position: np.ndarray
    qpos0: np.ndarray
    is_hinge: np.ndarray


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
        quat = np.zeros((m.nbody, 9))
        for b in range(m.nbody):
            mujoco.mju_quat2Mat(quat[b], m.body_quat[b])
        self._body_rotation, self._body_position = np.float32(quat.reshape(-1, 3, 3)), np.float32(m.body_pos)
        self._parent, self._dof_body = m.body_parentid.astype(np.int32), m.dof_bodyid.astype(np.int32)
        self._doublings = int(np.ceil(np.log2(self.ancestors.sum(1).max())))
        self._slots = self._joint_slots(m)

    def _joint_slots(self, m: mujoco.MjModel) -> tuple[_Slot, ...]:
        slots = []
        for slot in range(int(m.body_jntnum.max())):
            joints = []
            for b in np.flatnonzero(m.body_jntnum > slot):
                j = int(m.body_jntadr[b]) + slot
                kind = int(m.jnt_type[j])
                if kind == _FREE and j == 0:
                    continue
                if kind not in (_HINGE, _SLIDE):
                    raise InputError(
                        f"joint '{m.joint(j).name}' is a ball or a free joint below the root; use hinge and slide joints, free only as the first joint"
                    )
                joints.append(j)
            if joints:
                j = np.array(joints)
                hinge = m.jnt_type[j] == _HINGE
                self.is_rotation[m.jnt_dofadr[j]] = hinge
                constants = (np.float32(a) for a in (m.jnt_axis[j], m.jnt_pos[j], m.qpos0[m.jnt_qposadr[j]], hinge))
                slots.append(_Slot(m.jnt_bodyid[j].astype(np.int32), m.jnt_dofadr[j].astype(np.int32), *constants))
        return tuple(slots)

    def poses(self, x: Array, reference: Array, scales: Array) -> BodyPoses:
        """Poses for coordinates x (T, N), the root's reference orientation (3, 3) and scale parameters (S,)."""
        frames, dtype = x.shape[0], x.dtype
        scale = 1.0 + jnp.asarray(self.scale_matrix, dtype) @ scales
        # First all bodies in their parents' frames, joint by joint of each; `link` is from the parent's origin to the body's.
        turn = jnp.broadcast_to(jnp.asarray(self._body_rotation, dtype), (frames, self.n_bodies, 3, 3))
        link = jnp.broadcast_to(self._body_position * scale[self._parent], (frames, self.n_bodies, 3))
        stretch = jnp.broadcast_to(self._body_position[..., None] * self.scale_matrix[self._parent], (frames, self.n_bodies, 3, self.n_scales)).astype(dtype)
        axis = jnp.zeros((frames, self.n_coordinates, 3), dtype)
        pivot = jnp.zeros((frames, self.n_coordinates, 3), dtype)
        if self.free_root:
            turn = turn.at[:, self.root_body].set(reference @ rotation.exp(x[:, 3:6]))
            link, stretch = link.at[:, self.root_body].set(x[:, 0:3]), stretch.at[:, self.root_body].set(0.0)
        for slot in self._slots:
            old, start = turn[:, slot.bodies], link[:, slot.bodies]
            along = jnp.squeeze(old @ slot.axis[..., None], -1)
            value = x[:, slot.dof] - slot.qpos0
            new = old @ _about(slot.axis, value * slot.is_hinge)
            moved, about = start + along * (value * (1 - slot.is_hinge))[..., None], start
            if self.has_joint_offsets:
                centre = slot.joint_position * scale[slot.bodies]
                about = start + jnp.squeeze(old @ centre[..., None], -1)
                moved = moved + jnp.squeeze((old - new) @ centre[..., None], -1)
                stretch = stretch.at[:, slot.bodies].add((old - new) @ (slot.joint_position[..., None] * self.scale_matrix[slot.bodies]))
            turn, link = turn.at[:, slot.bodies].set(new), link.at[:, slot.bodies].set(moved)
            axis, pivot = axis.at[:, slot.dof].set(along), pivot.at[:, slot.dof].set(about)
        # Then into the world: every product joins a body's chain to that of the last body above it that the chain does not hold yet, twice as far each time.
        matrix, above = turn, self._parent
        for _ in range(self._doublings):
            matrix, above = matrix[:, above] @ matrix, above[above]
        parent = matrix[:, self._parent]
        position, by_scale = (jnp.einsum("ab,tbcs->tacs", self.ancestors, parent @ part) for part in (link[..., None], stretch))
        position = jnp.squeeze(position, -1)
        carrier = self._parent[self._dof_body]
        axis, pivot = (jnp.squeeze(matrix[:, carrier] @ part[..., None], -1) for part in (axis, pivot))
        anchor = position[:, carrier] + pivot
        if self.free_root:
            turn_axes = jnp.swapaxes(reference @ rotation.left_jacobian(x[:, 3:6]), -1, -2)
            axis = axis.at[:, 0:3].set(jnp.eye(3, dtype=dtype)).at[:, 3:6].set(turn_axes)
            anchor = anchor.at[:, 3:6].set(x[:, None, 0:3])
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


def _about(axis: np.ndarray, angle: Array) -> Array:
    """(T, J, 3, 3) rotations by angles (T, J) about constant unit vectors (J, 3): Rodrigues' formula."""
    cross = np.cross(np.eye(3), axis[:, None]).astype(np.float32)
    angle = angle[..., None, None]
    return np.eye(3, dtype=np.float32) + jnp.sin(angle) * cross + 2 * jnp.sin(0.5 * angle) ** 2 * (cross @ cross)


def _ancestor_matrix(m: mujoco.MjModel) -> np.ndarray:
    """(B, B) float32: 1 where the second body is the first or above it."""
    out = np.eye(m.nbody, dtype=np.float32)
    for b in range(1, m.nbody):
        out[b] = np.maximum(out[b], out[m.body_parentid[b]])
    return out
