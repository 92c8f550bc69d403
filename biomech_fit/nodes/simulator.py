"""simulator_node: a walking subject in front of simulated cameras, as keypoint topics with the truth beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, JointState

from biomech_fit import msg as bf
from biomech_fit.config.node import SimulatorNodeConfig
from biomech_fit.core.types import KeypointPacket
from biomech_fit.formats.calibration import write_calibration
from biomech_fit.ros import convert, parameters, qos
from biomech_fit.ros.audience import Audience
from biomech_fit.ros.pacer import Pacer
from biomech_fit.ros.spin import run_node
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import Simulation, simulate
from biomech_fit.sim.write import write_truth

Item = KeypointPacket | int
"""A packet, or the number of a frame whose truth is due."""


class SimulatorNode(Node):
    """See docs/nodes.md. Simulates when it is made, then sends in real time; `finished` is true at the end. Raises InputError for a bad parameter."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("simulator_node", **kwargs)
        parameters.declare(self, SimulatorNodeConfig(), fixed=True)
        parameters.declare(self, SimConfig(), prefix="sim.", fixed=True)
        self.settings = parameters.read(self, SimulatorNodeConfig())
        config = parameters.read(self, SimConfig(), prefix="sim.")
        self.finished, self.exit_code = False, 0
        self.get_logger().info(f"Simulating {config.seconds:g} s ...")
        self.simulation = simulate(config)
        if self.settings.output:
            write_truth(self.simulation, self.settings.output)
            write_calibration(Path(self.settings.output) / "Calib.toml", self.simulation.cameras)
        overridable = {"qos_overriding_options": qos.overridable()}
        self._keypoints = {
            c.name: self.create_publisher(bf.Keypoints2D, f"{c.name}/keypoints", qos.keypoints(), **overridable) for c in self.simulation.cameras
        }
        self._cameras = {c.name: c for c in self.simulation.cameras}
        for camera in self.simulation.cameras:
            self.create_publisher(CameraInfo, f"{camera.name}/camera_info", qos.latched(), **overridable).publish(convert.camera_info_msg(camera))
        self._truth_joints = self.create_publisher(JointState, "truth/joint_states", qos.results(), **overridable)
        self._truth_points = self.create_publisher(bf.Keypoints3D, "truth/keypoints_3d", qos.results(), **overridable)
        self._truth_events = self.create_publisher(bf.GaitEvent, "truth/gait_events", qos.results(), **overridable)
        self._offset_ns = 0
        self.pacer = Pacer(
            _schedule(self.simulation, self.settings.loop),
            self._send,
            ready=Audience(self, list(self._keypoints.values()), self.settings.min_subscribers),
            delay_s=self.settings.start_delay_s,
            at_start=self._begin,
            at_end=self._end,
        )
        self.pacer.start()
        self.get_logger().info(f"Ready: {len(self._cameras)} cameras, {len(self.simulation.keypoint_set)} keypoints, {config.frame_rate_hz:g} Hz.")

    def close(self) -> None:
        self.pacer.stop()

    def _begin(self) -> None:
        self._offset_ns = self.get_clock().now().nanoseconds
        self.get_logger().info("The walk begins.")

    def _end(self, problem: Exception | None) -> None:
        if problem is not None:
            self.exit_code = 1
            self.get_logger().error(f"Sending ended early: {type(problem).__name__}: {problem}")
        self.get_logger().info(f"Sent {self.pacer.sent} messages; the latest was {1e3 * self.pacer.latest_s:.0f} ms late.")
        self.finished = True

    def _send(self, item: tuple[int, Item]) -> None:
        lap_ns, what = item
        offset_ns = self._offset_ns + lap_ns
        if isinstance(what, KeypointPacket):
            packet = replace(what, stamp_ns=what.stamp_ns + offset_ns)
            self._keypoints[what.camera].publish(convert.keypoints_2d_msg(packet, self._cameras[what.camera], self.simulation.keypoint_set))
            return
        truth, frame = self.simulation.truth, self.settings.world_frame
        stamp_ns = offset_ns + round(truth.time_s[what] * 1e9)
        self._truth_joints.publish(
            JointState(header=convert.header(stamp_ns, ""), name=list(truth.coordinate_names), position=convert.doubles(truth.coordinates[what]))
        )
        self._truth_points.publish(convert.keypoints_3d_msg(stamp_ns, frame, self.simulation.keypoint_set, truth.keypoints[what]))
        last = truth.time_s[what - 1] if what else -np.inf
        for event in truth.events:
            if last < event.stamp_ns * 1e-9 <= truth.time_s[what]:
                self._truth_events.publish(convert.gait_event_msg(replace(event, stamp_ns=event.stamp_ns + offset_ns), frame_id=frame))


def _schedule(simulation: Simulation, loop: bool) -> Iterator[tuple[float, tuple[int, Item]]]:
    """(seconds, (start of the lap in ns, packet or frame number)): packets at their arrival, the truth of a frame after it."""
    time_s = simulation.truth.time_s
    lap_s = len(time_s) / simulation.config.frame_rate_hz
    lap = 0
    while True:
        start_s = lap * lap_s
        start_ns = round(start_s * 1e9)
        frame = 0
        for packet in simulation.packets():
            at_s = 1e-9 * (packet.stamp_ns if packet.received_ns is None else packet.received_ns)
            while frame < len(time_s) and time_s[frame] + 0.5 / simulation.config.frame_rate_hz < at_s:
                yield start_s + time_s[frame] + 0.5 / simulation.config.frame_rate_hz, (start_ns, frame)
                frame += 1
            yield start_s + at_s, (start_ns, packet)
        for rest in range(frame, len(time_s)):
            yield start_s + time_s[rest] + 0.5 / simulation.config.frame_rate_hz, (start_ns, rest)
        if not loop:
            return
        lap += 1


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(SimulatorNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
