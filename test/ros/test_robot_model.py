"""The URDF follows the person's size: the first at once, later ones when they are written, and robot_state_publisher gets the newest."""

from __future__ import annotations

import time
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


def test_the_urdf_follows_the_sizes() -> None:
    client, published = Client(), []
    node = SimpleNamespace(create_client=lambda kind, name: client, destroy_client=lambda which: None)
    body = load_body_model(None, load_keypoint_set("halpe_26"))
    model = RobotModel(node, SimpleNamespace(publish=lambda message: published.append(message.data)), body)
    first, second = np.zeros(len(body.scale_names)), np.full(len(body.scale_names), 2 * SCALE_CHANGE)
    model.follow(first)
    assert published == [urdf_from_body(body, first)] and not client.got
    model.follow(first + 0.5 * SCALE_CHANGE)
    assert len(published) == 1
    end = time.monotonic() + 30
    while len(published) < 2 and time.monotonic() < end:
        model.follow(second)
        time.sleep(0.01)
    assert published[1:] == [urdf_from_body(body, second)]
    client.ready = True
    model.follow(second)
    assert client.got == [published[-1]] and len(published) == 2
    model.restart()
    model.follow(second)
    assert len(published) == 3
    model.destroy()
