"""The body model as the solver sees it: a MuJoCo tree, scale parameters, keypoints and priors (numpy, built by `formats.model`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np


@dataclass(frozen=True, eq=False)
class BodyModel:
    """A skeleton with scale parameters and keypoints.

    N is the number of solver coordinates (= MuJoCo's nv): for a free root three translations and three rotations, then one per hinge or slide in
    MuJoCo's order. Free joints are allowed on the root body only; ball joints are not supported.
    """

    name: str
    mj_model: mujoco.MjModel
    """Unscaled model; all joint and body orders are its own."""
    coordinate_names: tuple[str, ...]
    """N names. With a free root the first six are pelvis_tx, pelvis_ty, pelvis_tz, pelvis_tilt, pelvis_list, pelvis_rotation (OpenSim ground axes)."""
    scale_names: tuple[str, ...]
    """S scale parameters, e.g. thigh_r."""
    scale_matrix: np.ndarray
    """(nbody, 3, S): the scale of body b along its local axis a is 1 + scale_matrix[b, a] @ s. It scales the body's keypoint positions, joint
    positions (jnt_pos) and the attachment points (body_pos) of its children."""
    scale_precision: np.ndarray
    """(S, S) prior information on s (mean zero): overall size, per group, left-right likeness."""
    keypoint_names: tuple[str, ...]
    """K names in the order of the chosen keypoint set."""
    keypoint_body: np.ndarray
    """(K,) body of each keypoint; -1 where the model has no such point (never used in the fit)."""
    keypoint_position: np.ndarray
    """(K, 3) m, in the body's frame, unscaled."""
    keypoint_offset_std: np.ndarray
    """(K,) m, prior standard deviation of the person's and detector's offset per axis."""
    joint_centre_names: tuple[str, ...]
    """Anatomical points reported besides the keypoints (hip, knee, ankle centres ...), named as in keypoint sets: RHip, RKnee, RAnkle ..."""
    joint_centre_body: np.ndarray
    """(J,)"""
    joint_centre_position: np.ndarray
    """(J, 3) m."""
    segments: dict[str, tuple[str, str]]
    """Segment lengths to report: name (thigh_r) -> two joint centre names."""
    lower: np.ndarray
    """(N,) range of motion; -inf where free."""
    upper: np.ndarray
    """(N,)"""
    pose_mean: np.ndarray
    """(N,) weak pose prior; ignored for the six root coordinates."""
    pose_std: np.ndarray
    """(N,) inf = no prior."""
    jerk_std: np.ndarray
    """(N,) rad/s^3 (m/s^3): RMS of the third derivative in everyday walking; scales of the motion prior."""
    acceleration_std: np.ndarray
    """(N,) rad/s^2 (m/s^2)."""
    foot_points: dict[str, tuple[int, np.ndarray]]
    """Points of the soles that touch the floor, by name (RHeel, RMetatarsal1, RMetatarsal5, RToe ...): body and position (m)."""
    keypoint_offset_default: float = 0.015
    """m, the offsets' standard deviation of keypoints of which the model says nothing else."""

    @cached_property
    def has_free_root(self) -> bool:
        return bool(self.mj_model.njnt) and self.mj_model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE
