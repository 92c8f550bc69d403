"""What the fitter publishes of one person: joint states, body states, markers, the pelvis' frame and the subject model."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import Pose
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import JointState
from visualization_msgs.msg import MarkerArray

from biomech_fit import msg as bf
from biomech_fit.config.node import FitterNodeConfig
from biomech_fit.core.estimates import SubjectEstimate
from biomech_fit.core.types import FrameResult, PoseEstimate
from biomech_fit.ros import convert, markers, qos
from biomech_fit.ros.convert_estimates import subject_msg
from biomech_fit.ros.diagnostics import Diagnostics
from biomech_fit.ros.setup import FitSetup
from biomech_fit.ros.tf import TransformPublisher

TOPICS: tuple[tuple[str, type, bool], ...] = (
    ("joint_states", JointState, False),
    ("body_state", bf.BodyState, False),
    ("body_state_smoothed", bf.BodyState, False),
    ("subject_model", bf.SubjectModel, True),
)
"""Name, type, latched."""


class PersonOutputs:
    """One person's publishers. The first person's are on the plain names, and where several people can be tracked everybody's in `people/person_<number>/`."""

    def __init__(
        self, node: LifecycleNode, setup: FitSetup, settings: FitterNodeConfig, diagnostics: Diagnostics, number: int, tf: TransformPublisher | None
    ) -> None:
        self._node, self._setup, self._settings, self._diagnostics, self._number, self._tf = node, setup, settings, diagnostics, number, tf
        several = setup.config.stream.max_people > 1
        prefixes = [*([""] if number == 1 else []), *([f"people/person_{number}/"] if several else [])]
        self._publishers = {name: [self._publisher(prefix + name, kind, latched) for prefix in prefixes] for name, kind, latched in TOPICS}
        self._name = setup.subject_name if number == 1 else f"person_{number}"
        self._frame_prefix = settings.frame_prefix if number == 1 else f"{settings.frame_prefix}person_{number}/"
        self._root = setup.body.mj_model.body(int(setup.body.mj_model.jnt_bodyid[0])).name if setup.body.has_free_root else None
        self._markers = markers.BodyMarkers(setup.body, setup.keypoint_set, settings.world_frame, number)
        self._last_marker_ns: int | None = None

    def _publisher(self, topic: str, kind: type, latched: bool) -> Any:
        profile = qos.latched() if latched else qos.results()
        return self._node.create_lifecycle_publisher(kind, topic, profile, qos_overriding_options=qos.overridable())

    def destroy(self) -> None:
        for publishers in self._publishers.values():
            for publisher in publishers:
                self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}

    def restart(self) -> None:
        self._last_marker_ns = None

    def set_scales(self, scales: np.ndarray) -> None:
        """Sizes of the body for the markers, (S,) additive to 1."""
        self._markers.set_scales(scales)

    def causal(self, result: FrameResult) -> PoseEstimate | None:
        """The newest frame; where there is no estimate, that and why. Returns the pose that was published."""
        estimate = result.causal
        if estimate is None or not self._is_finite(estimate):
            self._publish(
                "body_state",
                convert.empty_body_state_msg(
                    result.stamp_ns,
                    result.status,
                    frame_id=self._settings.world_frame,
                    subject=self._name,
                    latency_s=result.latency_s,
                    cameras_missing=result.cameras_missing if estimate is None else estimate.cameras_missing,
                ),
            )
            return None
        joints = convert.joint_state_msg(estimate, self._setup.body.coordinate_names)
        if joints is not None:
            self._publish("joint_states", joints)
        self._state("body_state", estimate, result)
        if self._tf is not None and self._tf.available and self._root is not None:
            pose = Pose(position=convert.point_msg(estimate.pelvis_position), orientation=convert.quaternion_msg(estimate.pelvis_quat_wxyz))
            self._tf.publish(estimate.stamp_ns, [(self._frame_prefix + self._root, pose)])
        return estimate

    def smoothed(self, result: FrameResult) -> None:
        if result.smoothed is not None and self._is_finite(result.smoothed):
            self._state("body_state_smoothed", result.smoothed, result)

    def markers(self, estimate: PoseEstimate, rate_hz: float, ellipsoids: bool) -> MarkerArray | None:
        """The body's markers; None where the last ones are not old enough."""
        period_ns = 1e9 / rate_hz
        if self._last_marker_ns is not None and abs(estimate.stamp_ns - self._last_marker_ns) <= 0.9 * period_ns:
            return None
        self._last_marker_ns = estimate.stamp_ns
        return self._markers.array(estimate, ellipsoids)

    def subject(self, subject: SubjectEstimate) -> None:
        self._publish("subject_model", subject_msg(subject, self._setup.body, self._setup.keypoint_set))

    def _state(self, topic: str, estimate: PoseEstimate, result: FrameResult) -> None:
        message = convert.body_state_msg(
            estimate,
            self._setup.body,
            self._setup.keypoint_set,
            frame_id=self._settings.world_frame,
            subject=self._name,
            latency_s=result.latency_s,
        )
        self._publish(topic, message)

    def _publish(self, topic: str, message: Any) -> None:
        for publisher in self._publishers[topic]:
            publisher.publish(message)

    def _is_finite(self, estimate: PoseEstimate) -> bool:
        bad = convert.missing_values(estimate, self._setup.body)
        if bad:
            self._diagnostics.problem("estimate", f"A result was not published because it has no finite value for {', '.join(bad[:8])}.", "error")
        return not bad
