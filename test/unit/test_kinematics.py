"""Kinematics against MuJoCo C, and its Jacobians against central differences in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_example import ARM, builtin, central, mujoco_points, qpos_of, toy, turn, with_joint_positions

from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.kinematics import Kinematics
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.mjcf import scaled_mj_model
from biomech_fit.formats.model import load_body_model

FLOAT32_M = 5e-6
"""A chain of ten float32 rotations at 3 m from the origin: some 2e-7 m a step."""


def model(name: str) -> BodyModel:
    rng = np.random.default_rng(5)
    if name == "toy":
        return toy(ARM, [1, 2, 3, 3], 3, rng)
    if name == "cmu_humanoid":
        pytest.importorskip("dm_control", reason="the CMU humanoid comes with dm_control, which is not installed")
        return load_body_model("cmu_humanoid", load_keypoint_set("halpe_26"))
    body = builtin()
    return with_joint_positions(body, rng) if name == "builtin with joint positions" else body


def random_state(body: BodyModel, rng: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (T, N), reference (3, 3), scales (S,)."""
    low, high = np.maximum(body.lower, -1.0), np.minimum(body.upper, 1.0)
    x = rng.uniform(low, high, (frames, len(low)))
    x[:, :3] += rng.uniform(-2, 2, (frames, 3))
    return x, turn(rng.uniform(-2, 2, 3)), rng.uniform(-0.1, 0.1, len(body.scale_names))


@pytest.mark.parametrize("name", ["toy", "builtin", "builtin with joint positions", "cmu_humanoid"])
def test_positions_and_rotations_are_mujocos(name: str) -> None:
    body = model(name)
    rng = np.random.default_rng(1)
    kinematics = Kinematics(body)
    x, reference, scales = random_state(body, rng, 6)
    seen = body.keypoint_body >= 0
    bodies, local = body.keypoint_body[seen], body.keypoint_position[seen]
    offsets = 0.02 * rng.standard_normal(local.shape)

    @jax.jit
    def run(x, reference, scales, offsets):
        poses = kinematics.poses(x, reference, scales)
        return poses, kinematics.points(poses, scales, bodies, np.float32(local), offsets)

    poses, points = run(*(jnp.asarray(a, jnp.float32) for a in (x, reference, scales, offsets)))
    scaled = scaled_mj_model(body, scales)
    factor = 1 + body.scale_matrix @ scales
    every = np.arange(scaled.nbody)
    for t in range(len(x)):
        qpos = qpos_of(body, x[t], reference)
        truth = mujoco_points(scaled, qpos, bodies, local * factor[bodies] + offsets)
        np.testing.assert_allclose(points[t], truth, atol=FLOAT32_M)
        origin = mujoco_points(scaled, qpos, every, np.zeros((len(every), 3)))
        np.testing.assert_allclose(poses.position[t], origin, atol=FLOAT32_M)
        for axis in range(3):
            tip = mujoco_points(scaled, qpos, every, np.tile(np.eye(3)[axis], (len(every), 1))) - origin
            np.testing.assert_allclose(poses.rotation[t, :, :, axis], tip, atol=FLOAT32_M)


@pytest.mark.parametrize("name", ["toy", "builtin with joint positions"])
def test_jacobians_are_the_derivatives(name: str) -> None:
    """float64 with constants stored in float32: the functions are exact, so central differences of 1e-6 agree to 1e-8."""
    body = model(name)
    rng = np.random.default_rng(2)
    kinematics = Kinematics(body)
    x, reference, scales = random_state(body, rng, 1)
    seen = body.keypoint_body >= 0
    bodies, local = body.keypoint_body[seen], np.float32(body.keypoint_position[seen])
    offsets = 0.02 * rng.standard_normal(local.shape)
    with jax.enable_x64(True):
        assert jnp.asarray(x).dtype == jnp.float64

        @jax.jit
        def everything(x, scales, offsets):
            return kinematics.keypoints(kinematics.poses(x, jnp.asarray(reference), scales), scales, bodies, local, offsets)

        @jax.jit
        def positions(x, scales, offsets):
            return kinematics.points(kinematics.poses(x, jnp.asarray(reference), scales), scales, bodies, local, offsets)

        k = everything(x, scales, offsets)
        by_pose = central(lambda v: positions(v[None], scales, offsets)[0], x[0])
        by_scale = central(lambda v: positions(x, v, offsets)[0], scales)
        by_offset = central(lambda v: positions(x, scales, v.reshape(-1, 3))[0], offsets.reshape(-1)).reshape(len(bodies), 3, len(bodies), 3)
        np.testing.assert_allclose(k.by_pose[0], by_pose, atol=1e-8)
        np.testing.assert_allclose(k.by_scale[0], by_scale, atol=1e-8)
        for i in range(len(bodies)):
            np.testing.assert_allclose(k.by_offset[0, i], by_offset[i, :, i], atol=1e-8)


def test_the_rotation_vector_may_be_zero_or_large() -> None:
    body = model("toy")
    kinematics = Kinematics(body)
    x = np.zeros((3, body.mj_model.nv), np.float32)
    x[1, 3:6] = [1e-7, -2e-7, 1e-7]
    x[2, 3:6] = [0.0, 3.0, 0.0]
    reference = turn(np.array([0.1, 0.2, 0.3]))
    poses = jax.jit(kinematics.poses)(jnp.asarray(x), jnp.asarray(reference, jnp.float32), jnp.zeros(3))
    assert all(np.isfinite(a).all() for a in poses)
    for t in range(3):
        np.testing.assert_allclose(poses.rotation[t, 1], reference @ turn(x[t, 3:6]), atol=2e-6)


def test_joints_that_are_not_supported_are_named() -> None:
    xml = '<mujoco><worldbody><body><freejoint/><geom size="1"/><body><joint name="hip" type="ball"/><geom size="1"/></body></body></worldbody></mujoco>'
    with pytest.raises(InputError, match="joint 'hip' is a ball"):
        Kinematics(toy(xml, [1], 1, np.random.default_rng(0)))
