"""What the fitter publishes: every result of the pipeline as messages, and nothing that is not finite."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from biomech_fit import msg as bf
from biomech_fit.config.node import FitterNodeConfig
from biomech_fit.core.estimates import CalibrationEstimate, SubjectEstimate
from biomech_fit.core.types import FrameResult, PoseEstimate
from biomech_fit.ros import convert, markers, qos
from biomech_fit.ros.convert_estimates import calibration_msg
from biomech_fit.ros.diagnostics import Diagnostics
from biomech_fit.ros.person_outputs import PersonOutputs
from biomech_fit.ros.robot_model import SCALE_CHANGE, RobotModel
from biomech_fit.ros.setup import FitSetup
from biomech_fit.ros.tf import TransformPublisher
from biomech_fit.ros.worker import FitWorker


class FitterOutputs:
    """The fitter's publishers. `results` is called in the worker's thread, the rest in any."""

    def __init__(self, node: LifecycleNode, setup: FitSetup, settings: FitterNodeConfig, diagnostics: Diagnostics) -> None:
        self._node, self._setup, self._settings = node, setup, settings
        self._publishers = {
            "markers": self._publisher(MarkerArray, "markers"),
            "calibration": self._publisher(bf.CameraCalibrationState, "calibration", latched=True),
            "robot_description": self._publisher(String, "robot_description", latched=True),
        }
        self._tf = TransformPublisher(node, settings.world_frame) if settings.publish_tf else None
        self._robot_model = RobotModel(node, self._publishers["robot_description"], setup.body)
        numbers = range(1, setup.config.stream.max_people + 1)
        self._people = {number: PersonOutputs(node, setup, settings, diagnostics, number, self._tf) for number in numbers}
        self._described: dict[int, np.ndarray] = {}
        self.frames = 0
        self.latencies_s: list[float] = []
        """Of the frames since `take_latencies`."""
        self.dropped_told = 0

    def _publisher(self, kind: type, topic: str, latched: bool = False):
        profile = qos.latched() if latched else qos.results()
        return self._node.create_lifecycle_publisher(kind, topic, profile, qos_overriding_options=qos.overridable())

    def destroy(self) -> None:
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        for person in self._people.values():
            person.destroy()
        self._publishers, self._people = {}, {}
        self._robot_model.destroy()
        if self._tf is not None:
            self._tf.destroy(self._node)

    def results(self, results: list[FrameResult]) -> None:
        """Publishes frames in their order. Where a track ends, the pipeline gives its last smoothed frames without causal ones."""
        for result in results:
            person = self._people[result.person]
            if result.causal is not None or result.smoothed is None:
                if result.person == 1:
                    self.frames += 1
                    self.latencies_s.append(result.latency_s)
                estimate = person.causal(result)
                if estimate is not None:
                    self._markers(person, estimate)
            person.smoothed(result)

    def _marked(self) -> bool:
        """Whether anybody sees markers."""
        return bool(self._publishers["markers"].get_subscription_count()) and bool(self._node.get_parameter("publish_markers").value)

    def _markers(self, person: PersonOutputs, estimate: PoseEstimate) -> None:
        if not self._marked():
            return
        rate_hz, ellipsoids = (self._node.get_parameter(name).value for name in ("marker_rate_hz", "markers.ellipsoids"))
        array = person.markers(estimate, float(rate_hz), bool(ellipsoids))
        if array is not None:
            self._publishers["markers"].publish(array)

    def slow(self, calibration: CalibrationEstimate, bodies: dict[int, SubjectEstimate]) -> Iterator[None]:
        """The slow states, and what follows from them: camera frames, markers, the first person's URDF. `bodies`: by number. In pieces (see
        `FitWorker.spread`)."""
        world = self._settings.world_frame
        self._publishers["calibration"].publish(calibration_msg(calibration, frame_id=world))
        for number, body in bodies.items():
            yield
            self._people[number].subject(body)
            yield
            scales, before = np.asarray(body.scales, float), self._described.get(number)
            if self._marked() and (before is None or np.abs(scales - before).max(initial=0.0) >= SCALE_CHANGE):
                self._described[number] = scales
                self._people[number].set_scales(scales)
        yield
        stamp_ns = calibration.stamp_ns or self._node.get_clock().now().nanoseconds
        if self._marked():
            self._publishers["markers"].publish(markers.camera_markers(calibration.cameras, world, stamp_ns))
        if self._tf is not None:
            self._tf.publish(stamp_ns, [(convert.optical_frame(c.name), convert.camera_pose_msg(c)) for c in calibration.cameras])
        yield
        yield from self._robot_model.follow(np.asarray(bodies[1].scales, float))

    def clear_display(self) -> None:
        """Takes the markers off."""
        self._publishers["markers"].publish(markers.delete_all())

    def restart(self) -> None:
        """After activation or a jump of time: latched things are published again with the next `slow`."""
        self._described = {}
        self._robot_model.restart()
        for person in self._people.values():
            person.restart()

    def take_latencies(self) -> list[float]:
        latencies, self.latencies_s = self.latencies_s, []
        return latencies


def throughput(worker: FitWorker, outputs: FitterOutputs, diagnostics: Diagnostics) -> tuple[str, str, str, dict]:
    """A diagnostic row on how the fit keeps up; frames that were dropped since the last one are a problem of their own."""
    before, outputs.dropped_told = outputs.dropped_told, worker.dropped
    if worker.dropped and worker.dropped != before:
        sentence = "This machine is too slow: frames were dropped before the fit could take them."
        diagnostics.problem("overload", sentence, "error", dropped=worker.dropped)
    latencies = outputs.take_latencies()
    values: dict = {"frames": outputs.frames, "packets_waiting": worker.waiting, "frames_dropped": worker.dropped, "busy_s": worker.busy_s}
    if latencies:
        values |= {f"latency_p{q}_ms": float(np.percentile(latencies, q) * 1e3) for q in (50, 99)}
    return "ok", "throughput", f"{outputs.frames} frames since activation.", values
