"""Quality of service of our topics. Every profile can be overridden by parameters (``qos_overrides.<topic>.publisher.depth`` ...)."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

KEYPOINTS_DEPTH = 60
"""Frames of one camera: at 60 Hz a second of grace while the process is busy."""


def keypoints() -> QoSProfile:
    """Sensor data: best effort (a late frame is worthless), deeper than the stock profile."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=KEYPOINTS_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)


def results(depth: int = 60) -> QoSProfile:
    """Results: reliable."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)


def latched() -> QoSProfile:
    """Static things: reliable, and the last one is given to whoever subscribes later."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def images() -> QoSProfile:
    """Camera images: best effort, so that any camera driver's profile matches."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)


def overridable() -> QoSOverridingOptions:
    """History, depth, reliability and durability as parameters of the node."""
    return QoSOverridingOptions.with_default_policies()
