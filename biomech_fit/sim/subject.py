"""A random person: the body model with other proportions, and where a detector aims on this person."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

import mujoco
import numpy as np

from biomech_fit.core.body import BodyModel

GROUPS = {
    "pelvis": ("pelvis",),
    "trunk": ("torso",),
    "head": ("head",),
    "thigh": ("femur",),
    "shank": ("tibia",),
    "foot": ("talus", "calcn", "toes"),
    "upper_arm": ("humerus",),
    "forearm": ("ulna", "radius"),
    "hand": ("hand",),
}
WIDTH_SPREAD = 0.03
"""Share by which a pelvis, trunk or head is wider, deeper or taller than the rest of it: along its three axes apart."""


@dataclass(frozen=True, eq=False)
class Subject:
    """The true body of the simulation."""

    mj_model: mujoco.MjModel
    keypoint_body: np.ndarray
    """(K,) -1 = the body has no such point."""
    keypoint_position: np.ndarray
    """(K, 3) m, body frame, without offset."""
    keypoint_offset: np.ndarray
    """(K, 3) m, body frame: from the keypoint to the point that the detector aims at; NaN where there is no such point."""
    joint_centre_body: np.ndarray
    joint_centre_position: np.ndarray
    """(J, 3) m, body frame."""
    foot_points: dict[str, tuple[int, np.ndarray]]
    segment_names: tuple[str, ...]
    segment_lengths_m: np.ndarray
    body_scale: np.ndarray
    """(nbody, 3) size of each body along its axes, 1 = the nominal body's."""


def random_subject(
    body: BodyModel, rng: np.random.Generator, *, size_spread: float, segment_spread: float, side_spread: float, joint_offset_m: float, keypoint_offset_m: float
) -> Subject:
    """A person unlike the nominal body.

    Overall size uniform within +-`size_spread`, each group of `GROUPS` within +-`segment_spread`, left and right apart by a normal `side_spread`;
    pelvis, trunk and head also differ along their axes. Every joint is displaced by a normal vector of `joint_offset_m` per axis, mostly alike on both sides.
    Keypoint offsets are normal vectors of RMS length `keypoint_offset_m`. Spreads are shares, lengths m.
    """
    model = copy.copy(body.mj_model)
    scale = np.ones((model.nbody, 3))
    overall = 1.0 + rng.uniform(-size_spread, size_spread)
    names = [model.body(b).name for b in range(model.nbody)]
    for stems in GROUPS.values():
        group = 1.0 + rng.uniform(-segment_spread, segment_spread)
        axes = 1.0 + WIDTH_SPREAD * rng.uniform(-1.0, 1.0, 3) * (segment_spread > 0.0)
        half_difference = 0.5 * side_spread * rng.standard_normal()
        for b, name in enumerate(names):
            stem, side = re.fullmatch(r"(.*?)(_[rl])?", name).groups()  # type: ignore[union-attr]
            if stem in stems:
                sign = {"_r": 1.0, "_l": -1.0}.get(side, 0.0)
                scale[b] = overall * group * (1.0 + sign * half_difference) * (axes if side is None else 1.0)
    parent = model.body_parentid
    root = int(model.jnt_bodyid[0])
    displacement = _mirrored_displacements(names, rng, joint_offset_m)
    for b in range(1, model.nbody):
        if b != root:
            model.body_pos[b] = body.mj_model.body_pos[b] * scale[parent[b]] + displacement[b]
    model.jnt_pos[:] = body.mj_model.jnt_pos * scale[model.jnt_bodyid]
    model.geom_pos[:] = body.mj_model.geom_pos * scale[model.geom_bodyid]
    model.site_pos[:] = body.mj_model.site_pos * scale[model.site_bodyid]
    model.geom_size[:] = body.mj_model.geom_size * np.cbrt(np.prod(scale[model.geom_bodyid], axis=1))[:, None]
    known = body.keypoint_body >= 0
    offset = rng.standard_normal((len(known), 3))
    offset[~known] = np.nan
    if keypoint_offset_m > 0.0 and known.any():
        offset *= keypoint_offset_m / np.sqrt(np.nanmean(np.sum(offset**2, axis=1)))
    else:
        offset *= 0.0
    lengths = _segment_lengths(body, model, scale)
    return Subject(
        mj_model=model,
        keypoint_body=body.keypoint_body.copy(),
        keypoint_position=np.where(known[:, None], body.keypoint_position * scale[np.maximum(body.keypoint_body, 0)], np.nan),
        keypoint_offset=offset,
        joint_centre_body=body.joint_centre_body.copy(),
        joint_centre_position=body.joint_centre_position * scale[body.joint_centre_body],
        foot_points={name: (b, point * scale[b]) for name, (b, point) in body.foot_points.items()},
        segment_names=tuple(body.segments),
        segment_lengths_m=lengths,
        body_scale=scale,
    )


def detector_bias(body: BodyModel, rms_m: float, seed: int) -> np.ndarray:
    """(K, 3) m in the body frames: where one detector aims on everybody, beside the keypoints; normal, of this RMS length."""
    bias = np.random.default_rng(seed).standard_normal((len(body.keypoint_names), 3))
    return bias * (rms_m / np.sqrt(np.mean(np.sum(bias**2, axis=1))))


def _mirrored_displacements(names: list[str], rng: np.random.Generator, std_m: float) -> np.ndarray:
    """(nbody, 3) m: displacements of the bodies' origins; left ones are mostly the right ones' mirror images (z reversed)."""
    out = std_m * rng.standard_normal((len(names), 3))
    for b, name in enumerate(names):
        if name.startswith(("talus", "calcn", "toes", "hand", "radius")):
            # Small bones: a displacement of millimetres would be out of proportion.
            out[b] *= 0.5
    for b, name in enumerate(names):
        if name.endswith("_l") and f"{name[:-2]}_r" in names:
            out[b] = 0.8 * out[names.index(f"{name[:-2]}_r")] * (1.0, 1.0, -1.0) + 0.6 * out[b]
    return out


def _segment_lengths(body: BodyModel, model: mujoco.MjModel, scale: np.ndarray) -> np.ndarray:
    """(S,) m: distances between joint centres in the neutral pose."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    place = {}
    for name, b, point in zip(body.joint_centre_names, body.joint_centre_body, body.joint_centre_position, strict=True):
        place[name] = data.xpos[b] + data.xmat[b].reshape(3, 3) @ (point * scale[b])
    return np.array([np.linalg.norm(place[a] - place[b]) for a, b in body.segments.values()])


def body_points(model: mujoco.MjModel, qpos: np.ndarray, bodies: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """World positions (T, P, 3) m of points (P, 3) fixed to bodies (P,) in poses (T, nq), by MuJoCo C. Bodies of -1 give NaN."""
    data = mujoco.MjData(model)
    where = np.maximum(bodies, 0)
    xpos = np.empty((len(qpos), model.nbody, 3))
    xmat = np.empty((len(qpos), model.nbody, 9))
    for i, pose in enumerate(qpos):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        xpos[i], xmat[i] = data.xpos, data.xmat
    points = xpos[:, where] + np.einsum("tpij,pj->tpi", xmat[:, where].reshape(len(qpos), len(where), 3, 3), positions)
    points[:, bodies < 0] = np.nan
    return points
