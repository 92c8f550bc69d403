"""Our body scaled and posed inside one or more surfaces of a person: least squares over poses and one body, by our own kinematics.

Residuals: bony landmarks and joint centres against their places on the body (robust), ranges of motion (hard), pose and size priors, and bones that are not
deep enough under the skin. Frames of a sequence share the body; together they count as one look at it, because landmarks err alike in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.initial import rest_pose
from biomech_fit.core.kinematics import Kinematics
from biomech_fit.formats.surface_body import SurfaceBody
from biomech_fit.surface.bones import bone_points, scaled_radius
from biomech_fit.surface.descent import State, moved, newton_step
from biomech_fit.surface.joint_centres import JointCentre, joint_centres
from biomech_fit.surface.scan import Scan
from biomech_fit.surface.skin import Skin, label_vertices

BATCH = 8
"""Poses that are evaluated together: compiled once for any number of meshes."""
STARTS = {
    "arm_add": (-0.2, -1.2, -2.4, -0.8, -0.8, -0.2, -1.2, -0.8),
    "arm_flex": (0.0, 0.0, 0.0, 1.2, -0.4, 1.4, 0.8, 2.4),
    "hip_flexion": (0.1, 0.1, 0.1, 1.2, 0.6, 1.4, -0.1, 0.6),
    "knee_angle": (0.1, 0.1, 0.1, 1.4, 1.2, 0.2, 1.2, 0.8),
}
"""rad: where arms and legs start from; each limb takes the start that ends best."""
LIMBS = ("femur_r", "humerus_r", "femur_l", "humerus_l")
SEARCH_STEPS, JOINT_STEPS, INSIDE_STEPS, INSIDE_ROUNDS = 12, 12, 8, 2
POSE_PRIOR_SHARE = 0.25
"""Of the model's pose prior: a scan is of any pose."""
ROBUST = 3.0
"""Standard deviations from where on a residual counts less (pseudo-Huber)."""
INSIDE_STD_M = 0.008
"""Of a bone point that is not deep enough: neighbours say the same, and drawn bones are simpler than real ones."""
INSIDE_MARGIN_M = 0.001
"""Asked for beyond a bone's least depth."""
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


@dataclass(frozen=True)
class _Targets:
    """Where K points are seen in T poses; weight 0 = not seen."""

    points: np.ndarray
    """(T, K, 3) m."""
    information: np.ndarray
    """(T, K) 1/m^2 per axis."""
    origin: np.ndarray
    """(T, 3) m, subtracted from everything."""
    skins: tuple[Skin, ...] = ()
    """T, or none: then bones are not kept inside."""
    inside: np.ndarray | None = None
    """(T, P) whether a bone point was inside when last looked."""


class SkeletonFitter:
    """Compiled once per process and body."""

    def __init__(self, body: BodyModel, parts: SurfaceBody) -> None:
        if not body.has_free_root:
            raise InputError(f"The model {body.name} has no free root; a skeleton is fitted with biomech_body.")
        self.body, self.parts, self.kinematics = body, parts, Kinematics(body)
        self.bones = bone_points(parts)
        places = [*parts.landmarks.values(), *parts.joint_centres.values()]
        self.names = (*parts.landmarks, *parts.joint_centres)
        self._body_of = np.concatenate([[p.body for p in places], self.bones.body, body.joint_centre_body]).astype(int)
        self._local = np.float32(np.concatenate([[p.position for p in places], self.bones.position, body.joint_centre_position]))
        self._seen = slice(0, len(places))
        self._inside = slice(len(places), len(places) + len(self.bones.body))
        self._centres = slice(self._inside.stop, len(self._body_of))
        self._rest, self._rest_rotation = rest_pose(body)
        finite = np.isfinite(body.pose_std)
        self._pose_information = np.where(finite, POSE_PRIOR_SHARE / np.where(finite, body.pose_std, 1.0) ** 2, 0.0)
        self._pose_information[:6] = 0.0
        parent = body.mj_model.body_parentid
        adjoining = np.eye(len(parent), dtype=bool)
        adjoining[np.arange(len(parent)), parent] = adjoining[parent, np.arange(len(parent))] = True
        self._adjoining = adjoining
        self._evaluate = jax.jit(self._points)

    def fit(self, scans: list[Scan], sex: str | None = None) -> SkeletonFit:
        """The body and its poses in the surfaces of one person. Raises InputError where no body fits."""
        estimated = [joint_centres(scan.bone, sex) for scan in scans]
        targets = self._targets(scans, estimated)
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

    def _landmark_rms(self, state: State, targets: _Targets) -> np.ndarray:
        """(T,) m, of the landmarks and the joint centres made of them."""
        position, _, _ = self._world(state, self._seen)
        square = ((position - targets.points) ** 2).sum(-1)
        return np.sqrt(np.nanmean(np.where(targets.information > 0, square, np.nan), axis=1))

    def _targets(self, scans: list[Scan], estimated: list[dict[str, JointCentre]]) -> _Targets:
        points, information = np.zeros((len(scans), len(self.names), 3)), np.zeros((len(scans), len(self.names)))
        origin = np.array([(scan.bone["ASIS_l"] + scan.bone["ASIS_r"]) / 2 for scan in scans])
        for f, (scan, centres) in enumerate(zip(scans, estimated, strict=True)):
            for k, name in enumerate(self.names):
                if name in scan.bone and name in self.parts.landmarks:
                    points[f, k], information[f, k] = scan.bone[name] - origin[f], self.parts.landmarks[name].std ** -2
                elif name in centres:
                    points[f, k], information[f, k] = centres[name].position - origin[f], centres[name].std_m ** -2
        return _Targets(points, information, origin)

    def _search(self, targets: _Targets, f: int) -> State:
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
        same = _Targets(*(np.repeat(a[f : f + 1], BATCH, 0) for a in (targets.points, targets.information)), np.zeros((BATCH, 3)))
        ends, _ = self._descend(starts, same, SEARCH_STEPS, shared=False)
        position, _, _ = self._world(ends, slice(None))
        cost = same.information * ((position[:, self._seen] - same.points) ** 2).sum(-1)
        best = int(np.argmin(cost.sum(1)))
        state = State(ends.x[best : best + 1].copy(), ends.reference[best : best + 1], ends.scales[best : best + 1])
        for root in LIMBS:
            b = self.body.mj_model.body(root).id
            on_limb = self.kinematics.ancestors[self._body_of[self._seen], b] > 0
            limb_best = int(np.argmin(cost[:, on_limb].sum(1)))
            columns = np.flatnonzero(self.kinematics.ancestors[self.body.mj_model.dof_bodyid, b] > 0)
            state.x[0, columns] = ends.x[limb_best, columns]
        return state

    def _skins(self, scans: list[Scan], state: State, origin: np.ndarray) -> tuple[Skin, ...]:
        """The surfaces, each vertex with the body whose bone it covers in the poses found so far."""
        position, _, _ = self._world(state, self._inside)
        skins = []
        for scan, bones, shift in zip(scans, position, origin, strict=True):
            labels = label_vertices(scan.vertices, scan.normals, bones + shift, self.bones.body)
            skins.append(Skin(scan.vertices, scan.faces, scan.normals, labels, self._adjoining))
        return tuple(skins)

    def _bones_inside(self, skins: tuple[Skin, ...], state: State, origin: np.ndarray) -> np.ndarray:
        """(T, P) whether the bone points are inside; the winding number is asked where the nearest skin does not say that they are deep enough."""
        position, _, _ = self._world(state, self._inside)
        out = np.ones(position.shape[:2], bool)
        for t, skin in enumerate(skins):
            points = position[t] + origin[t]
            depth, _ = skin.near(points, self.bones.body, np.zeros(len(points), bool))
            doubtful = np.flatnonzero(depth < self._required(state.scales[0]))
            out[t, doubtful] = skin.inside(points[doubtful])
        return out

    def _trunk_placement(self, starts: State, targets: _Targets, f: int) -> tuple[np.ndarray, np.ndarray]:
        """Rotation and position of the root that bring the resting pelvis and trunk to theirs (Kabsch 1976)."""
        position, _, _ = self._world(State(starts.x[:1], starts.reference[:1], starts.scales[:1]), self._seen)
        names = [self.body.mj_model.body(b).name for b in self._body_of[self._seen]]
        trunk = np.array([n in ("pelvis", "torso") for n in names]) & (targets.information[f] > 0)
        a, b, w = position[0][trunk], targets.points[f][trunk], targets.information[f][trunk, None]
        centre_a, centre_b = (w * a).sum(0) / w.sum(), (w * b).sum(0) / w.sum()
        u, _, vt = np.linalg.svd((w * (b - centre_b)).T @ (a - centre_a))
        turn = (u * (1, 1, np.sign(np.linalg.det(u @ vt)))) @ vt
        return turn, centre_b - turn @ centre_a

    def _points(self, x: jax.Array, reference: jax.Array, scales: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Points (T, K, 3), derivatives by coordinates (T, K, 3, N) and scales (T, K, 3, S), each pose with its own scales (T, S)."""

        def one(x: jax.Array, reference: jax.Array, scales: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            poses = self.kinematics.poses(x[None], reference, scales)
            found = self.kinematics.keypoints(poses, scales, self._body_of, self._local, jnp.zeros((len(self._local), 3)))
            return found.position[0], found.by_pose[0], found.by_scale[0]

        return jax.vmap(one)(x, reference, scales)

    def _world(self, state: State, which: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points and derivatives at T poses, in batches of one compiled size."""
        count = len(state.x)
        scales = np.broadcast_to(state.scales, (count, state.scales.shape[1]))
        parts = []
        for begin in range(0, count, BATCH):
            rows = np.minimum(np.arange(begin, begin + BATCH), count - 1)
            result = self._evaluate(*(np.float32(a[rows]) for a in (state.x, state.reference, scales)))
            parts.append([np.asarray(a, float)[: count - begin, which] for a in result])
        position, by_pose, by_scale = (np.concatenate(a) for a in zip(*parts, strict=True))
        return position, by_pose, by_scale

    def _normal(self, state: State, targets: _Targets) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Costs (T,), matrices (T, N + S, N + S) and right-hand sides (T, N + S) of the surfaces, without the size prior."""
        position, by_pose, by_scale = self._world(state, slice(0, self._inside.stop))
        jacobian = np.concatenate([by_pose, by_scale], -1)
        off = targets.points - position[:, self._seen]
        square = targets.information * (off**2).sum(-1)
        # Pseudo-Huber: quadratic up to ROBUST standard deviations (of three axes), linear beyond.
        reach = 3 * ROBUST**2
        root = np.sqrt(1 + square / reach)
        cost = (reach * (root - 1)).sum(1)
        weight = targets.information / root
        j = jacobian[:, self._seen].reshape(len(off), -1, jacobian.shape[-1])
        w = np.repeat(weight, 3, axis=1)
        matrix = np.swapaxes(j * w[..., None], 1, 2) @ j
        rhs = np.einsum("tkm,tk->tm", j, w * off.reshape(len(off), -1))
        for t, skin in enumerate(targets.skins):
            depth, normal = skin.near(position[t, self._inside] + targets.origin[t], self.bones.body, targets.inside[t])
            lack = self._required(state.scales[0]) - depth
            short = lack > 0
            rows = np.einsum("pi,pim->pm", normal[short], jacobian[t, self._inside][short]) / INSIDE_STD_M
            residual = lack[short] / INSIDE_STD_M
            cost[t] += 0.5 * residual @ residual
            matrix[t] += rows.T @ rows
            rhs[t] -= rows.T @ residual
        away = state.x - self.body.pose_mean
        n = self.kinematics.n_coordinates
        cost += 0.5 * (self._pose_information * away**2).sum(1)
        matrix[:, np.arange(n), np.arange(n)] += self._pose_information
        rhs[:, :n] -= self._pose_information * away
        return cost, matrix, rhs

    def _required(self, scales: np.ndarray) -> np.ndarray:
        """(P,) m: how deep each bone point has to be: its radius on this body and the bone's least depth."""
        return self.bones.radius * scaled_radius(self.body, scales)[self.bones.body] + self.bones.depth + INSIDE_MARGIN_M

    def _descend(self, state: State, targets: _Targets, steps: int, shared: bool) -> tuple[State, np.ndarray]:
        """Levenberg-Marquardt. `shared`: one body for all poses, else each has its own. Also the matrices of the end (T, N + S, N + S)."""
        count = len(state.x)
        precision = self.body.scale_precision
        share = 1 / count if shared else 1.0

        def total(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            cost, matrix, rhs = self._normal(state, targets)
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
        n, count = self.kinematics.n_coordinates, len(matrices)
        hxx = matrices[:, :n, :n] + 1e-3 * np.eye(n)
        by_scale = np.linalg.solve(hxx, matrices[:, :n, n:])
        reduced = (matrices[:, n:, n:] - np.swapaxes(matrices[:, :n, n:], 1, 2) @ by_scale).sum(0) / count + self.body.scale_precision
        covariance = np.linalg.inv((reduced + reduced.T) / 2)
        _, by_pose, by_size = self._world(state, self._centres)
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
