"""What the fitter publishes: every result of the pipeline as messages, and nothing that is not finite."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Pose
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from biomech_fit import msg as bf
from biomech_fit.config.node import FitterNodeConfig
from biomech_fit.core.estimates import CalibrationEstimate, SubjectEstimate
from biomech_fit.core.types import FrameResult, PoseEstimate
from biomech_fit.formats.urdf import urdf_from_body
from biomech_fit.ros import convert, markers, qos
from biomech_fit.ros.convert_estimates import calibration_msg, subject_msg
from biomech_fit.ros.diagnostics import Diagnostics
from biomech_fit.ros.robot_model import RobotModelUpdater
from biomech_fit.ros.setup import FitSetup
from biomech_fit.ros.tf import TransformPublisher
from biomech_fit.ros.worker import FitWorker

SCALE_CHANGE = 0.01
"""robot_description is published anew when a scale has changed by this much."""


class FitterOutputs:
    """The fitter's publishers. `results` is called in the worker's thread, the rest in any."""

    def __init__(self, node: LifecycleNode, setup: FitSetup, settings: FitterNodeConfig, diagnostics: Diagnostics) -> None:
        self._node, self._setup, self._settings, self._diagnostics = node, setup, settings, diagnostics
        self._publishers = {
            "joint_states": self._publisher(JointState, "joint_states"),
            "body_state": self._publisher(bf.BodyState, "body_state"),
            "body_state_smoothed": self._publisher(bf.BodyState, "body_state_smoothed"),
            "markers": self._publisher(MarkerArray, "markers"),
            "calibration": self._publisher(bf.CameraCalibrationState, "calibration", latched=True),
            "subject_model": self._publisher(bf.SubjectModel, "subject_model", latched=True),
            "robot_description": self._publisher(String, "robot_description", latched=True),
        }
        self._tf = TransformPublisher(node, settings.world_frame) if settings.publish_tf else None
        self._robot_model = RobotModelUpdater(node)
        self._body_markers = markers.BodyMarkers(setup.body, setup.keypoint_set, settings.world_frame)
        self._root = setup.body.mj_model.body(int(setup.body.mj_model.jnt_bodyid[0])).name if setup.body.has_free_root else None
        self._last_marker_ns: int | None = None
        self._described: np.ndarray | None = None
        self.frames = 0
        self.latencies_s: list[float] = []
        """Of the frames since `take_latencies`."""

    def _publisher(self, kind: type, topic: str, latched: bool = False):
        profile = qos.latched() if latched else qos.results()
        return self._node.create_lifecycle_publisher(kind, topic, profile, qos_overriding_options=qos.overridable())

    def destroy(self) -> None:
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}
        self._robot_model.destroy()
        if self._tf is not None:
            self._tf.destroy(self._node)

    def results(self, results: list[FrameResult]) -> None:
        """Publishes frames in their order. Where a track ends, the pipeline gives its last smoothed frames without causal ones."""
        for result in results:
            if result.causal is not None or result.smoothed is None:
                self.frames += 1
                self.latencies_s.append(result.latency_s)
                self._causal(result)
            if result.smoothed is not None and self._is_finite(result.smoothed):
                self._publish_state("body_state_smoothed", result.smoothed, result)

    def _causal(self, result: FrameResult) -> None:
        estimate = result.causal
        if estimate is None or not self._is_finite(estimate):
            self._publishers["body_state"].publish(
                convert.empty_body_state_msg(
                    result.stamp_ns, result.status, frame_id=self._settings.world_frame, subject=self._setup.subject_name, latency_s=result.latency_s
                )
            )
            return
        joints = convert.joint_state_msg(estimate, self._setup.body.coordinate_names)
        if joints is not None:
            self._publishers["joint_states"].publish(joints)
        self._publish_state("body_state", estimate, result)
        self._publish_tf(estimate)
        period_ns = 1e9 / self._settings.marker_rate_hz
        if self._settings.publish_markers and (self._last_marker_ns is None or abs(estimate.stamp_ns - self._last_marker_ns) > 0.9 * period_ns):
            self._last_marker_ns = estimate.stamp_ns
            if self._publishers["markers"].get_subscription_count():
                ellipsoids = bool(self._node.get_parameter("markers.ellipsoids").value)
                self._publishers["markers"].publish(self._body_markers.array(estimate, ellipsoids))

    def _publish_state(self, topic: str, estimate: PoseEstimate, result: FrameResult) -> None:
        self._publishers[topic].publish(
            convert.body_state_msg(
                estimate,
                self._setup.body,
                self._setup.keypoint_set,
                frame_id=self._settings.world_frame,
                subject=self._setup.subject_name,
                latency_s=result.latency_s,
            )
        )

    def _publish_tf(self, estimate: PoseEstimate) -> None:
        if self._tf is None or not self._tf.available or self._root is None:
            return
        pose = Pose(position=convert.point_msg(estimate.pelvis_position), orientation=convert.quaternion_msg(estimate.pelvis_quat_wxyz))
        self._tf.publish(estimate.stamp_ns, [(self._settings.frame_prefix + self._root, pose)])

    def _is_finite(self, estimate: PoseEstimate) -> bool:
        bad = convert.missing_values(estimate, self._setup.body)
        if bad:
            self._diagnostics.problem("estimate", f"A result was not published because it has no finite value for {', '.join(bad[:8])}.", "error")
        return not bad

    def slow(self, calibration: CalibrationEstimate, subject: SubjectEstimate) -> None:
        """The slow states, and what follows from them: camera frames, markers, URDF."""
        world = self._settings.world_frame
        self._publishers["calibration"].publish(calibration_msg(calibration, frame_id=world))
        self._publishers["subject_model"].publish(subject_msg(subject, self._setup.body, self._setup.keypoint_set))
        scales = np.asarray(subject.scales, float)
        if self._described is None or np.abs(scales - self._described).max(initial=0.0) >= SCALE_CHANGE:
            self._described = scales
            self._body_markers.set_scales(scales)
            urdf = urdf_from_body(self._setup.body, scales)
            self._publishers["robot_description"].publish(String(data=urdf))
            self._robot_model.update(urdf)
        self._robot_model.update()
        stamp_ns = calibration.stamp_ns or self._node.get_clock().now().nanoseconds
        if self._settings.publish_markers:
            self._publishers["markers"].publish(markers.camera_markers(calibration.cameras, world, stamp_ns))
        if self._tf is not None:
            self._tf.publish(stamp_ns, [(convert.optical_frame(c.name), convert.camera_pose_msg(c)) for c in calibration.cameras])

    def restart(self) -> None:
        """After activation or a jump of time: latched things are published again with the next `slow`."""
        self._described, self._last_marker_ns = None, None

    def take_latencies(self) -> list[float]:
        latencies, self.latencies_s = self.latencies_s, []
        return latencies


def throughput(worker: FitWorker, outputs: FitterOutputs, diagnostics: Diagnostics) -> tuple[str, str, str, dict]:
    """A diagnostic row on how the fit keeps up; dropped packets are a problem of their own."""
    if worker.dropped:
        sentence = "This machine is too slow: packets were dropped before the fit could take them."
        diagnostics.problem("overload", sentence, "error", dropped=worker.dropped)
    latencies = outputs.take_latencies()
    values: dict = {"frames": outputs.frames, "packets_waiting": worker.waiting, "packets_dropped": worker.dropped, "busy_s": worker.busy_s}
    if latencies:
        values |= {f"latency_p{q}_ms": float(np.percentile(latencies, q) * 1e3) for q in (50, 99)}
    return "ok", "throughput", f"{outputs.frames} frames since activation.", values
