"""The fitter's subscription to 3D points, for a run without cameras: checked messages to packets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node

from biomech_fit import msg as bf
from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.types import PointsPacket
from biomech_fit.ros import qos
from biomech_fit.ros.convert import time_ns
from biomech_fit.ros.diagnostics import Diagnostics
from biomech_fit.ros.inputs import KeypointInputs
from biomech_fit.ros.same_set import SameSet
from biomech_fit.ros.setup import FitSetup

TOPIC = "keypoints_3d"


class PointReader:
    """Checks Keypoints3D messages against the keypoint set and the world frame of this run."""

    def __init__(self, keypoint_set: KeypointSet, world_frame: str) -> None:
        self._set, self._frame = keypoint_set, world_frame
        self._same_set = SameSet(keypoint_set.name)
        # A name goes before another keypoint's other name.
        self._places = {name.lower(): k for k in range(len(keypoint_set)) for name in keypoint_set.names_of(k)[1:]}
        self._places |= {name.lower(): k for k, name in enumerate(keypoint_set.names)}
        self._columns: dict[tuple[str, ...], np.ndarray] = {}

    def read(self, message: bf.Keypoints3D, received_ns: int) -> PointsPacket:
        """The packet. Points whose names the set lacks are left out; those that the message lacks are missing.

        Raises InputError: the message is of no use.
        """
        stamp = time_ns(message.header.stamp)
        if stamp <= 0:
            raise InputError("3D points have no stamp; it must be the time of the exposure.")
        if message.header.frame_id not in ("", self._frame):
            raise InputError(f"3D points are in the frame '{message.header.frame_id}', but the world frame is '{self._frame}' (parameter world_frame).")
        columns = self._of_set(message)
        given = len(columns)
        xyz, sigma = np.array(message.xyz, np.float32), np.array(message.sigma, np.float32)
        people = len(message.person_ids) or -(-len(xyz) // (3 * given))
        if len(xyz) != people * given * 3 or (len(sigma) and len(sigma) != people * given):
            raise InputError(
                f"3D points have {len(xyz)} coordinates and {len(sigma)} standard deviations for {people} people with {given} points; "
                f"{people * given * 3} and {people * given} (or none) are needed."
            )
        ids = np.array(message.person_ids, np.int32) if len(message.person_ids) else np.full(people, -1, np.int32)
        whole, uncertain = np.full((people, len(self._set), 3), np.nan, np.float32), None
        known = columns >= 0
        whole[:, columns[known]] = xyz.reshape(people, given, 3)[:, known]
        if len(sigma):
            uncertain = np.full((people, len(self._set)), np.nan, np.float32)
            uncertain[:, columns[known]] = sigma.reshape(people, given)[:, known]
        return PointsPacket(stamp, whole, uncertain, ids, received_ns)

    def _of_set(self, message: bf.Keypoints3D) -> np.ndarray:
        """(points of the message,) their places in the set; -1 = the set lacks them."""
        if message.keypoint_set:
            self._same_set.check(message.keypoint_set, "3D points")
            return np.arange(len(self._set))
        names = tuple(message.names)
        if names not in self._columns:
            columns = np.array([self._places.get(n.lower(), -1) for n in names], int)
            if not (columns >= 0).any():
                said = f"their names ({', '.join(names[:6])} ...)" if names else "no names"
                raise InputError(f"3D points came without a keypoint set and with {said} that {self._set.name} does not have.")
            if len(self._columns) > 16:
                self._columns.clear()
            self._columns[names] = columns
        return self._columns[names]


def make_inputs(node: Node, setup: FitSetup, diagnostics: Diagnostics, world_frame: str) -> KeypointInputs | PointInputs:
    """The subscriptions that this run needs."""
    return KeypointInputs(node, setup, diagnostics) if setup.cameras else PointInputs(node, setup, diagnostics, world_frame)


class PointInputs:
    """Subscribes to `keypoints_3d`, checks every message and hands packets on."""

    def __init__(self, node: Node, setup: FitSetup, diagnostics: Diagnostics, world_frame: str) -> None:
        self._node, self._diagnostics = node, diagnostics
        self._reader = PointReader(setup.keypoint_set, world_frame)
        self._subscription: Any = None

    def subscribe(self, feed: Callable[[PointsPacket], None], now_ns: Callable[[], int]) -> None:
        def receive(message: bf.Keypoints3D) -> None:
            try:
                packet = self._reader.read(message, now_ns())
            except InputError as error:
                self._diagnostics.problem(TOPIC, f"{error} The message is dropped.")
            else:
                feed(packet)

        self._subscription = self._node.create_subscription(bf.Keypoints3D, TOPIC, receive, qos.keypoints(), qos_overriding_options=qos.overridable())

    def unsubscribe(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
