"""Poses of recorded walks: the built-in body fitted to the markers and joint centres of motion-capture trials, every frame by itself.

One least-squares problem per trial: a pose per frame, and scale parameters and one constant offset per point for the whole trial. Nothing ties neighbouring
frames together, so the series keep the motion's own spectrum. It is solved by Gauss-Newton with Levenberg's damping; the poses are eliminated frame by frame
(Schur complement).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from biomech_fit.core import rotation
from biomech_fit.core.body import BodyModel
from biomech_fit.core.initial import rest_pose
from biomech_fit.core.kinematics import Kinematics
from biomech_fit.formats.c3d import read_c3d
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model

POINT_STD_M = 0.005
"""What is left of a marker in one frame: skin motion, and joints that have fewer axes in the model than in the person."""
LIMIT_STD_RAD = 0.05
ITERATIONS = 40
CONVERGED = 1e-8
"""Relative gain of a step that ends the iterations."""
_MIDLINE = {
    "SACR": ("pelvis", (-0.165, 0.012, 0), 0.03),
    "C7": ("torso", (-0.055, 0.428, 0), 0.02),
    "CLAV": ("torso", (0.062, 0.362, 0), 0.02),
    "STRN": ("torso", (0.118, 0.2, 0), 0.03),
    "T6": ("torso", (-0.11, 0.24, 0), 0.04),
    "T10": ("torso", (-0.1, 0.11, 0), 0.04),
}
_RIGHT = {
    "FHD": ("head", (0.117, 0.135, 0.045), 0.02),
    "BHD": ("head", (-0.06, 0.13, 0.045), 0.02),
    "SHO": ("torso", (0, 0.402, 0.18), 0.02),
    "CLO": ("humerus", (0, 0, 0), 0.02),
    "HUO": ("ulna", (0, 0, 0), 0.01),
    "ELB": ("humerus", (0.01, -0.28, 0.038), 0.03),
    "RAO": ("hand", (0, 0, 0), 0.02),
    "WRA": ("radius", (-0.006, -0.232, 0.04), 0.02),
    "WRB": ("radius", (-0.01, -0.232, -0.02), 0.02),
    "FIN": ("hand", (-0.012, -0.086, 0.01), 0.03),
    "ASI": ("pelvis", (0.012, 0, 0.122), 0.02),
    "FEP": ("femur", (0, 0, 0), 0.01),
    "FEO": ("tibia", (0, 0, 0), 0.01),
    "THI": ("femur", (0.004, -0.26, 0.07), 0.05),
    "KNE": ("femur", (0.002, -0.424, 0.056), 0.02),
    "TIO": ("talus", (0, 0, 0), 0.01),
    "HFB": ("tibia", (-0.02, -0.05, 0.05), 0.03),
    "TUB": ("tibia", (0.05, -0.06, 0), 0.03),
    "SHN": ("tibia", (0.03, -0.25, 0), 0.05),
    "ANK": ("tibia", (-0.01, -0.436, 0.04), 0.02),
    "HEE": ("calcn", (-0.02, 0.012, 0), 0.02),
    "LCA": ("calcn", (0.02, 0.005, 0.03), 0.03),
    "STL": ("calcn", (0.03, 0.01, -0.03), 0.03),
    "P1M": ("calcn", (0.12, 0.025, -0.03), 0.03),
    "P5M": ("calcn", (0.09, -0.002, 0.045), 0.03),
    "D5M": ("calcn", (0.14, -0.002, 0.056), 0.03),
    "TOE": ("calcn", (0.17, 0.02, 0), 0.03),
}
"""Points of Plug-in-Gait and the Oxford foot model: body, place in its frame (m, right side) and the place's standard deviation (m, per axis). FEP, FEO, TIO,
CLO, HUO and RAO are joint centres: hip, knee, ankle, shoulder, elbow, wrist. The toe marker is 25 mm from the joint, less than the forefoot's own bending
can bear, so the toes' angle is taken from the Oxford foot model (hallux against forefoot)."""


@dataclass(frozen=True, eq=False)
class WalkingPoses:
    """The fitted trial: T frames, N coordinates."""

    person: str
    rate_hz: float
    x: np.ndarray
    """(T, N) the solver's coordinates: position in the z-up world, rotation vector about `reference`, hinge angles; m and rad."""
    reference: np.ndarray
    """(3, 3) the pelvis' orientation in the middle of the trial."""
    scales: np.ndarray
    """(S,)"""
    error_m: float
    """RMS distance between the recorded points and the fitted ones."""


def walking_body() -> BodyModel:
    """The built-in body; its own keypoints are the 26 that the simulator makes."""
    return load_body_model(None, load_keypoint_set("halpe_26"))


def walking_trials(folder: Path) -> list[Path]:
    """The straight walks of mcgill_walking, one per person."""
    return sorted(folder.glob("*/Straight/*.c3d"))


def fit_trial(path: Path, body: BodyModel) -> WalkingPoses:
    """Fit one trial; the person is the name of the folder above the trial's."""
    recording = read_c3d(path)
    trial = recording.points
    # A point that comes or goes would make the pose jump: only points that all frames have are used.
    table = [row for row in _table(body) if row[0] in trial.names and np.isfinite(trial[row[0]]).all() and trial[row[0]].any(1).all()]
    points = np.stack([trial[name] for name, *_ in table], 1)
    place = np.array([b for _, b, _, _ in table]), np.array([p for _, _, p, _ in table]), np.array([s for *_, s in table])
    with jax.enable_x64(True):
        problem = _Problem(body, points, *place)
        x, scales, error = problem.solve()
        turns = problem.reference @ np.asarray(rotation.exp(jnp.asarray(x[:, 3:6])))
        reference = turns[len(turns) // 2]
        x[:, 3:6] = rotation.log(reference.T @ jnp.asarray(turns))
    for side in "rl":
        x[:, body.coordinate_names.index(f"mtp_angle_{side}")] = -np.deg2rad(recording.computed[f"{side.upper()}HXFFA"][:, 0])
    return WalkingPoses(path.parent.parent.name, trial.rate_hz, x, reference, scales, error)


def _table(body: BodyModel) -> list[tuple[str, int, np.ndarray, float]]:
    """(point, body, place, its standard deviation) of both sides."""
    model, mirror = body.mj_model, np.array([1.0, 1.0, -1.0])
    rows = [(name, model.body(part).id, np.array(place, float), std) for name, (part, place, std) in _MIDLINE.items()]
    for name, (part, place, std) in _RIGHT.items():
        paired = part not in ("pelvis", "torso", "head")
        rows.append((f"R{name}", model.body(f"{part}_r" if paired else part).id, np.array(place, float), std))
        rows.append((f"L{name}", model.body(f"{part}_l" if paired else part).id, np.array(place, float) * mirror, std))
    return rows


class _Problem:
    """Poses (T, N), and as shared unknowns scale parameters (S,) and offsets (K, 3)."""

    def __init__(self, body: BodyModel, points: np.ndarray, point_body: np.ndarray, place: np.ndarray, place_std: np.ndarray):
        self.body, self.kinematics = body, Kinematics(body)
        self.point_body, self.place = point_body, place
        self.points = points
        # A marker's misfit lasts all through a walk, so the trial counts as one sample of it: the shared unknowns' prior is multiplied by the frames.
        shared = np.zeros((body.scale_precision.shape[0] + 3 * len(place),) * 2)
        n = len(body.scale_precision)
        shared[:n, :n] = body.scale_precision
        shared[n:, n:] = np.diag(np.repeat(1 / place_std**2, 3))
        self.shared_prior = shared * len(points)
        self.untouched = self.kinematics.moves[point_body].sum(0) == 0
        self.start, self.reference = self._start()
        self._linearise = jax.jit(self._normal_equations)

    def solve(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Poses (T, N), scales (S,) and the RMS distance (m)."""
        x, shared = self.start, np.zeros(len(self.shared_prior))
        step_x, step_shared = np.zeros_like(x), np.zeros_like(shared)
        damping, cost, system = 1e-2, np.inf, ()
        for _ in range(ITERATIONS):
            candidate = [np.asarray(a) for a in self._linearise(x + step_x, shared + step_shared)]
            if candidate[0] < cost:
                gain = cost - candidate[0]
                cost, system, x, shared, damping = candidate[0], candidate[1:], x + step_x, shared + step_shared, max(damping / 5, 1e-9)
                if gain < CONVERGED * cost:
                    break
            else:
                damping *= 6
            step_x, step_shared = _arrow_step(*system[:5], damping)
        return x, shared[: len(self.body.scale_names)], float(np.sqrt(system[5].mean()))

    def _start(self) -> tuple[np.ndarray, np.ndarray]:
        """Poses (T, N): the rest pose, placed on the middle frame's trunk and moved along with the points; and the pelvis' orientation (3, 3) there."""
        model, middle = self.body.mj_model, len(self.points) // 2
        x, reference = rest_pose(self.body)
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        trunk = np.isin(self.point_body, [model.body(name).id for name in ("pelvis", "torso", "head")])
        parts = self.point_body[trunk]
        template = data.xpos[parts] + np.einsum("kab,kb->ka", data.xmat[parts].reshape(-1, 3, 3), self.place[trunk])
        seen = self.points[:, trunk]
        turn = Rotation.align_vectors(seen[middle] - seen[middle].mean(0), template - template.mean(0))[0].as_matrix()
        poses = np.repeat(x[None], len(self.points), 0)
        poses[:, :3] = turn @ (x[:3] - template.mean(0)) + seen.mean(1)
        return poses, turn @ reference

    def _normal_equations(self, x: jax.Array, shared: jax.Array) -> tuple[jax.Array, ...]:
        """Cost; per frame the poses' matrix (T, N, N), coupling (T, N, M) and right side (T, N); the shared matrix (M, M) and side (M,); squared distances."""
        body, n_scales = self.body, len(self.body.scale_names)
        scales, offsets = shared[:n_scales], shared[n_scales:].reshape(-1, 3)
        poses = self.kinematics.poses(x, jnp.asarray(self.reference), scales)
        keypoints = self.kinematics.keypoints(poses, scales, self.point_body, jnp.asarray(self.place), offsets)
        away = self.points - keypoints.position
        frames, count = away.shape[:2]
        moves = keypoints.by_pose.reshape(frames, 3 * count, -1) / POINT_STD_M
        scale_moves = keypoints.by_scale.reshape(frames, 3 * count, -1) / POINT_STD_M
        residual = away.reshape(frames, -1) / POINT_STD_M

        def on_offsets(values: jax.Array) -> jax.Array:
            """(T, 3 K, C) per metre to (T, C, 3 K): the offsets' derivatives, a rotation for each point and frame, transposed and multiplied."""
            turned = jnp.einsum("tkab,tkac->tckb", keypoints.by_offset, values.reshape(frames, count, 3, -1)) / POINT_STD_M
            return turned.reshape(frames, -1, 3 * count)

        beyond = jnp.maximum(x - body.upper, 0) - jnp.maximum(body.lower - x, 0)
        outside = (beyond != 0) / LIMIT_STD_RAD**2
        matrix = jnp.einsum("tin,tim->tnm", moves, moves) + jax.vmap(jnp.diag)(outside + self.untouched)
        coupling = jnp.concatenate([jnp.einsum("tin,tim->tnm", moves, scale_moves), on_offsets(moves)], -1)
        side = jnp.einsum("tin,ti->tn", moves, residual) - outside * beyond
        mixed, offsets_alone = on_offsets(scale_moves).sum(0), frames / POINT_STD_M**2 * jnp.eye(3 * count)
        shared_matrix = jnp.block([[jnp.einsum("tin,tim->nm", scale_moves, scale_moves), mixed], [mixed.T, offsets_alone]]) + self.shared_prior
        shared_side = jnp.concatenate([jnp.einsum("tin,ti->n", scale_moves, residual), on_offsets(residual[..., None]).sum((0, 1))])
        shared_side = shared_side - self.shared_prior @ shared
        cost = jnp.sum(residual**2) + jnp.sum(outside * beyond**2) + shared @ self.shared_prior @ shared
        return cost, matrix, coupling, side, shared_matrix, shared_side, jnp.sum(away**2, -1)


def _arrow_step(
    matrix: np.ndarray, coupling: np.ndarray, side: np.ndarray, shared_matrix: np.ndarray, shared_side: np.ndarray, damping: float
) -> tuple[np.ndarray, np.ndarray]:
    """Damped Gauss-Newton step (T, N) and (M,) of blocks that meet only in the shared unknowns."""
    damped = matrix + damping * np.einsum("tnn,nm->tnm", matrix, np.eye(matrix.shape[1]))
    solved = np.linalg.solve(damped, np.concatenate([coupling, side[..., None]], -1))
    size = len(shared_matrix)
    eliminated = coupling.reshape(-1, size).T @ solved.reshape(-1, size + 1)
    shared = np.linalg.solve(shared_matrix * (1 + damping * np.eye(size)) - eliminated[:, :-1], shared_side - eliminated[:, -1])
    return solved[..., -1] - solved[..., :-1] @ shared, shared


def keypoint_moves(fit: WalkingPoses, body: BodyModel) -> np.ndarray:
    """(T, 3 K, N) derivatives of the body's own keypoints, those that it has, by the coordinates."""
    kinematics, used = Kinematics(body), body.keypoint_body >= 0

    @jax.jit
    def derivatives(x: jax.Array, reference: jax.Array, scales: jax.Array) -> jax.Array:
        poses = kinematics.poses(x, reference, scales)
        place = jnp.asarray(body.keypoint_position[used])
        return kinematics.keypoints(poses, scales, body.keypoint_body[used], place, jnp.zeros(place.shape)).by_pose

    with jax.enable_x64(True):
        moves = np.asarray(derivatives(*(jnp.asarray(a) for a in (fit.x, fit.reference, fit.scales))))
    return moves.reshape(len(moves), -1, moves.shape[-1])
