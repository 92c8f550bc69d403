"""The URDF follows the person's size in pieces, and robot_state_publisher gets the newest."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not there")

from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.formats.urdf import urdf_from_body
from biomech_fit.ros.robot_model import SCALE_CHANGE, RobotModel


class Client:
    """Of a robot_state_publisher that comes late."""

    def __init__(self) -> None:
        self.ready, self.got = False, []

    def service_is_ready(self) -> bool:
        return self.ready

    def call_async(self, request) -> None:
        self.got.append(request.parameters[0].value.string_value)


def run(pieces) -> int:
    """How many pauses it made."""
    return sum(1 for _ in pieces)


def test_the_urdf_follows_the_sizes() -> None:
    client, published = Client(), []
    node = SimpleNamespace(create_client=lambda kind, name: client, destroy_client=lambda which: None)
    body = load_body_model(None, load_keypoint_set("halpe_26"))
    model = RobotModel(node, SimpleNamespace(publish=lambda message: published.append(message.data)), body)
    first, second = np.zeros(len(body.scale_names)), np.full(len(body.scale_names), 2 * SCALE_CHANGE)
    assert run(model.follow(first)) > 10
    assert published == [urdf_from_body(body, first)] and not client.got
    assert run(model.follow(first + 0.5 * SCALE_CHANGE)) == 0 and len(published) == 1
    begun = model.follow(second)
    next(begun)
    assert len(published) == 1
    run(begun)
    assert published[1:] == [urdf_from_body(body, second)]
    client.ready = True
    run(model.follow(second))
    assert client.got == [published[-1]] and len(published) == 2
    model.restart()
    run(model.follow(second))
    assert len(published) == 3
    model.destroy()
