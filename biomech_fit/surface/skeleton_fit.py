"""Our body scaled and posed inside one or more surfaces of a person: least squares over poses and one body, by our own kinematics.

Frames of a sequence share the body; together they count as one look at it, because landmarks err alike in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.initial import rest_pose
from biomech_fit.formats.surface_body import SurfaceBody
from biomech_fit.surface.descent import State, moved, newton_step
from biomech_fit.surface.joint_centres import JointCentre, joint_centres
from biomech_fit.surface.residuals import BATCH, Residuals, Targets
from biomech_fit.surface.scan import Scan
from biomech_fit.surface.skin import Skin, label_vertices

STARTS = {
    "arm_add": (-0.2, -1.2, -2.4, -0.8, -0.8, -0.2, -1.2, -0.8),
    "arm_flex": (0.0, 0.0, 0.0, 1.2, -0.4, 1.4, 0.8, 2.4),
    "hip_flexion": (0.1, 0.1, 0.1, 1.2, 0.6, 1.4, -0.1, 0.6),
    "knee_angle": (0.1, 0.1, 0.1, 1.4, 1.2, 0.2, 1.2, 0.8),
}
"""rad: where arms and legs start from; each limb takes the start that ends best."""
LIMBS = ("femur_r", "humerus_r", "femur_l", "humerus_l")
"""Bodies at whose joints legs and arms begin."""
SEARCH_STEPS, JOINT_STEPS, INSIDE_STEPS, INSIDE_ROUNDS = 12, 12, 8, 2
WORST_RMS_M = 0.06
"""Of the landmarks; a worse fit is no body."""


@dataclass(frozen=True, eq=False)
class SkeletonFit:
    """One person's body in F surfaces."""

    scans: tuple[Scan, ...]
    scales: np.ndarray
    """(S,)"""
    scale_covariance: np.ndarray
    """(S, S)"""
    position: np.ndarray
    """(F, 3) m, the root's."""
    rotation: np.ndarray
    """(F, 3, 3) the root's, to the file's axes."""
    angles: np.ndarray
    """(F, N - 6) rad."""
    estimated: tuple[dict[str, JointCentre], ...]
    """F: what the landmarks alone say."""
    joint_centre_std_m: np.ndarray
    """(J,) m per axis, of the model's joint centres, mean over surfaces."""
    landmark_rms_m: np.ndarray
    """(F,)"""
    skins: tuple[Skin, ...]
    """F"""

    def qpos(self) -> np.ndarray:
        """(F, nq) MuJoCo's coordinates."""
        out = np.zeros((len(self.position), 7 + self.angles.shape[1]))
        out[:, :3], out[:, 3:7], out[:, 7:] = self.position, _quaternions(self.rotation), self.angles
        return out


class SkeletonFitter:
    """Compiled once per process and body."""

    def __init__(self, body: BodyModel, parts: SurfaceBody) -> None:
        if not body.has_free_root:
            raise InputError(f"The model {body.name} has no free root; a skeleton is fitted with biomech_body.")
        self.body, self.parts, self.residuals = body, parts, Residuals(body, parts)
        self._rest, self._rest_rotation = rest_pose(body)
        parent = body.mj_model.body_parentid
        adjoining = np.eye(len(parent), dtype=bool)
        adjoining[np.arange(len(parent)), parent] = adjoining[parent, np.arange(len(parent))] = True
        self._adjoining = adjoining

    def fit(self, scans: list[Scan], sex: str | None = None) -> SkeletonFit:
        """The body and its poses in the surfaces of one person. Raises InputError where no body fits."""
        estimated = [joint_centres(scan.bone, sex) for scan in scans]
        targets = self.residuals.targets(scans, estimated)
        found = [self._search(targets, f) for f in range(len(scans))]
        state = State(np.concatenate([s.x for s in found]), np.concatenate([s.reference for s in found]), np.mean([s.scales for s in found], 0))
        state, _ = self._descend(state, targets, JOINT_STEPS, shared=True)
        rms = self._landmark_rms(state, targets)
        worst = int(np.argmax(rms))
        if rms[worst] > WORST_RMS_M:
            name, title = scans[worst].name, scans[worst].table.title
            raise InputError(f"No body fits the landmarks of {name} ({1000 * rms[worst]:.0f} mm RMS): its vertices are in another order than {title}'s.")
        skins = self._skins(scans, state, targets.origin)
        for _ in range(INSIDE_ROUNDS):
            inside = self._bones_inside(skins, state, targets.origin)
            state, matrices = self._descend(state, replace(targets, skins=skins, inside=inside), INSIDE_STEPS, shared=True)
        rms = self._landmark_rms(state, targets)
        covariance, centre_std = self._uncertainty(state, matrices, estimated)
        return SkeletonFit(
            tuple(scans), state.scales[0], covariance, state.x[:, :3] + targets.origin, state.reference, state.x[:, 6:], tuple(estimated), centre_std, rms,
            skins,
        )  # fmt: skip

    def _landmark_rms(self, state: State, targets: Targets) -> np.ndarray:
        """(T,) m, of the landmarks and the joint centres made of them."""
        position, _, _ = self.residuals.world(state, self.residuals.seen)
        square = ((position - targets.points) ** 2).sum(-1)
        return np.sqrt(np.nanmean(np.where(targets.information > 0, square, np.nan), axis=1))

    def _search(self, targets: Targets, f: int) -> State:
        """One surface from all starts, each with a body of its own; then every limb from the start in which it ends best."""
        starts = State(np.tile(self._rest, (BATCH, 1)), np.zeros((BATCH, 3, 3)), np.zeros((BATCH, len(self.body.scale_names))))
        for name, angles in STARTS.items():
            for side in "rl":
                starts.x[:, self.body.coordinate_names.index(f"{name}_{side}")] = angles
        starts.x = np.clip(starts.x, self.body.lower, self.body.upper)
        starts.x[:, :6] = 0.0
        starts.reference[:] = self._rest_rotation
        turn, shift = self._trunk_placement(starts, targets, f)
        starts.reference, starts.x[:, :3] = turn @ starts.reference, shift
        same = Targets(*(np.repeat(a[f : f + 1], BATCH, 0) for a in (targets.points, targets.information)), np.zeros((BATCH, 3)))
        ends, _ = self._descend(starts, same, SEARCH_STEPS, shared=False)
        residuals, ancestors = self.residuals, self.residuals.kinematics.ancestors
        position, _, _ = residuals.world(ends, residuals.seen)
        cost = same.information * ((position - same.points) ** 2).sum(-1)
        best = int(np.argmin(cost.sum(1)))
        state = State(ends.x[best : best + 1].copy(), ends.reference[best : best + 1], ends.scales[best : best + 1])
        for root in LIMBS:
            b = self.body.mj_model.body(root).id
            on_limb = ancestors[residuals.body_of[residuals.seen], b] > 0
            limb_best = int(np.argmin(cost[:, on_limb].sum(1)))
            columns = np.flatnonzero(ancestors[self.body.mj_model.dof_bodyid, b] > 0)
            state.x[0, columns] = ends.x[limb_best, columns]
        return state

    def _skins(self, scans: list[Scan], state: State, origin: np.ndarray) -> tuple[Skin, ...]:
        """The surfaces, each vertex with the body whose bone it covers in the poses found so far."""
        position, _, _ = self.residuals.world(state, self.residuals.inside)
        skins = []
        for scan, bones, shift in zip(scans, position, origin, strict=True):
            labels = label_vertices(scan.vertices, scan.normals, bones + shift, self.residuals.bones.body)
            skins.append(Skin(scan.vertices, scan.faces, scan.normals, labels, self._adjoining))
        return tuple(skins)

    def _bones_inside(self, skins: tuple[Skin, ...], state: State, origin: np.ndarray) -> np.ndarray:
        """(T, P) whether the bone points are inside; the winding number is asked where the nearest skin does not say that they are deep enough."""
        position, _, _ = self.residuals.world(state, self.residuals.inside)
        out = np.ones(position.shape[:2], bool)
        for t, skin in enumerate(skins):
            points = position[t] + origin[t]
            depth, _ = skin.near(points, self.residuals.bones.body, np.zeros(len(points), bool))
            doubtful = np.flatnonzero(depth < self.residuals.required(state.scales[0]))
            out[t, doubtful] = skin.inside(points[doubtful])
        return out

    def _trunk_placement(self, starts: State, targets: Targets, f: int) -> tuple[np.ndarray, np.ndarray]:
        """Rotation and position of the root that bring the resting pelvis and trunk to theirs (Kabsch 1976)."""
        position, _, _ = self.residuals.world(State(starts.x[:1], starts.reference[:1], starts.scales[:1]), self.residuals.seen)
        names = [self.body.mj_model.body(b).name for b in self.residuals.body_of[self.residuals.seen]]
        trunk = np.array([n in ("pelvis", "torso") for n in names]) & (targets.information[f] > 0)
        a, b, w = position[0][trunk], targets.points[f][trunk], targets.information[f][trunk, None]
        centre_a, centre_b = (w * a).sum(0) / w.sum(), (w * b).sum(0) / w.sum()
        u, _, vt = np.linalg.svd((w * (b - centre_b)).T @ (a - centre_a))
        turn = (u * (1, 1, np.sign(np.linalg.det(u @ vt)))) @ vt
        return turn, centre_b - turn @ centre_a

    def _descend(self, state: State, targets: Targets, steps: int, shared: bool) -> tuple[State, np.ndarray]:
        """Levenberg-Marquardt. `shared`: one body for all poses, else each has its own. Also the matrices of the end (T, N + S, N + S)."""
        count = len(state.x)
        precision = self.body.scale_precision
        share = 1 / count if shared else 1.0

        def total(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            cost, matrix, rhs = self.residuals.normal(state, targets)
            prior = 0.5 * np.einsum("ts,su,tu->t", state.scales, precision, state.scales)
            cost = np.array([share * cost.sum() + prior[0]]) if shared else cost + prior
            return cost, share * matrix, share * rhs

        damping = np.full(1 if shared else count, 1e-3)
        cost, matrix, rhs = total(state)
        for _ in range(steps):
            change_x, change_s = newton_step(self.body, state, matrix, rhs, damping, shared)
            trial = moved(self.body, state, change_x, change_s)
            new_cost, new_matrix, new_rhs = total(trial)
            better = new_cost < cost
            gain = np.where(better, cost - new_cost, 0.0)
            damping = np.clip(np.where(better, damping * 0.2, damping * 8), 1e-7, 1e4)
            keep = np.full(count, better[0]) if shared else better
            for old, new in ((state.x, trial.x), (state.reference, trial.reference), (matrix, new_matrix), (rhs, new_rhs)):
                old[keep] = new[keep]
            state.scales[better] = trial.scales[better]
            settled = better & (gain < 1e-5 * np.maximum(cost, 1.0))
            cost = np.where(better, new_cost, cost)
            if shared and settled.all():
                break
        return state, matrix / share

    def _uncertainty(self, state: State, matrices: np.ndarray, estimated: list[dict[str, JointCentre]]) -> tuple[np.ndarray, np.ndarray]:
        """Covariance (S, S) of the scales and standard deviations (J,) m per axis of the model's joint centres.

        From the curvature at the solution, but no less than the spread of published methods where there are several.
        """
        n, count = self.residuals.kinematics.n_coordinates, len(matrices)
        hxx = matrices[:, :n, :n] + 1e-3 * np.eye(n)
        by_scale = np.linalg.solve(hxx, matrices[:, :n, n:])
        reduced = (matrices[:, n:, n:] - np.swapaxes(matrices[:, :n, n:], 1, 2) @ by_scale).sum(0) / count + self.body.scale_precision
        covariance = np.linalg.inv((reduced + reduced.T) / 2)
        _, by_pose, by_size = self.residuals.world(state, self.residuals.centres)
        total = by_size - np.einsum("tkan,tns->tkas", by_pose, by_scale)
        variance = np.einsum("tkas,su,tkau->tk", total, covariance, total)
        variance += np.einsum("tkan,tnm,tkam->tk", by_pose, np.linalg.inv(hxx), by_pose)
        std = np.sqrt(np.maximum(variance, 0).mean(0) / 3)
        for k, name in enumerate(self.body.joint_centre_names):
            own = f"{name[1:].lower()}_{name[0].lower()}"
            if own in estimated[0]:
                std[k] = max(std[k], np.mean([e[own].spread_m for e in estimated]))
        return covariance, std


def _quaternions(matrices: np.ndarray) -> np.ndarray:
    """(F, 4) wxyz."""
    return Rotation.from_matrix(matrices).as_quat(scalar_first=True)
