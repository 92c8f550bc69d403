"""replay_node: a recording to topics of keypoints, or of 3D points, with the recording's own timing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from biomech_fit.config.node import ReplayNodeConfig
from biomech_fit.core.errors import InputError
from biomech_fit.core.types import KeypointPacket, PointsPacket
from biomech_fit.ros import convert, parameters, qos
from biomech_fit.ros.audience import Audience
from biomech_fit.ros.pacer import Pacer
from biomech_fit.ros.replayed import open_replayed
from biomech_fit.ros.spin import run_node

CLOCK_STEP_NS = 5_000_000

Packet = KeypointPacket | PointsPacket


class ReplayNode(Node):
    """See docs/nodes.md. `finished` is true at the end. Raises InputError for a bad parameter or recording."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("replay_node", **kwargs)
        parameters.declare(self, ReplayNodeConfig(), fixed=True)
        self.settings = s = parameters.read(self, ReplayNodeConfig())
        self.finished, self.exit_code = False, 0
        self.replayed = open_replayed(self, s)
        for notice in self.replayed.notices:
            self.get_logger().warning(notice)
        self._clock_publisher = self.create_publisher(Clock, "/clock", qos.results(10)) if s.clock else None
        self._clock_lap, self._clock_ns = -1, 0
        self._now_ns = 0
        self._zero_shift_ns: int | None = None
        self.pacer = Pacer(
            self._schedule(),
            self._send,
            rate=s.rate,
            ready=Audience(self, self.replayed.publishers, s.min_subscribers),
            delay_s=s.start_delay_s,
            at_start=self._begin,
            at_end=self._end,
        )
        self.pacer.start()
        self.get_logger().info(f"Ready: {self.replayed.what}, {self.replayed.frame_rate_hz:g} Hz.")

    def close(self) -> None:
        self.pacer.stop()

    def _begin(self) -> None:
        # The system's time, not the node's clock: that may be our own /clock.
        self._now_ns = time.time_ns()

    def _schedule(self) -> Iterator[tuple[float, tuple[int, Packet]]]:
        """(seconds, (lap, packet)), lap after lap. Packets come at their arrival times where the recording has them, else at their stamps."""
        lap_start_ns = 0
        for lap in count():
            first = newest = None
            for packet in self.replayed.packets():
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
            lap_start_ns += newest - first + round(1e9 / self.replayed.frame_rate_hz)

    def _send(self, item: tuple[int, Packet]) -> None:
        lap, packet = item
        # A stamp of 0 means "no stamp" in ROS: recordings that count from 0 are moved by one second.
        stamp_ns = packet.stamp_ns + (0 if self.settings.now_stamps else self._shift_ns(packet))
        # Cameras' stamps come in any order by a little; the clock goes back only where the recording begins again.
        if self._clock_publisher is not None and (lap != self._clock_lap or stamp_ns >= self._clock_ns + CLOCK_STEP_NS):
            self._clock_lap, self._clock_ns = lap, stamp_ns
            self._clock_publisher.publish(Clock(clock=convert.time_msg(stamp_ns)))
        self.replayed.send(packet, stamp_ns)

    def _shift_ns(self, packet: Packet) -> int:
        if self._zero_shift_ns is None:
            # Times before 0 are no stamps either: a recording that begins with them begins at one second.
            self._zero_shift_ns = convert.SECOND_NS - min(packet.stamp_ns, 0) if packet.stamp_ns < convert.SECOND_NS else 0
        return self._zero_shift_ns

    def _end(self, problem: Exception | None) -> None:
        if problem is not None:
            self.exit_code = 2 if isinstance(problem, InputError) else 1
            self.get_logger().error(str(problem) if isinstance(problem, InputError) else f"{type(problem).__name__}: {problem}")
        self.get_logger().info(f"Sent {self.pacer.sent} messages; the latest was {1e3 * self.pacer.latest_s:.0f} ms late.")
        self.finished = True


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(ReplayNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
