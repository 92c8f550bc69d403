"""What is asked of the body in surfaces of a person, as normal equations of poses and sizes.

Bony landmarks and joint centres against their places on the body (robust), the pose prior, and bones that are not deep enough under the skin. Ranges of motion
and the size prior are the steps' (`surface.descent`).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from biomech_fit.core.body import BodyModel
from biomech_fit.core.kinematics import Kinematics
from biomech_fit.core.program import program
from biomech_fit.formats.surface_body import SurfaceBody
from biomech_fit.surface.bones import bone_points, scaled_radius
from biomech_fit.surface.descent import State
from biomech_fit.surface.joint_centres import JointCentre
from biomech_fit.surface.scan import Scan
from biomech_fit.surface.skin import Skin

BATCH = 8
"""Poses that are evaluated together: compiled once for any number of meshes."""
POSE_PRIOR_SHARE = 0.25
"""Of the model's pose prior: a scan is of any pose."""
ROBUST = 3.0
"""Standard deviations from where on a residual counts less (pseudo-Huber)."""
INSIDE_STD_M = 0.008
"""Of a bone point that is not deep enough: neighbours say the same, and drawn bones are simpler than real ones."""
INSIDE_MARGIN_M = 0.001
"""Asked for beyond a bone's least depth."""


@dataclass(frozen=True)
class Targets:
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


class Residuals:
    """Of a body whose landmarks, joint centres and bones `parts` places. Compiled once.

    Points in order: what is `seen` (landmarks, then joint centres of the table), what has to be `inside` the skin (bones), the model's joint `centres`.
    """

    def __init__(self, body: BodyModel, parts: SurfaceBody) -> None:
        self.body, self.parts, self.kinematics = body, parts, Kinematics(body)
        self.bones = bone_points(parts)
        places = [*parts.landmarks.values(), *parts.joint_centres.values()]
        self.names = (*parts.landmarks, *parts.joint_centres)
        self.body_of = np.concatenate([[p.body for p in places], self.bones.body, body.joint_centre_body]).astype(int)
        self._local = np.float32(np.concatenate([[p.position for p in places], self.bones.position, body.joint_centre_position]))
        self.seen = slice(0, len(places))
        self.inside = slice(len(places), len(places) + len(self.bones.body))
        self.centres = slice(self.inside.stop, len(self.body_of))
        finite = np.isfinite(body.pose_std)
        self._pose_information = np.where(finite, POSE_PRIOR_SHARE / np.where(finite, body.pose_std, 1.0) ** 2, 0.0)
        self._pose_information[:6] = 0.0
        self._evaluate = program(self._points)

    def targets(self, scans: list[Scan], estimated: list[dict[str, JointCentre]]) -> Targets:
        """Where the landmarks of each surface are, and the joint centres `estimated` from them."""
        points, information = np.zeros((len(scans), len(self.names), 3)), np.zeros((len(scans), len(self.names)))
        origin = np.array([(scan.bone["ASIS_l"] + scan.bone["ASIS_r"]) / 2 for scan in scans])
        for f, (scan, centres) in enumerate(zip(scans, estimated, strict=True)):
            for k, name in enumerate(self.names):
                if name in scan.bone and name in self.parts.landmarks:
                    points[f, k], information[f, k] = scan.bone[name] - origin[f], self.parts.landmarks[name].std ** -2
                elif name in centres:
                    points[f, k], information[f, k] = centres[name].position - origin[f], centres[name].std_m ** -2
        return Targets(points, information, origin)

    def world(self, state: State, which: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (T, K, 3) m and their derivatives by coordinates (T, K, 3, N) and scales (T, K, 3, S), in batches of one compiled size.

        `which`: `seen`, `inside` or `centres` of all points.
        """
        count = len(state.x)
        scales = np.broadcast_to(state.scales, (count, state.scales.shape[1]))
        parts = []
        for begin in range(0, count, BATCH):
            rows = np.minimum(np.arange(begin, begin + BATCH), count - 1)
            result = self._evaluate(*(np.float32(a[rows]) for a in (state.x, state.reference, scales)))
            parts.append([np.asarray(a, float)[: count - begin, which] for a in result])
        position, by_pose, by_scale = (np.concatenate(a) for a in zip(*parts, strict=True))
        return position, by_pose, by_scale

    def normal(self, state: State, targets: Targets) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Costs (T,), matrices (T, N + S, N + S) and right-hand sides (T, N + S) of the surfaces, without the size prior."""
        position, by_pose, by_scale = self.world(state, slice(0, self.inside.stop))
        jacobian = np.concatenate([by_pose, by_scale], -1)
        off = targets.points - position[:, self.seen]
        square = targets.information * (off**2).sum(-1)
        # Pseudo-Huber: quadratic up to ROBUST standard deviations (of three axes), linear beyond.
        reach = 3 * ROBUST**2
        root = np.sqrt(1 + square / reach)
        cost = (reach * (root - 1)).sum(1)
        weight = targets.information / root
        j = jacobian[:, self.seen].reshape(len(off), -1, jacobian.shape[-1])
        w = np.repeat(weight, 3, axis=1)
        matrix = np.swapaxes(j * w[..., None], 1, 2) @ j
        rhs = np.einsum("tkm,tk->tm", j, w * off.reshape(len(off), -1))
        for t, skin in enumerate(targets.skins):
            depth, normal = skin.near(position[t, self.inside] + targets.origin[t], self.bones.body, targets.inside[t])
            lack = self.required(state.scales[0]) - depth
            short = lack > 0
            rows = np.einsum("pi,pim->pm", normal[short], jacobian[t, self.inside][short]) / INSIDE_STD_M
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

    def required(self, scales: np.ndarray) -> np.ndarray:
        """(P,) m: how deep each bone point has to be: its radius on this body and the bone's least depth."""
        return self.bones.radius * scaled_radius(self.body, scales)[self.bones.body] + self.bones.depth + INSIDE_MARGIN_M

    def _points(self, x: jax.Array, reference: jax.Array, scales: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Points (T, K, 3), derivatives by coordinates (T, K, 3, N) and scales (T, K, 3, S), each pose with its own scales (T, S)."""

        def one(x: jax.Array, reference: jax.Array, scales: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            poses = self.kinematics.poses(x[None], reference, scales)
            found = self.kinematics.keypoints(poses, scales, self.body_of, self._local, jnp.zeros((len(self._local), 3)))
            return found.position[0], found.by_pose[0], found.by_scale[0]

        return jax.vmap(one)(x, reference, scales)
