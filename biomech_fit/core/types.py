"""Plain data that crosses packages. Arrays are numpy; stamps are integer nanoseconds of the exposure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np


@dataclass(frozen=True, eq=False)
class KeypointPacket:
    """What one camera's detector says about one exposure: P people with K keypoints each."""

    camera: str
    stamp_ns: int
    xy: np.ndarray
    """(P, K, 2) float32, pixels in the full (distorted) image; NaN = missing."""
    confidence: np.ndarray
    """(P, K) float32, 0..1; 0 = missing."""
    person_ids: np.ndarray
    """(P,) int32; -1 = untracked."""
    received_ns: int | None = None
    """When the packet arrived, on the same clock; None = at once."""


@dataclass(frozen=True, eq=False)
class PointsPacket:
    """3D points of one instant: P people with K keypoints each."""

    stamp_ns: int
    xyz: np.ndarray
    """(P, K, 3) m, world; NaN = missing."""
    sigma_m: np.ndarray | None = None
    """(P, K) standard deviation per axis; NaN or None = unknown."""
    person_ids: np.ndarray | None = None
    """(P,) int32; -1 = untracked, None = all are."""
    received_ns: int | None = None
    """When the packet arrived, on the stamps' clock; None = at once."""


@dataclass(frozen=True, eq=False)
class FrameSet:
    """Packets of all cameras that belong to one instant. Cameras that sent nothing are absent from `packets`."""

    stamp_ns: int
    """Median stamp of the packets."""
    packets: dict[str, KeypointPacket]
    missing: tuple[str, ...]
    """Cameras that were expected and did not come."""
    closed_ns: int | None = None
    """Arrival time of the packet (or deadline) that closed the set."""


class Status(IntEnum):
    """Outcome of a frame, as data. `STATUS_SENTENCE` says each in words."""

    OK = 0
    INITIALISING = 1
    NO_PERSON = 2
    LOST = 3
    REINITIALISED = 4
    PREDICTED = 5
    TOO_FEW_CAMERAS = 6


STATUS_SENTENCE = {
    Status.OK: "The body is tracked.",
    Status.INITIALISING: "Waiting for enough keypoints of one person to start.",
    Status.NO_PERSON: "No person is in view.",
    Status.LOST: "The fit was lost and is looking for the person again.",
    Status.REINITIALISED: "The fit was lost and has been started anew on this frame.",
    Status.PREDICTED: "No usable keypoints in this frame; the pose is a prediction.",
    Status.TOO_FEW_CAMERAS: "Fewer than two cameras see the person; at least two are needed to start.",
}


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """The body at one instant. Coordinates are in `BodyModel.coordinate_names` order (OpenSim names and signs, rad and m)."""

    stamp_ns: int
    status: Status
    position: np.ndarray
    """(N,) coordinates."""
    velocity: np.ndarray
    """(N,) per second."""
    position_std: np.ndarray
    """(N,) standard deviations."""
    qpos: np.ndarray
    """(nq,) MuJoCo generalised positions of the scaled model (free root: x y z, quaternion wxyz)."""
    pelvis_position: np.ndarray
    """(3,) m, world."""
    pelvis_quat_wxyz: np.ndarray
    """(4,) body to world."""
    pelvis_covariance: np.ndarray
    """(6, 6): x y z (m), rotation about the world's x y z (rad)."""
    keypoints: np.ndarray
    """(K, 3) m, world: the model's keypoints with the person's offsets, in the recording's keypoint set."""
    keypoint_std: np.ndarray
    """(K, 3) m."""
    joint_centres: np.ndarray
    """(J, 3) m, world, in `BodyModel.joint_centre_names` order."""
    lag_s: float
    """How far behind the newest frame this estimate is."""
    reprojection_rms_px: float
    """Over this instant's keypoints with confidence >= 0.5; NaN without any."""
    cameras_used: tuple[str, ...]
    cameras_missing: tuple[str, ...]
    reprojected_xy: np.ndarray | None = None
    """(C, K, 2) px: `keypoints` through the cameras as estimated at this instant."""
    keypoint_covariance: np.ndarray | None = None
    """(K, 3, 3) m^2, world axes; `keypoint_std` is the root of its diagonal."""


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What the solver gives for one frame set: the causal estimate and, once the lag is filled, the smoothed one."""

    stamp_ns: int
    status: Status
    causal: PoseEstimate | None
    smoothed: PoseEstimate | None
    latency_s: float
    """From the set's closing to the result on the host."""
    observed_xy: np.ndarray | None = None
    """(C, K, 2) px: the keypoints taken for the tracked person; NaN = missing."""
    observed_confidence: np.ndarray | None = None
    """(C, K); 0 = missing."""
    person: int = 1
    """Number of the person; with one person tracked at once always 1."""
    delay_s: np.ndarray | None = None
    """(C,) each camera's stamp minus the frame's, where keypoints were taken from it."""
    cameras_missing: tuple[str, ...] = ()
    """Of a frame without an estimate: cameras that see nobody."""


class EventType(IntEnum):
    INITIAL_CONTACT = 0
    FINAL_CONTACT = 1


class Side(IntEnum):
    LEFT = 0
    RIGHT = 1


@dataclass(frozen=True, eq=False)
class GaitEvent:
    """Initial or final contact of a foot (stamp = time of the event)."""

    stamp_ns: int
    type: EventType
    side: Side
    position: np.ndarray
    """(3,) m, world: the heel (initial contact) or toe (final contact) projected to the floor."""
    time_std_s: float
    confidence: float
    detection_delay_s: float
    """Newest stamp used to detect it minus the event's stamp."""
