"""Transforms on /tf, where tf2_msgs is installed (it is not among the pip wheels)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import Pose, Transform, TransformStamped, Vector3
from rclpy.node import Node

from biomech_fit.ros import qos
from biomech_fit.ros.convert import header

try:
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None


class TransformPublisher:
    """Publishes poses as transforms from one parent frame; does nothing where tf2_msgs is not installed."""

    def __init__(self, node: Node, parent_frame: str) -> None:
        self._parent = parent_frame
        self._publisher: Any = None
        if TFMessage is None:
            node.get_logger().info("tf2_msgs is not installed: /tf is not published.")
        else:
            self._publisher = node.create_publisher(TFMessage, "/tf", qos.results(100), qos_overriding_options=qos.overridable())

    @property
    def available(self) -> bool:
        return self._publisher is not None

    def publish(self, stamp_ns: int, poses: Sequence[tuple[str, Pose]]) -> None:
        """(child frame, pose of the child in the parent) at one instant."""
        if self._publisher is None or not poses:
            return
        self._publisher.publish(TFMessage(transforms=[transform(stamp_ns, self._parent, child, pose) for child, pose in poses]))

    def destroy(self, node: Node) -> None:
        if self._publisher is not None:
            node.destroy_publisher(self._publisher)
            self._publisher = None


def transform(stamp_ns: int, parent: str, child: str, pose: Pose) -> TransformStamped:
    p = pose.position
    return TransformStamped(
        header=header(stamp_ns, parent), child_frame_id=child, transform=Transform(translation=Vector3(x=p.x, y=p.y, z=p.z), rotation=pose.orientation)
    )
