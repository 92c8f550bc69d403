"""The fitted body's URDF: on robot_description, and handed to robot_state_publisher, which takes it as a parameter only."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from std_msgs.msg import String

from biomech_fit.core.body import BodyModel
from biomech_fit.formats.urdf import urdf_from_body

SCALE_CHANGE = 0.01
"""The URDF is written anew when a scale has changed by this much."""


class RobotModel:
    """Keeps the URDF as large as the person is.

    Args:
        node: makes the client of robot_state_publisher; where none runs, nobody is waited for.
        publisher: of robot_description.
        body: whose sizes are fitted.
        name: of the robot_state_publisher.
    """

    def __init__(self, node: Node, publisher: Any, body: BodyModel, name: str = "robot_state_publisher") -> None:
        self._node, self._publisher, self._body = node, publisher, body
        self._client = node.create_client(SetParameters, f"{name}/set_parameters")
        self._pool = ThreadPoolExecutor(1, "urdf")
        self.restart()

    def restart(self) -> None:
        """Publish it again with the next `follow`."""
        self._scales: np.ndarray | None = None
        self._written: Future[str] | None = None
        self._pending: str | None = None

    def follow(self, scales: np.ndarray) -> None:
        """Scale parameters (S,), now and then. The first URDF is out at once; later ones are written in the background, since frames would wait for as long
        as two of them last, and are out with a later call."""
        if self._written is not None and self._written.done():
            written, self._written = self._written, None
            self._tell(written.result())
        if self._scales is None:
            self._scales = scales
            self._tell(urdf_from_body(self._body, scales))
        elif self._written is None and np.abs(scales - self._scales).max(initial=0.0) >= SCALE_CHANGE:
            self._scales = scales
            self._written = self._pool.submit(urdf_from_body, self._body, scales)
        self._hand_over()

    def _tell(self, urdf: str) -> None:
        self._publisher.publish(String(data=urdf))
        self._pending = urdf

    def _hand_over(self) -> None:
        """Where no robot_state_publisher is there yet, a later call does it."""
        if self._pending is None or not self._client.service_is_ready():
            return
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=self._pending)
        self._client.call_async(SetParameters.Request(parameters=[Parameter(name="robot_description", value=value)]))
        self._pending = None

    def destroy(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._node.destroy_client(self._client)
