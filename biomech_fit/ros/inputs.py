"""The fitter's subscriptions: keypoints of every camera, joined by our assembler or by message_filters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from biomech_fit import msg as bf
from biomech_fit.core.errors import InputError
from biomech_fit.core.types import FrameSet, KeypointPacket
from biomech_fit.ros import qos
from biomech_fit.ros.diagnostics import Diagnostics
from biomech_fit.ros.reader import KeypointReader
from biomech_fit.ros.setup import FitSetup
from biomech_fit.ros.sync import Synchroniser, import_message_filters

SLOP_SHARE = 0.4
"""Approximate synchronisation takes stamps within this share of a frame period."""


class KeypointInputs:
    """Subscribes, checks every message and hands packets on. Raises InputError where message_filters is asked for and not installed."""

    def __init__(self, node: Node, setup: FitSetup, diagnostics: Diagnostics) -> None:
        self._node, self._setup, self._diagnostics = node, setup, diagnostics
        self._reader = KeypointReader(setup.cameras, setup.keypoint_set)
        self._subscriptions: list[Any] = []
        self._synchroniser: Synchroniser | None = None
        if setup.config.stream.sync != "deadline":
            import_message_filters()

    def subscribe(self, feed: Callable[[KeypointPacket | FrameSet], None], now_ns: Callable[[], int]) -> None:
        self._feed, self._now_ns = feed, now_ns
        stream = self._setup.config.stream
        names = [camera.name for camera in self._setup.cameras]
        topics = [f"{name}/keypoints" for name in names]
        if stream.sync == "deadline":
            for name, topic in zip(names, topics, strict=True):
                self._add(bf.Keypoints2D, topic, partial(self._receive, name), qos.keypoints())
        else:
            slop_s = SLOP_SHARE / stream.frame_rate_hz
            self._synchroniser = Synchroniser(self._node, bf.Keypoints2D, topics, stream.sync, slop_s, partial(self._receive_set, names))
        for name in names:
            self._add(CameraInfo, f"{name}/camera_info", partial(self._receive_info, name), qos.images())

    def unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        if self._synchroniser is not None:
            self._synchroniser.destroy()
            self._synchroniser = None

    def _add(self, kind: type, topic: str, callback: Callable[[Any], None], profile: Any) -> None:
        self._subscriptions.append(self._node.create_subscription(kind, topic, callback, profile, qos_overriding_options=qos.overridable()))

    def _receive(self, camera: str, message: bf.Keypoints2D) -> None:
        packet = self._checked(camera, message)
        if packet is not None:
            self._feed(packet)

    def _receive_set(self, names: list[str], messages: tuple[bf.Keypoints2D, ...]) -> None:
        """One set of message_filters. Cameras whose message is of no use are missing in it."""
        packets = {name: packet for name, message in zip(names, messages, strict=True) if (packet := self._checked(name, message)) is not None}
        if packets:
            stamps = sorted(packet.stamp_ns for packet in packets.values())
            missing = tuple(name for name in names if name not in packets)
            self._feed(FrameSet(stamps[len(stamps) // 2], packets, missing, self._now_ns()))

    def _checked(self, camera: str, message: bf.Keypoints2D) -> KeypointPacket | None:
        try:
            packet, notice = self._reader.read(message, camera, self._now_ns())
        except InputError as error:
            self._diagnostics.problem(f"keypoints of {camera}", f"{error} The message is dropped.")
            return None
        if notice:
            self._diagnostics.problem(f"points of {camera}", notice)
        return packet

    def _receive_info(self, camera: str, message: CameraInfo) -> None:
        sentence = self._reader.check_info(message, camera)
        if sentence:
            self._diagnostics.problem(f"camera_info of {camera}", sentence)
