"""One way to open every kind of recording of 2D keypoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import KeypointPacket
from biomech_fit.formats.bag import BagRecording, is_bag, write_bag_recording
from biomech_fit.formats.calibration import Calibration
from biomech_fit.formats.pose2sim import Pose2SimRecording, write_pose2sim_recording

__all__ = ["Recording", "open_recording", "write_bag_recording", "write_pose2sim_recording"]

KINDS = "a rosbag2 (folder, .mcap or .db3) with Keypoints2D topics or a Pose2Sim folder with pose/<camera>_json/*.json"


class Recording(Protocol):
    """What all recordings offer."""

    @property
    def cameras(self) -> list[Camera]:
        """The calibrated cameras that send keypoints, in the calibration's order."""
        ...

    @property
    def calibration(self) -> Calibration:
        """All that was calibrated, to write a refined one in the format it came in."""
        ...

    @property
    def keypoint_set(self) -> KeypointSet: ...

    @property
    def frame_rate_hz(self) -> float: ...

    @property
    def frame_count(self) -> int:
        """Expected number of frames, for progress."""
        ...

    @property
    def notices(self) -> list[str]:
        """Sentences for the user: what was assumed, lost or odd. Complete once `packets` is through."""
        ...

    def packets(self) -> Iterator[KeypointPacket]:
        """Packets in the order in which they arrived. May be called again, from the start."""
        ...


def open_recording(
    path: str | Path,
    *,
    calibration: str | Path | Calibration | None = None,
    keypoint_set: str | Path | KeypointSet | None = None,
    frame_rate: float | None = None,
) -> Recording:
    """Open a recording of 2D keypoints.

    Args:
        path: a rosbag2 (folder, .mcap or .db3) or a Pose2Sim project or trial folder.
        calibration: a file or folder; None = a Calib*.toml in the recording's folder, its parents or a calibration folder beside it.
        keypoint_set: name or YAML; None = what the recording says, else from the number of points.
        frame_rate: Hz; None = what the recording says.

    Raises:
        InputError: one sentence that says what was wrong and what is valid.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"The recording '{path}' does not exist; a recording is {KINDS}.")
    if is_bag(path):
        return BagRecording(path, calibration=calibration, keypoint_set=keypoint_set, frame_rate=frame_rate)
    if path.is_dir():
        return Pose2SimRecording(path, calibration=calibration, keypoint_set=keypoint_set, frame_rate=frame_rate)
    if path.suffix.lower() in (".trc", ".c3d"):
        raise InputError(f"'{path.name}' holds 3D points, which have no cameras (`biomech-fit track` and `fit` take them alone); a recording is {KINDS}.")
    raise InputError(f"'{path}' is not a recording; a recording is {KINDS}.")
