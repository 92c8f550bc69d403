"""Waiting for subscribers before the first message is sent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node

PATIENCE_S = 5.0
"""How long it waits without a word. Where some topics have subscribers and no more come for so long, the others are taken for cameras that nobody wants."""


class Audience:
    """Asked again and again; true once every publisher has `least` subscribers, or some have and no more come."""

    def __init__(self, node: Node, publishers: Sequence[Any], least: int) -> None:
        self._node, self._publishers, self._least = node, list(publishers), least
        self._began = self._changed = time.monotonic()
        self._there: set[str] = set()
        self._told = False

    def __call__(self) -> bool:
        now, topics = time.monotonic(), {p.topic_name for p in self._publishers}
        there = {p.topic_name for p in self._publishers if p.get_subscription_count() >= self._least}
        if there != self._there:
            self._there, self._changed = there, now
        if there == topics:
            return True
        lacking = ", ".join(sorted(topics - there))
        if there and now - self._changed > PATIENCE_S:
            self._node.get_logger().warning(f"Begins although nobody listens to: {lacking}.")
            return True
        if not self._told and now - self._began > PATIENCE_S:
            self._told = True
            self._node.get_logger().warning(f"Waits for {self._least} subscribers (min_subscribers) on: {lacking}.")
        return False
