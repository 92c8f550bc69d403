"""replay_node: a recording to keypoint topics, with the recording's own timing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo

from biomech_fit import msg as bf
from biomech_fit.config.node import ReplayNodeConfig
from biomech_fit.core.errors import InputError
from biomech_fit.core.types import KeypointPacket
from biomech_fit.formats.recording import Recording, open_recording
from biomech_fit.ros import convert, parameters, qos
from biomech_fit.ros.pacer import Pacer
from biomech_fit.ros.setup import check_topic_names
from biomech_fit.ros.spin import run_node

CLOCK_STEP_NS = 5_000_000


class ReplayNode(Node):
    """See docs/nodes.md. `finished` is true at the end. Raises InputError for a bad parameter or recording."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("replay_node", **kwargs)
        parameters.declare(self, ReplayNodeConfig(), fixed=True)
        self.settings = s = parameters.read(self, ReplayNodeConfig())
        if not s.recording:
            raise InputError("Parameter recording is empty; it must name a recording: a folder, bag or file.")
        self.finished = False
        self.recording: Recording = open_recording(
            s.recording, calibration=s.calibration or None, keypoint_set=s.keypoint_set or None, frame_rate=s.frame_rate_hz or None
        )
        for notice in self.recording.notices:
            self.get_logger().warning(notice)
        overridable = {"qos_overriding_options": qos.overridable()}
        self._cameras = {c.name: c for c in self.recording.cameras}
        check_topic_names(self._cameras)
        self._keypoints = {name: self.create_publisher(bf.Keypoints2D, f"{name}/keypoints", qos.keypoints(), **overridable) for name in self._cameras}
        for camera in self.recording.cameras:
            self.create_publisher(CameraInfo, f"{camera.name}/camera_info", qos.latched(), **overridable).publish(convert.camera_info_msg(camera))
        self._clock_publisher = self.create_publisher(Clock, "/clock", qos.results(10)) if s.clock else None
        self._clock_lap, self._clock_ns = -1, 0
        self._now_ns = 0
        self._zero_shift_ns: int | None = None
        self.pacer = Pacer(
            self._schedule(), self._send, rate=s.rate, ready=self._has_subscribers, delay_s=s.start_delay_s, at_start=self._begin, at_end=self._end
        )
        self.pacer.start()
        self.get_logger().info(f"Ready: {len(self._cameras)} cameras, {len(self.recording.keypoint_set)} keypoints, {self.recording.frame_rate_hz:g} Hz.")

    def close(self) -> None:
        self.pacer.stop()

    def _has_subscribers(self) -> bool:
        return all(p.get_subscription_count() >= self.settings.min_subscribers for p in self._keypoints.values())

    def _begin(self) -> None:
        # The system's time, not the node's clock: that may be our own /clock.
        self._now_ns = time.time_ns()

    def _schedule(self) -> Iterator[tuple[float, tuple[int, KeypointPacket]]]:
        """(seconds, (lap, packet)), lap after lap. Packets come at their arrival times where the recording has them, else at their stamps."""
        lap_start_ns = 0
        for lap in count():
            first = newest = None
            for packet in self.recording.packets():
                at_ns = packet.stamp_ns if packet.received_ns is None else packet.received_ns
                if first is None:
                    first, first_stamp = at_ns, packet.stamp_ns
                newest = at_ns if newest is None else max(newest, at_ns)
                if self.settings.now_stamps:
                    packet = replace(packet, stamp_ns=packet.stamp_ns - first_stamp + self._now_ns + lap_start_ns)
                yield (lap_start_ns + at_ns - first) * 1e-9, (lap, packet)
            if first is None or newest is None:
                raise InputError(f"The recording {self.settings.recording} holds no keypoints.")
            if not self.settings.loop:
                return
            lap_start_ns += newest - first + round(1e9 / self.recording.frame_rate_hz)

    def _send(self, item: tuple[int, KeypointPacket]) -> None:
        lap, packet = item
        # A stamp of 0 means "no stamp" in ROS: recordings that count from 0 are moved by one second.
        stamp_ns = packet.stamp_ns + (0 if self.settings.now_stamps else self._shift_ns(packet))
        # Cameras' stamps come in any order by a little; the clock goes back only where the recording begins again.
        if self._clock_publisher is not None and (lap != self._clock_lap or stamp_ns >= self._clock_ns + CLOCK_STEP_NS):
            self._clock_lap, self._clock_ns = lap, stamp_ns
            self._clock_publisher.publish(Clock(clock=convert.time_msg(stamp_ns)))
        message = convert.keypoints_2d_msg(replace(packet, stamp_ns=stamp_ns), self._cameras[packet.camera], self.recording.keypoint_set)
        self._keypoints[packet.camera].publish(message)

    def _shift_ns(self, packet: KeypointPacket) -> int:
        if self._zero_shift_ns is None:
            self._zero_shift_ns = convert.SECOND_NS if packet.stamp_ns < convert.SECOND_NS else 0
        return self._zero_shift_ns

    def _end(self, problem: Exception | None) -> None:
        if problem is not None:
            self.get_logger().error(str(problem) if isinstance(problem, InputError) else f"{type(problem).__name__}: {problem}")
        self.get_logger().info(f"Sent {self.pacer.sent} messages; the latest was {1e3 * self.pacer.latest_s:.0f} ms late.")
        self.finished = True


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(ReplayNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
