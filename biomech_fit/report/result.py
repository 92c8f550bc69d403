"""Everything a whole run gives, as arrays: what the output files and the report are made from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.gait_summary import SummarySettings
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.steps import StepParameters
from biomech_fit.core.types import GaitEvent
from biomech_fit.formats.calibration import Calibration
from biomech_fit.formats.subject import Subject

CONFIDENCE_THRESHOLD = 0.5
"""Reprojection figures count the keypoints with at least this confidence."""


@dataclass(eq=False)
class Trajectory:
    """The body over T frames; NaN where there is no estimate. N coordinates, K keypoints, J joint centres."""

    position: np.ndarray
    """(T, N) rad and m, OpenSim names and signs."""
    velocity: np.ndarray
    """(T, N) per second."""
    position_std: np.ndarray
    """(T, N) standard deviations."""
    keypoints: np.ndarray
    """(T, K, 3) m, world."""
    keypoint_std: np.ndarray
    """(T, K, 3) m."""
    joint_centres: np.ndarray
    """(T, J, 3) m, world."""
    status: np.ndarray
    """(T,) values of `core.types.Status`."""
    events: list[GaitEvent] = field(default_factory=list)
    steps: list[StepParameters] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several methods on the same detections: distances (T, C, K) px by the method's name, the run's own first; NaN = not counted."""

    seen: dict[str, np.ndarray]
    """Detections that every method has used."""
    held_out: dict[str, np.ndarray]
    """Detections that none has."""


@dataclass(eq=False)
class TrackResult:
    """A whole run over T frames, C cameras, K keypoints. Frames are in increasing order of their stamps."""

    stamps_ns: np.ndarray
    """(T,) int64."""
    frame_rate_hz: float
    coordinate_names: tuple[str, ...]
    coordinate_is_angle: np.ndarray
    """(N,) True where the coordinate is in radians, False in metres."""
    keypoint_set: KeypointSet
    joint_centre_names: tuple[str, ...]
    causal: Trajectory
    """What a live subscriber would have got."""
    smoothed: Trajectory
    """With the fixed lag."""
    cameras_loaded: list[Camera]
    """C cameras as the calibration gave them."""
    cameras_refined: list[Camera]
    """The same cameras with the corrections of the end of the run (the loaded ones where refinement was off)."""
    observed_xy: np.ndarray
    """(T, C, K, 2) px, the tracked person's keypoints in the full (distorted) image; NaN = missing."""
    observed_confidence: np.ndarray
    """(T, C, K); 0 = missing."""
    reprojected_before_xy: np.ndarray
    """(T, C, K, 2) px: the causal body through the loaded cameras, each frame's placed where they see it best; NaN where it has no such point."""
    reprojected_xy: np.ndarray
    """(T, C, K, 2) px: the same body through the cameras as refined at each instant."""
    latency_s: np.ndarray
    """(T,) from the set's closing to the result."""
    wall_s: float
    """Time the run took, without compiling."""
    segment_lengths_m: dict[str, float]
    segments: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Segment name to its two joint centres, as in `BodyModel`; drawn as the skeleton's bones."""
    clock_offset_s: np.ndarray | None = None
    """(C,) estimated camera clock offsets."""
    notices: list[str] = field(default_factory=list)
    source: str = ""
    """Where the keypoints came from, for the title."""
    subject: str = ""
    version: str = ""
    start_ns: int | None = None
    """Stamp that is 0 s in the files; None = the first frame."""
    calibration: Calibration | None = None
    """As it was read, so that entries and comments of a Pose2Sim calibration are kept in the refined one."""
    subject_model: Subject | None = None
    """The fitted body, for subject.yaml (`formats.subject.subject_from_estimate`); None = not written."""
    world_up: str = "z"
    """The axis of the calibration's file that points up; everything here is in a z-up world (`formats.world_up`)."""
    step_settings: SummarySettings = field(default_factory=SummarySettings)
    """Which steps count in the means."""
    offline: bool = False
    """The smoothed trajectory is that of an offline fit, which has no causal one: both are the same, and one set of files is written."""
    comparison: Comparison | None = None
    """The fit beside other methods; None = not asked for."""
    extra: dict[str, object] = field(default_factory=dict)
    """More named entries for summary.json (plain JSON values)."""

    def __post_init__(self) -> None:
        t, c, k = len(self.stamps_ns), len(self.cameras_loaded), len(self.keypoint_set.names)
        shapes = {
            "observed_xy": (self.observed_xy, (t, c, k, 2)),
            "observed_confidence": (self.observed_confidence, (t, c, k)),
            "reprojected_before_xy": (self.reprojected_before_xy, (t, c, k, 2)),
            "reprojected_xy": (self.reprojected_xy, (t, c, k, 2)),
            "latency_s": (self.latency_s, (t,)),
            "coordinate_is_angle": (self.coordinate_is_angle, (len(self.coordinate_names),)),
        }
        for label, trajectory in (("causal", self.causal), ("smoothed", self.smoothed)):
            n = len(self.coordinate_names)
            shapes[f"{label}.position"] = (trajectory.position, (t, n))
            shapes[f"{label}.velocity"] = (trajectory.velocity, (t, n))
            shapes[f"{label}.position_std"] = (trajectory.position_std, (t, n))
            shapes[f"{label}.keypoints"] = (trajectory.keypoints, (t, k, 3))
            shapes[f"{label}.keypoint_std"] = (trajectory.keypoint_std, (t, k, 3))
            shapes[f"{label}.joint_centres"] = (trajectory.joint_centres, (t, len(self.joint_centre_names), 3))
            shapes[f"{label}.status"] = (trajectory.status, (t,))
        for name, (array, shape) in shapes.items():
            if np.shape(array) != shape:
                raise InputError(f"The run's {name} has the shape {np.shape(array)}, but {shape} fits its frames, cameras and names.")
        if len(self.cameras_refined) != c:
            raise InputError(f"There are {c} loaded cameras but {len(self.cameras_refined)} refined ones.")

    @property
    def time_s(self) -> np.ndarray:
        """(T,) seconds since `start_ns`."""
        return (self.stamps_ns - self.zero_ns) * 1e-9

    @property
    def zero_ns(self) -> int:
        """Stamp that is 0 s."""
        if self.start_ns is not None:
            return self.start_ns
        return int(self.stamps_ns[0]) if len(self.stamps_ns) else 0

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """K names in the detector's order."""
        return self.keypoint_set.names

    def errors_px(self, before: bool = False) -> np.ndarray:
        """(T, C, K) reprojection errors; NaN where not counted (confidence below 0.5, point missing, or no such point on the body)."""
        projected = self.reprojected_before_xy if before else self.reprojected_xy
        error = np.linalg.norm(np.asarray(projected, float) - self.observed_xy, axis=-1)
        return np.where(self.observed_confidence >= CONFIDENCE_THRESHOLD, error, np.nan)
