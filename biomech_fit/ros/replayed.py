"""What a replay sends, and on which topics: detections of calibrated cameras, or 3D points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from biomech_fit import msg as bf
from biomech_fit.config.node import ReplayNodeConfig
from biomech_fit.core.errors import InputError
from biomech_fit.core.types import KeypointPacket, PointsPacket
from biomech_fit.formats.points_keypoints import find_points
from biomech_fit.formats.points_recording import is_points_file, open_points
from biomech_fit.formats.recording import open_recording
from biomech_fit.ros import convert, qos
from biomech_fit.ros.setup import check_topic_names


class Replayed(Protocol):
    """A recording and its publishers."""

    publishers: list[Any]
    """Of keypoints or points."""
    frame_rate_hz: float
    notices: list[str]
    what: str
    """In words."""

    def packets(self) -> Iterator[Any]:
        """In the order in which they arrived; may be called again. Each has `stamp_ns` and `received_ns` (None = at its stamp)."""
        ...

    def send(self, packet: Any, stamp_ns: int) -> None:
        """Publishes one under a stamp."""
        ...


def open_replayed(node: Node, settings: ReplayNodeConfig) -> Replayed:
    """Raises InputError for a recording that cannot be opened, and for settings that do not belong to its kind."""
    if not settings.recording:
        raise InputError("Parameter recording is empty; it must name a recording: a folder, bag or file.")
    points = is_points_file(settings.recording)
    useless = ("calibration", "frame_rate_hz") if points else ("points_map", "world_up")
    given = next((name for name in useless if getattr(settings, name)), None)
    if given is not None:
        kind = "3D points need no cameras, and their file says its rate" if points else "it is for files of 3D points (.c3d, .trc)"
        raise InputError(f"Parameter {given} cannot be used with '{settings.recording}': {kind}.")
    return ReplayedPoints(node, settings) if points else ReplayedCameras(node, settings)


class ReplayedCameras:
    """`<camera>/keypoints` and `<camera>/camera_info`."""

    def __init__(self, node: Node, settings: ReplayNodeConfig) -> None:
        self._recording = recording = open_recording(
            settings.recording,
            calibration=settings.calibration or None,
            keypoint_set=settings.keypoint_set or None,
            frame_rate=settings.frame_rate_hz or None,
        )
        self.frame_rate_hz, self.notices = recording.frame_rate_hz, recording.notices
        self._cameras = {c.name: c for c in recording.cameras}
        self.what = f"{len(self._cameras)} cameras, {len(recording.keypoint_set)} keypoints"
        check_topic_names(self._cameras)
        options = {"qos_overriding_options": qos.overridable()}
        self._keypoints = {name: node.create_publisher(bf.Keypoints2D, f"{name}/keypoints", qos.keypoints(), **options) for name in self._cameras}
        self.publishers = list(self._keypoints.values())
        for camera in recording.cameras:
            node.create_publisher(CameraInfo, f"{camera.name}/camera_info", qos.latched(), **options).publish(convert.camera_info_msg(camera))

    def packets(self) -> Iterator[KeypointPacket]:
        return self._recording.packets()

    def send(self, packet: KeypointPacket, stamp_ns: int) -> None:
        message = convert.keypoints_2d_msg(replace(packet, stamp_ns=stamp_ns), self._cameras[packet.camera], self._recording.keypoint_set)
        self._keypoints[packet.camera].publish(message)


class ReplayedPoints:
    """`keypoints_3d`, in a z-up world."""

    def __init__(self, node: Node, settings: ReplayNodeConfig) -> None:
        recording = open_points(settings.recording, points_map=settings.points_map or None, world_up=settings.world_up or None, need_feet=False)
        found = find_points(recording.points, recording.name, settings.keypoint_set or None, recording.mapping)
        if found is None:
            raise InputError(f"The points' names of '{recording.name}' fit no keypoint set; keypoint_set or points_map says what they are.")
        self.frame_rate_hz, self.notices = recording.frame_rate_hz, [*recording.notices, *found.notices]
        self._stamps_ns, self._found, self._frame_id = recording.stamps_ns, found, settings.world_frame
        self.what = f"{len(found.used)} 3D points of {found.keypoint_set.name}"
        self._points = node.create_publisher(bf.Keypoints3D, "keypoints_3d", qos.keypoints(), qos_overriding_options=qos.overridable())
        self.publishers = [self._points]

    def packets(self) -> Iterator[PointsPacket]:
        for stamp_ns, xyz in zip(self._stamps_ns.tolist(), self._found.xyz, strict=True):
            yield PointsPacket(stamp_ns, xyz[None])

    def send(self, packet: PointsPacket, stamp_ns: int) -> None:
        self._points.publish(convert.keypoints_3d_msg(stamp_ns, self._frame_id, self._found.keypoint_set, packet.xyz))
