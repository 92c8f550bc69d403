"""Hands the fitted body's URDF to robot_state_publisher, which takes it as a parameter only."""

from __future__ import annotations

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node


class RobotModelUpdater:
    """Sets `robot_description` of a robot_state_publisher, if one runs; never waits for it."""

    def __init__(self, node: Node, name: str = "robot_state_publisher") -> None:
        self._node = node
        self._client = node.create_client(SetParameters, f"{name}/set_parameters")
        self._pending: str | None = None

    def update(self, urdf: str | None = None) -> None:
        """Sends the URDF; where nobody is there yet, it is sent by a later call (without argument)."""
        self._pending = urdf or self._pending
        if self._pending is None or not self._client.service_is_ready():
            return
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=self._pending)
        self._client.call_async(SetParameters.Request(parameters=[Parameter(name="robot_description", value=value)]))
        self._pending = None

    def destroy(self) -> None:
        self._node.destroy_client(self._client)
