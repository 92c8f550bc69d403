"""Frames of several cameras joined by message_filters instead of our assembler, for those who ask for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node

from biomech_fit.core.errors import InputError
from biomech_fit.ros import qos


def import_message_filters() -> Any:
    """The optional package. Raises InputError where it is not installed."""
    try:
        import message_filters
    except ImportError:
        raise InputError(
            "Parameter fit.stream.sync is approximate or exact, which needs the ROS package message_filters; install it, or use deadline."
        ) from None
    return message_filters


class Synchroniser:
    """Subscribes to one topic per camera and calls back with complete sets only.

    Args:
        topics: one per camera.
        mode: approximate (stamps within `slop_s`) or exact (equal stamps).
        slop_s: largest difference of the stamps within a set; sensibly less than half a frame period.
        callback: gets the messages of one set, in the order of the topics.

    Raises:
        InputError: message_filters is not installed, or the mode is unknown.
    """

    def __init__(
        self, node: Node, message_type: type, topics: Sequence[str], mode: str, slop_s: float, callback: Callable[[tuple], None], queue: int = 30
    ) -> None:
        filters = import_message_filters()
        self._node = node
        self._subscribers = [filters.Subscriber(node, message_type, topic, qos_profile=qos.keypoints()) for topic in topics]
        if mode == "exact":
            self._filter = filters.TimeSynchronizer(self._subscribers, queue)
        elif mode == "approximate":
            self._filter = filters.ApproximateTimeSynchronizer(self._subscribers, queue, slop_s)
        else:
            raise InputError(f"The synchronisation {mode!r} is not one of approximate, exact.")
        self._filter.registerCallback(lambda *messages: callback(messages))

    def destroy(self) -> None:
        for subscriber in self._subscribers:
            self._node.destroy_subscription(subscriber.sub)
        self._subscribers = []
