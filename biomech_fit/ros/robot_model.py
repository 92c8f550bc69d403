"""The fitted body's URDF: on robot_description, and handed to robot_state_publisher, which takes it as a parameter only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from std_msgs.msg import String

from biomech_fit.core.body import BodyModel
from biomech_fit.formats.urdf import urdf_in_pieces

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
        self.restart()

    def restart(self) -> None:
        """Publish it again with the next `follow`."""
        self._scales: np.ndarray | None = None
        self._pending: str | None = None

    def follow(self, scales: np.ndarray) -> Iterator[None]:
        """Scale parameters (S,), now and then. In pieces: a URDF takes as long as several frames."""
        if self._scales is None or np.abs(scales - self._scales).max(initial=0.0) >= SCALE_CHANGE:
            self._scales = scales
            urdf = yield from urdf_in_pieces(self._body, scales)
            self._publisher.publish(String(data=urdf))
            self._pending = urdf
        self._hand_over()

    def _hand_over(self) -> None:
        """Where no robot_state_publisher is there yet, a later call does it."""
        if self._pending is None or not self._client.service_is_ready():
            return
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=self._pending)
        self._client.call_async(SetParameters.Request(parameters=[Parameter(name="robot_description", value=value)]))
        self._pending = None

    def destroy(self) -> None:
        self._node.destroy_client(self._client)
