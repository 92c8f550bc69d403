"""A start for KinePose's chain in closed form (see `kinepose_protocol.py`)."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from biomech_fit.core.body import BodyModel

STRAIGHTENED = ("knee_r_flexion", "knee_l_flexion", "elbow_r_flexion", "elbow_l_flexion")
STRAIGHT = 0.1
"""rad: a limb that is bent by less does not show its turn."""
_SPINE = ("spine_low_flexion", "spine_low_bending", "spine_up_flexion", "spine_up_bending")
_KEPT, _MOVED = 0.003, 0.01
"""rad: how far a range of the spine may be left, and how far the spine moves from one frame to the next, where one of two ways is chosen."""


def closed_form(body: BodyModel, xyz: np.ndarray, in_time: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A start from points (S, T, K, 3): joint angles (S, T, J), the pelvis' orientation (S, T, 3, 3) and place (S, T, 3).

    Of the pelvis and the lower spine together (`_spine`; `in_time`: with a sequence's other frames in view), of the thorax from shoulders and spine; each
    limb's first two angles from the direction of its first segment, its turn and bend from the second.
    """
    names = body.keypoint_names
    at = {n: xyz[:, :, names.index(n)] for n in names}
    joints = body.coordinate_names[6:]
    angles = np.broadcast_to(np.clip(body.pose_mean, body.lower, body.upper)[6:], (*xyz.shape[:2], len(joints))).copy()
    pelvis, angles[..., [joints.index(n) for n in _SPINE]] = _spine(body, at, in_time)
    thorax = _frame(at["LShoulder"] - at["RShoulder"], at["Thorax"] - at["Spine"])
    for base, limb, flexion, abduction, turn, bend, sign in (
        (pelvis, ("Hip", "Knee", "Ankle"), "hip_flexion", "hip_abduction", "hip_turn", "knee_{}_flexion", 1.0),
        (thorax, ("Shoulder", "Elbow", "Wrist"), "shoulder_flexion", "shoulder_abduction", "shoulder_turn", "elbow_{}_flexion", -1.0),
    ):
        for side, outward in (("r", -1.0), ("l", 1.0)):
            first, second = (_unit(at[side.upper() + limb[i + 1]] - at[side.upper() + limb[i]]) for i in (0, 1))
            columns = [joints.index(n) for n in (f"{flexion}_{side}", f"{abduction}_{side}", f"{turn}_{side}", bend.format(side))]
            low, high = body.lower[6:][columns], body.upper[6:][columns]
            d = np.einsum("...ji,...j->...i", base, first)
            a = np.arcsin(np.clip(outward * d[..., 1], -1, 1))
            f = np.arctan2(-d[..., 0], -d[..., 2])
            best, chosen = np.full(f.shape, np.inf), np.zeros((*f.shape, 4))
            # The first segment's direction leaves two pairs of angles; the ranges tell which.
            for flexed, raised in ((f, a), ((f + 2 * np.pi) % (2 * np.pi) - np.pi, np.pi - a)):
                e = np.einsum("...ji,...j->...i", base @ _turned(flexed, outward * raised), second)
                q = sign * np.arctan2(np.hypot(e[..., 0], e[..., 1]), -e[..., 2])
                # e = Rz(t) (-sin q, 0, -cos q); the axis of the left side's turn points down.
                t = -outward * np.arctan2(-sign * e[..., 1], -sign * e[..., 0])
                t = np.where(np.abs(q) > STRAIGHT, t, angles[..., columns[2]])
                candidate = np.stack([flexed, raised, t, q], -1)
                outside = (np.maximum(candidate - high, 0) + np.maximum(low - candidate, 0)).sum(-1)
                chosen = np.where((outside < best)[..., None], candidate, chosen)
                best = np.minimum(best, outside)
            angles[..., columns] = np.clip(chosen, low, high)
    return angles, pelvis, at["MidHip"]


def _spine(body: BodyModel, at: dict[str, np.ndarray], in_time: bool) -> tuple[np.ndarray, np.ndarray]:
    """The pelvis' orientation (S, T, 3, 3), and flexion and bending of the lower and the upper spine (S, T, 4).

    Two segments lie between the hips and the next point, whose direction therefore leaves the pelvis' tilt open. Its distance tells by how much the joint
    between the two is flexed, not which way: of the two ways, each frame by itself has the one within the upper joint's range, or the nearer to the middle
    of it, and a sequence those that leave the ranges least and move least.
    """
    model = body.mj_model
    lower, upper = (float(np.linalg.norm(model.body_pos[model.body(n).id])) for n in ("spine_low", "spine_up"))
    left, up = at["LHip"] - at["RHip"], at["Spine"] - at["MidHip"]
    base = _frame(left, up)
    aside, along = (np.einsum("...i,...i->...", up, base[..., k]) for k in (1, 2))
    bending = np.arcsin(np.clip(-aside / upper, -1, 1))
    within = upper * np.cos(bending)  # of the upper segment, in the plane across the hips' line
    columns = [body.coordinate_names.index(n) for n in _SPINE]
    # With noise the distance may say more than the joint can do.
    flexion = np.minimum(np.arccos(np.clip((along**2 - lower**2 - within**2) / (2 * lower * within), -1, 1)), body.upper[columns[0]])
    tilt = np.arcsin(np.clip(within * np.sin(flexion) / along, -1, 1))
    ways = []
    for sign in (1.0, -1.0):
        pelvis = base @ _turned(-sign * tilt, np.zeros_like(tilt))
        above = np.einsum("...ji,...j->...i", pelvis @ _turned(sign * flexion, bending), _unit(at["Thorax"] - at["Spine"]))
        ways.append((pelvis, np.stack([sign * flexion, bending, np.arctan2(above[..., 0], above[..., 2]), np.arcsin(np.clip(-above[..., 1], -1, 1))], -1)))
    pelves, angles = (np.stack(a) for a in zip(*ways, strict=True))
    outside = np.maximum(angles - body.upper[columns], 0) + np.maximum(body.lower[columns] - angles, 0)
    cost = ((outside / _KEPT) ** 2).sum(-1) + 1e-3 * np.abs(angles[..., 2])
    chosen = _least_way(cost, angles) if in_time else cost.argmin(0)
    pelvis, spine = (np.take_along_axis(a, chosen.reshape(1, *chosen.shape, *[1] * (a.ndim - 3)), 0)[0] for a in (pelves, angles))
    return pelvis, spine


def _least_way(cost: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Which of W ways (S, T) with costs (W, S, T) and angles (W, S, T, J) each frame has, so that the costs and what the angles move sum up to the least."""
    total, before = cost[:, :, 0], []
    for t in range(1, cost.shape[2]):
        moved = ((angles[:, None, :, t] - angles[None, :, :, t - 1]) ** 2).sum(-1) / _MOVED**2
        before.append((total + moved).argmin(1))
        total = (total + moved).min(1) + cost[:, :, t]
    chosen = [total.argmin(0)]
    for came in reversed(before):
        chosen.append(np.take_along_axis(came, chosen[-1][None], 0)[0])
    return np.stack(chosen[::-1], 1)


def _turned(about_y: np.ndarray, about_x: np.ndarray) -> np.ndarray:
    """(..., 3, 3) turns about y, then about the turned x."""
    return Rotation.from_euler("YX", np.stack([about_y, about_x], -1).reshape(-1, 2)).as_matrix().reshape(*about_y.shape, 3, 3)


def _frame(left: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(..., 3, 3) with columns x forward, y left, z nearly up."""
    y = _unit(left)
    z = _unit(up - (up * y).sum(-1, keepdims=True) * y)
    return np.stack([np.cross(y, z), y, z], -1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def through_straight(body: BodyModel, angles: np.ndarray) -> np.ndarray:
    """Angles (S, T, J) of frames by themselves with what no point shows of straight limbs taken from the frames around: their turn, and with it which of
    the two pairs of angles the first segment has."""
    names, out = body.coordinate_names[6:], angles.copy()
    for limb, bend in (("hip", "knee_{}_flexion"), ("shoulder", "elbow_{}_flexion")):
        for side in "rl":
            f, a, t = (names.index(f"{limb}_{n}_{side}") for n in ("flexion", "abduction", "turn"))
            b = names.index(bend.format(side))
            for sequence in out:
                straight = np.abs(sequence[:, b]) <= STRAIGHT
                bent = np.flatnonzero(~straight)
                if not len(bent):
                    continue
                frames = np.arange(len(sequence))
                sequence[:, t] = np.interp(frames, bent, sequence[bent, t])
                other = straight & (np.cos(sequence[:, f] - np.interp(frames, bent, sequence[bent, f])) < 0)
                sequence[other, f] = (sequence[other, f] + 2 * np.pi) % (2 * np.pi) - np.pi
                sequence[other, a] = np.pi - sequence[other, a]
    return out
