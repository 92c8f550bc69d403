"""Small bodies, cameras and numeric derivatives for the tests of the core."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import mujoco
import numpy as np

from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model

ARM = """
<mujoco>
  <worldbody>
    <body name="trunk" pos="0.1 0.2 1">
      <freejoint/>
      <geom size="0.1"/>
      <body name="upper" pos="0.05 -0.2 0.3" quat="0.8 0.1 0.5 -0.3">
        <joint name="swing" type="hinge" axis="0 1 0" pos="0.02 0.01 -0.03"/>
        <joint name="twist" type="hinge" axis="1 0 2" pos="-0.01 0.02 0.02" ref="10"/>
        <geom size="0.05"/>
        <body name="lower" pos="0 0 -0.3">
          <joint name="bend" type="hinge" axis="0 1 0"/>
          <joint name="reach" type="slide" axis="0 0 1" pos="0.1 0 0"/>
          <geom size="0.05"/>
        </body>
      </body>
    </body>
  </worldbody>
</mujoco>
"""
SLIDER = """
<mujoco>
  <worldbody>
    <body name="cart" pos="0.1 0.2 0.3" quat="0.9 0.1 -0.2 0.3">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <joint name="z" type="slide" axis="0 0 1"/>
      <geom size="0.1"/>
    </body>
  </worldbody>
</mujoco>
"""


def builtin() -> BodyModel:
    """The built-in body with the simulator's keypoints."""
    return load_body_model(None, load_keypoint_set("halpe_26"))


def with_joint_positions(body: BodyModel, rng: np.random.Generator) -> BodyModel:
    """The same body with joints a few centimetres off their bodies' origins."""
    model = copy.copy(body.mj_model)
    model.jnt_pos[:] += 0.03 * rng.standard_normal(model.jnt_pos.shape)
    model.jnt_pos[model.jnt_type == mujoco.mjtJoint.mjJNT_FREE] = 0.0
    return replace(body, mj_model=model)


def toy(xml: str, keypoint_body: list[int], scales: int, rng: np.random.Generator) -> BodyModel:
    """A body from MJCF text with `scales` scale parameters that stretch every axis of every body a little differently."""
    model = mujoco.MjModel.from_xml_string(xml)
    n, k = model.nv, len(keypoint_body)
    return BodyModel(
        name="toy",
        mj_model=model,
        coordinate_names=tuple(f"q{i}" for i in range(n)),
        scale_names=tuple(f"s{i}" for i in range(scales)),
        scale_matrix=rng.uniform(-1, 1, (model.nbody, 3, scales)),
        scale_precision=np.eye(scales) / 0.1**2,
        keypoint_names=tuple(f"k{i}" for i in range(k)),
        keypoint_body=np.array(keypoint_body),
        keypoint_position=0.2 * rng.standard_normal((k, 3)),
        keypoint_offset_std=np.full(k, 0.02),
        joint_centre_names=("a", "b"),
        joint_centre_body=np.array([1, model.nbody - 1]),
        joint_centre_position=0.1 * rng.standard_normal((2, 3)),
        segments={"ab": ("a", "b")},
        lower=np.full(n, -np.inf),
        upper=np.full(n, np.inf),
        pose_mean=np.zeros(n),
        pose_std=np.full(n, np.inf),
        jerk_std=np.full(n, 100.0),
        acceleration_std=np.full(n, 30.0),
        foot_points={},
    )


def ring(count: int = 4, radius_m: float = 4.0, lens: bool = True) -> list[Camera]:
    """Cameras round the origin that look at a point 1 m above it; every other one has a distorting lens."""
    cameras = []
    for c in range(count):
        angle = 2 * np.pi * c / count + 0.3
        centre = np.array([radius_m * np.cos(angle), radius_m * np.sin(angle), 1.0 + 0.4 * (c % 3)])
        forward = np.array([0.0, 0.0, 1.0]) - centre
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        distortion = np.array([-0.2, 0.06, 0.001, -0.002]) if lens and c % 2 else np.zeros(0)
        model = "plumb_bob" if len(distortion) else "none"
        matrix = np.array([[1000.0 + 10 * c, 0, 640], [0, 1005.0 - 5 * c, 500], [0, 0, 1]])
        cameras.append(Camera(f"cam{c}", 1280, 1024, matrix, model, distortion, rotation, -rotation @ centre))
    return cameras


def turn(vector: np.ndarray) -> np.ndarray:
    """(3, 3) of a rotation vector (3,), by MuJoCo."""
    angle = float(np.linalg.norm(vector))
    quat, flat = np.zeros(4), np.zeros(9)
    mujoco.mju_axisAngle2Quat(quat, np.asarray(vector, float) / max(angle, 1e-15), angle)
    mujoco.mju_quat2Mat(flat, quat)
    return flat.reshape(3, 3)


def qpos_of(body: BodyModel, x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """MuJoCo positions (nq,) of solver coordinates (N,)."""
    if not body.has_free_root:
        return np.asarray(x, float)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, (np.asarray(reference, float) @ turn(x[3:6])).reshape(-1))
    return np.concatenate([x[:3], quat, x[6:]])


def mujoco_points(model: mujoco.MjModel, qpos: np.ndarray, bodies: np.ndarray, local: np.ndarray) -> np.ndarray:
    """World positions (P, 3) of points in body frames, by MuJoCo C."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    return data.xpos[bodies] + np.einsum("pij,pj->pi", data.xmat[bodies].reshape(-1, 3, 3), local)


def central(function: Callable[[np.ndarray], np.ndarray], at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Derivative (..., n) of `function` by the n components of `at` (n,), by central differences."""
    columns = []
    for i in range(len(at)):
        d = np.zeros(len(at))
        d[i] = step
        columns.append((np.asarray(function(at + d)) - np.asarray(function(at - d))) / (2 * step))
    return np.stack(columns, -1)
