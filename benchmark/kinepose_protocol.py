"""Joint rotations from 3D joints: KinePose's protocol (Gildea et al., IMVIP 2022), re-created.

    python benchmark/kinepose_protocol.py [-o figures.json] [--motion smooth|walk] [--seed 0]

24 sequences of 30 frames, a third each with angles that change by at most pi/500, pi/200 and pi/70 per frame; half of them with bent elbows and knees, the
other half the same but for phases (3 extended, 9 bent, 6 extended, 9 bent, 3 extended) in which these four joints are straight. Truth is made by MuJoCo C's
forward kinematics of the paper's chain (kinepose_chain.xml: its published rest positions and ranges of motion). The solver gets the positions of 16 of
Human3.6M's 17 joints (the paper drops the tenth), free of noise, the chain and its ranges, and no rotation.

MPJAS is the mean over frames and 14 joints of the angle between true and estimated orientation of a joint: relative to its parent (the joint's own
rotation; the pelvis' in the world), which is what the targets are held against, or all in the world (`global_...`). `frame by frame` solves every frame by
itself without any knowledge of the others, all frames side by side, from a start in closed form. `temporal` solves the 30 frames of a sequence at once on
one spline, from those solutions, all 24 sequences side by side (vmap); its time contains them. Both are offline. Frames per second are of the best of three
calls after the first, with all transfers, on the CPU.

How the paper's angles move below their limits is not published: `smooth` has random sines, `walk` independent uniform steps. Prints one JSON object; exit
code 1 where a target is missed (temporal: all 1.0, lower limbs 0.4, extended 1.8 degrees; 500 frames per second).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from biomech_fit.core import spline
from biomech_fit.core.body import BodyModel
from biomech_fit.core.linear import ORDER, ArrowSystem, SlowShare, solve_banded_held
from biomech_fit.core.opensim_axes import matrix_to_quat, quat_to_matrix
from biomech_fit.core.point_residuals import PointCosts, PointObservations
from biomech_fit.core.projection import camera_arrays
from biomech_fit.core.readout import rotation_vector_matrix
from biomech_fit.core.solver import WindowSolver
from biomech_fit.core.window import SlowPrior, empty_window
from biomech_fit.core.window_costs import SolverOptions, WindowCosts
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.stream.device import use_compilation_cache, use_one_blas_thread

HERE = Path(__file__).resolve().parent
FRAMES, SEQUENCES = 30, 24
SPEEDS = {"pi/500": np.pi / 500, "pi/200": np.pi / 200, "pi/70": np.pi / 70}
EXTENDED = np.repeat([True, False, True, False, True], [3, 9, 6, 9, 3])
JOINTS = (
    "pelvis", "hip_r", "knee_r", "hip_l", "knee_l", "spine_low", "spine_up", "neck", "clavicle_r", "shoulder_r", "elbow_r", "clavicle_l", "shoulder_l",
    "elbow_l",
)  # fmt: skip
LOWER = ("hip_r", "knee_r", "hip_l", "knee_l")
STRAIGHTENED = ("knee_r_flexion", "knee_l_flexion", "elbow_r_flexion", "elbow_l_flexion")
BENT = (0.4, 2.2)
"""rad: bent elbows and knees."""
SPACING_S = 1 / 30
"""A frame's time: the paper has none; it gives the motion prior its meaning."""
POINT_STD_M = 0.0003
"""What the noise-free points are taken to be uncertain by."""
LIMIT_STD = 0.003
"""rad: a range of motion is this soft."""
STRAIGHT = 0.1
"""rad: a limb that is bent by less does not show its turn."""
FRAME_ITERATIONS, ITERATIONS = 6, 3
TARGETS = {"all": 1.0, "lower_limb": 0.4, "extended": 1.8}
MIN_FRAMES_PER_S = 500.0


@dataclass(frozen=True, eq=False)
class Sequences:
    """S sequences of T frames."""

    speed: list[str]
    extended: np.ndarray
    """(S,) has extended phases."""
    qpos: np.ndarray
    """(S, T, nq)"""
    points: np.ndarray
    """(S, T, K, 3) m; NaN where the chain has no such joint."""
    rotations: np.ndarray
    """(S, T, B, 3, 3) of all bodies, in the world."""


def make_sequences(body: BodyModel, motion: str, seed: int) -> Sequences:
    """Random poses within the ranges, moving no faster than a speed's limit per angle and frame."""
    rng, model = np.random.default_rng(seed), body.mj_model
    names = [model.joint(j).name for j in range(1, model.njnt)]
    low, high = model.jnt_range[1:].T.copy()
    straight = np.array([names.index(n) for n in STRAIGHTENED])
    for j in straight:
        low[j], high[j] = BENT if high[j] > 0 else (-BENT[1], -BENT[0])
    speeds, extended, qpos = [], [], []
    for name, limit in SPEEDS.items():
        for _ in range(SEQUENCES // len(SPEEDS) // 2):
            angles = _moving(rng, low, high, limit, motion)
            turns = _moving(rng, np.array([-np.pi, -0.5, -0.5]), np.array([np.pi, 0.5, 0.5]), limit, motion)
            place = _moving(rng, np.array([-1.0, -1.0, 0.8]), np.array([1.0, 1.0, 1.0]), 0.01, motion)
            whole = np.stack([np.concatenate([p, _quaternion(t), a]) for p, t, a in zip(place, turns, angles, strict=True)])
            for phases in (False, True):
                own = whole.copy()
                if phases:
                    own[np.ix_(EXTENDED, 7 + straight)] = 0.0
                speeds.append(name)
                extended.append(phases)
                qpos.append(own)
    every = np.stack(qpos)
    points, rotations = forward(body, every)
    return Sequences(speeds, np.array(extended), every, points, rotations)


def _moving(rng: np.random.Generator, low: np.ndarray, high: np.ndarray, limit: float, motion: str) -> np.ndarray:
    """(T, J) angles within their ranges."""
    count = len(low)
    if motion == "walk":
        steps = rng.uniform(-limit, limit, (FRAMES - 1, count))
    else:
        frequency, phase = rng.uniform(0.2, 2.0, count), rng.uniform(0, 2 * np.pi, count)
        steps = limit * np.sin(phase + frequency * 2 * np.pi * np.arange(FRAMES - 1)[:, None] / FRAMES)
    way = np.concatenate([np.zeros((1, count)), np.cumsum(steps, 0)])
    # A way that is longer than the range is made to fit.
    way *= np.minimum(1.0, (high - low) / np.maximum(np.ptp(way, axis=0), 1e-9))
    first = low - way.min(0)
    return first + rng.random(count) * np.maximum(high - way.max(0) - first, 0.0) + way


def _quaternion(turns: np.ndarray) -> np.ndarray:
    z, y, x = (rotation_vector_matrix(a * e) for a, e in zip(turns, np.eye(3)[[2, 1, 0]], strict=True))
    return matrix_to_quat(z @ y @ x)


def forward(body: BodyModel, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (..., K, 3) and body orientations (..., B, 3, 3) by MuJoCo C."""
    model, data = body.mj_model, mujoco.MjData(body.mj_model)
    flat = qpos.reshape(-1, model.nq)
    known = body.keypoint_body >= 0
    points, rotations = np.full((len(flat), len(known), 3), np.nan), np.empty((len(flat), model.nbody, 3, 3))
    for t, q in enumerate(flat):
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        rotations[t] = data.xmat.reshape(-1, 3, 3)
        b = body.keypoint_body[known]
        points[t, known] = data.xpos[b] + np.einsum("kij,kj->ki", rotations[t, b], body.keypoint_position[known])
    return points.reshape(*qpos.shape[:-1], len(known), 3), rotations.reshape(*qpos.shape[:-1], model.nbody, 3, 3)


class FrameSolver:
    """Every frame by itself, many side by side: damped Gauss-Newton on the points and the pose prior, from a start in closed form."""

    def __init__(self, body: BodyModel):
        self.mapped = body.keypoint_body >= 0
        self.body = _with(body, self.mapped)
        self.costs = WindowCosts(self.body, 0, _options(1))
        self._solve = jax.jit(self._descend)

    def solve(self, points: np.ndarray) -> np.ndarray:
        """(S, T, nq) of points (S, T, K, 3)."""
        xyz = points[:, :, self.mapped]
        angles, turn, root = closed_form(self.body, xyz)
        flat = xyz.reshape(-1, *xyz.shape[2:])
        turn, root = turn.reshape(-1, 3, 3), root.reshape(-1, 3)
        # In the pelvis' frame of the start all frames have one reference orientation.
        local = np.einsum("tji,tkj->tki", turn, flat - root[:, None])
        start = np.concatenate([np.zeros((len(flat), 6)), angles.reshape(len(flat), -1)], 1)
        x = np.asarray(self._solve(np.float32(start), np.float32(local)), float)
        quat = np.array([matrix_to_quat(r @ rotation_vector_matrix(phi)) for r, phi in zip(turn, x[:, 3:6], strict=True)])
        place = root + np.einsum("tij,tj->ti", turn, x[:, :3])
        return np.concatenate([place, quat, x[:, 6:]], 1).reshape(*points.shape[:2], -1)

    def _descend(self, x: jax.Array, points: jax.Array) -> jax.Array:
        costs, none = self.costs, jnp.zeros(0, jnp.float32)
        offsets = jnp.zeros((points.shape[1], 3), jnp.float32)
        lower, upper = jnp.float32(self.body.lower), jnp.float32(self.body.upper)
        prior = jnp.float32(np.where(np.isfinite(self.body.pose_std), self.body.pose_std, 1e3)) ** -2

        def step(i: jax.Array, x: jax.Array) -> jax.Array:
            poses = costs.kinematics.poses(x, jnp.eye(3, dtype=x.dtype), none)
            seen = costs.kinematics.keypoints(poses, none, self.body.keypoint_body, costs.keypoint_local, offsets)
            moves = seen.by_pose.reshape(len(x), -1, x.shape[1]) / POINT_STD_M
            error = (points - seen.position).reshape(len(x), -1, 1) / POINT_STD_M
            beyond = jnp.maximum(x - upper, 0) - jnp.maximum(lower - x, 0)
            outside = (beyond != 0) / LIMIT_STD**2
            matrix = jnp.swapaxes(moves, 1, 2) @ moves
            damping = 0.1 * 0.2**i * jnp.diagonal(matrix, axis1=1, axis2=2)
            matrix = matrix + jax.vmap(jnp.diag)(outside + prior + damping)
            rhs = (jnp.swapaxes(moves, 1, 2) @ error)[..., 0] - outside * beyond - prior * (x - jnp.float32(self.body.pose_mean))
            return x + jnp.clip(_solved(matrix, rhs), -0.5, 0.5)

        return jax.lax.fori_loop(0, FRAME_ITERATIONS, step, x)


class TemporalSolver:
    """All frames of a sequence at once on one spline with a knot at each frame, many sequences side by side; it starts from the frames' own solutions."""

    def __init__(self, body: BodyModel):
        self.frames = FrameSolver(body)
        self.body, self.mapped = self.frames.body, self.frames.mapped
        options = _options(FRAMES)
        # Ranges bind control points, and those of a joint that straightens from one frame to the next overshoot: the frames' own solutions keep these ranges.
        free = np.isin(self.body.coordinate_names, STRAIGHTENED)
        unbound = replace(self.body, lower=np.where(free, -np.inf, self.body.lower), upper=np.where(free, np.inf, self.body.upper))
        self.solver = WindowSolver(unbound, 0, options)
        m, n = self.solver.layout.size, self.body.mj_model.nv
        prior = SlowPrior(np.zeros(m), 1e8 * np.eye(m))
        window = empty_window(options.knots, FRAMES, np.zeros(n), np.eye(3), camera_arrays([]), self.mapped.sum(), prior, np.zeros(m), has_points=True)
        head = type(window.head)(*(np.zeros(shape, np.float32) for shape in ((3 * n + m,) * 2, 3 * n + m, 3 * n + m)))
        self._blank = window._replace(u=np.arange(FRAMES, dtype=np.float32), valid=np.ones(FRAMES, np.float32), head=head)
        self._value = np.asarray(spline.basis(self._blank.u, options.knots)[0], float)
        # The smoothest control points whose spline goes through given frames.
        rough = np.diff(np.eye(options.knots), 2, axis=0)
        self._fit = np.linalg.solve(self._value.T @ self._value + 1e-6 * rough.T @ rough, self._value.T)
        self._solve = jax.jit(self._descend)

    def _system(self, control: jax.Array, reference: jax.Array, xyz: jax.Array) -> ArrowSystem:
        """Of one sequence's points (T, K, 3) at its control points (Q, N)."""
        seen = PointObservations(xyz, jnp.full(xyz.shape[:2], POINT_STD_M**-2, jnp.float32))
        observed = self._blank.observed._replace(share=jnp.ones(FRAMES, jnp.float32), points=seen)
        window, costs = self._blank._replace(reference=reference, observed=observed), self.solver.costs
        at = window._replace(control=control)
        return costs.system(at, costs.linearise(at, jnp.float32(1.0)), jnp.float32(0.0))

    def _descend(self, control: jax.Array, reference: jax.Array, xyz: jax.Array) -> jax.Array:
        """Poses (S, T, N) of points (S, T, K, 3), from control points (S, Q, N)."""
        count, knots, n = control.shape
        share = SlowShare(*(jnp.zeros(shape, jnp.float32) for shape in ((1, n, n), (1, n, 1), (1, 1))))
        nothing = jnp.zeros((count * knots, n, 1)), jnp.eye(1), jnp.zeros(1)

        def step(_: int, control: jax.Array) -> jax.Array:
            each = jax.vmap(self._system)(control, reference, xyz)
            # One long chain with nothing between the sequences: single matrices are factorised faster than batches of them.
            diagonal, band, rhs = (a.reshape(count * knots, *a.shape[2:]) for a in (each.diagonal, each.band, each.rhs))
            chain = ArrowSystem(diagonal, band, nothing[0], nothing[1], rhs, nothing[2])
            change = solve_banded_held(chain, jnp.eye(1, count * knots), share).step.reshape(control.shape)
            return control + jnp.clip(change, -0.5, 0.5)

        return jnp.float32(self._value) @ jax.lax.fori_loop(0, ITERATIONS, step, control)

    def solve(self, points: np.ndarray) -> np.ndarray:
        """(S, T, nq) of points (S, T, K, 3)."""
        qpos = self.frames.solve(points)
        turn = quat_to_matrix(qpos[..., 3:7])
        reference = turn[:, FRAMES // 2]
        phi = Rotation.from_matrix((np.swapaxes(reference, 1, 2)[:, None] @ turn).reshape(-1, 3, 3)).as_rotvec().reshape(*qpos.shape[:2], 3)
        angles = _through_straight(self.body, qpos[..., 7:])
        control = self._fit @ np.concatenate([qpos[..., :3], phi, angles], -1)
        xyz = points[:, :, self.mapped]
        x = np.asarray(self._solve(np.float32(control), np.float32(reference), np.float32(xyz)), float)
        turned = reference[:, None] @ Rotation.from_rotvec(x[..., 3:6].reshape(-1, 3)).as_matrix().reshape(*x.shape[:2], 3, 3)
        quat = Rotation.from_matrix(turned.reshape(-1, 3, 3)).as_quat(scalar_first=True).reshape(*x.shape[:2], 4)
        return np.concatenate([x[..., :3], quat, x[..., 6:]], -1)


def _through_straight(body: BodyModel, angles: np.ndarray) -> np.ndarray:
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


def _with(body: BodyModel, mapped: np.ndarray) -> BodyModel:
    """The body with only the keypoints that it has."""
    names = tuple(np.array(body.keypoint_names)[mapped])
    return replace(
        body, keypoint_names=names, keypoint_body=body.keypoint_body[mapped], keypoint_position=body.keypoint_position[mapped],
        keypoint_offset_std=body.keypoint_offset_std[mapped],
    )  # fmt: skip


def _options(frames: int) -> SolverOptions:
    return SolverOptions(
        frames=frames, knots=frames + ORDER, spacing_s=SPACING_S, refine_cameras=False, points=PointCosts(), kernel="none", limit_std=LIMIT_STD,
    )  # fmt: skip


def _solved(matrix: jax.Array, rhs: jax.Array) -> jax.Array:
    """(T, N) of positive definite (T, N, N), scaled to a unit diagonal for float32."""
    scale = 1 / jnp.sqrt(jnp.diagonal(matrix, axis1=1, axis2=2))
    factor = jnp.linalg.cholesky(matrix * scale[:, :, None] * scale[:, None, :])
    return scale * jax.scipy.linalg.cho_solve((factor, True), (scale * rhs)[..., None])[..., 0]


def closed_form(body: BodyModel, xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A start from points (S, T, K, 3): joint angles (S, T, J), the pelvis' orientation (S, T, 3, 3) and place (S, T, 3).

    Orientation from hips and spine, of the thorax from shoulders and spine; each limb's first two angles from the direction of its first segment, its turn
    and bend from the second.
    """
    names = body.keypoint_names
    at = {n: xyz[:, :, names.index(n)] for n in names}
    pelvis = _frame(at["LHip"] - at["RHip"], at["Spine"] - at["MidHip"])
    thorax = _frame(at["LShoulder"] - at["RShoulder"], at["Thorax"] - at["Spine"])
    joints = body.coordinate_names[6:]
    angles = np.broadcast_to(np.clip(body.pose_mean, body.lower, body.upper)[6:], (*xyz.shape[:2], len(joints))).copy()
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
                turns = Rotation.from_euler("YX", np.stack([flexed, outward * raised], -1).reshape(-1, 2)).as_matrix().reshape(*f.shape, 3, 3)
                e = np.einsum("...ji,...j->...i", base @ turns, second)
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


def _frame(left: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(..., 3, 3) with columns x forward, y left, z nearly up."""
    y = _unit(left)
    z = _unit(up - (up * y).sum(-1, keepdims=True) * y)
    return np.stack([np.cross(y, z), y, z], -1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def separation(body: BodyModel, truth: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees (..., 14) between true and found orientations (..., B, 3, 3): relative to the parent, and in the world."""
    model = body.mj_model
    bodies = np.array([model.body(n).id for n in JOINTS])
    parents = model.body_parentid[bodies]

    def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        trace = np.einsum("...ij,...ij->...", a, b)
        axis = np.linalg.norm(np.swapaxes(a, -1, -2) @ b - np.swapaxes(b, -1, -2) @ a, axis=(-2, -1)) / np.sqrt(8)
        return np.degrees(np.arctan2(axis, (trace - 1) / 2))

    def local(r: np.ndarray) -> np.ndarray:
        return np.swapaxes(r[..., parents, :, :], -1, -2) @ r[..., bodies, :, :]

    return angle(local(truth), local(found)), angle(truth[..., bodies, :, :], found[..., bodies, :, :])


def figures(sequences: Sequences, body: BodyModel, qpos: np.ndarray) -> dict[str, object]:
    """MPJAS in degrees of all sequences and of parts of them, local (global under its own name)."""
    points, rotations = forward(body, qpos)
    local, whole = separation(body, sequences.rotations, rotations)
    lower = [JOINTS.index(n) for n in LOWER]
    bent, extended = ~sequences.extended, sequences.extended
    off = np.linalg.norm(points - sequences.points, axis=-1)
    out: dict[str, object] = {
        "all": local.mean(), "bent": local[bent].mean(), "extended": local[extended].mean(), "lower_limb": local[..., lower].mean(),
        "lower_limb_bent": local[bent][..., lower].mean(), "lower_limb_extended": local[extended][..., lower].mean(),
        "global_all": whole.mean(), "global_bent": whole[bent].mean(), "global_extended": whole[extended].mean(), "global_lower_limb": whole[..., lower].mean(),
        "by_speed": {name: round(float(local[np.array(sequences.speed) == name].mean()), 3) for name in SPEEDS},
        "by_joint": dict(zip(JOINTS, local.mean((0, 1)).round(3).tolist(), strict=True)),
        "points_mm": {"median": round(1e3 * float(np.nanmedian(off)), 3), "max": round(1e3 * float(np.nanmax(off)), 2)},
    }  # fmt: skip
    return {k: round(float(v), 3) if np.isscalar(v) else v for k, v in out.items()}


def timed(solve, points: np.ndarray) -> tuple[np.ndarray, float]:
    """The result and the seconds of the best of three calls after the first."""
    qpos, best = solve(points), np.inf
    for _ in range(3):
        began = time.perf_counter()
        qpos = solve(points)
        best = min(best, time.perf_counter() - began)
    return qpos, best


def run(motion: str, seed: int) -> dict[str, object]:
    body = load_body_model(HERE / "kinepose_chain.xml", load_keypoint_set("h36m_17"))
    sequences = make_sequences(body, motion, seed)
    count = SEQUENCES * FRAMES
    out: dict[str, object] = {"motion": motion, "seed": seed}
    qpos, seconds = timed(TemporalSolver(body).solve, sequences.points)
    out["temporal"] = figures(sequences, body, qpos) | {"frames_per_s": round(count / seconds), "s_per_frame": round(seconds / count, 6)}
    qpos, seconds = timed(FrameSolver(body).solve, sequences.points)
    out["frame by frame"] = figures(sequences, body, qpos) | {"frames_per_s": round(count / seconds), "s_per_frame": round(seconds / count, 6)}
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--motion", choices=("smooth", "walk"), nargs="+", default=["smooth", "walk"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    use_compilation_cache()
    use_one_blas_thread()
    results = [run(motion, args.seed) for motion in args.motion]
    text = json.dumps({"targets_deg": TARGETS, "min_frames_per_s": MIN_FRAMES_PER_S, "runs": results}, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    missed = [f"{r['motion']}: {k} {r['temporal'][k]} degrees" for r in results for k, most in TARGETS.items() if not r["temporal"][k] <= most]
    missed += [f"{r['motion']}: {r['temporal']['frames_per_s']} frames/s" for r in results if r["temporal"]["frames_per_s"] < MIN_FRAMES_PER_S]
    for line in missed:
        print(f"Missed: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
