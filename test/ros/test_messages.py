"""The generated messages: the promised fields, constants that agree with the core, a round trip over DDS, and no environment variables needed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs rclpy (the [ros] extra or a ROS 2 workspace)")
pytest.importorskip("biomech_fit.msg", reason="needs the built messages (make install, or colcon build)")

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import deserialize_message, serialize_message

from biomech_fit import msg
from biomech_fit.core.types import STATUS_SENTENCE, EventType, Side, Status

ROOT = Path(__file__).parents[2]

# Fields that users were promised, with their ROS types.
PROMISED = {
    "Keypoints2D": {
        "header": "std_msgs/Header",
        "camera": "string",
        "keypoint_set": "string",
        "width": "uint32",
        "height": "uint32",
        "person_ids": "sequence<int32>",
        "xy": "sequence<float>",
        "confidence": "sequence<float>",
    },
    "Keypoints3D": {
        "header": "std_msgs/Header",
        "keypoint_set": "string",
        "names": "sequence<string>",
        "person_ids": "sequence<int32>",
        "xyz": "sequence<float>",
        "sigma": "sequence<float>",
    },
    "BodyState": {
        "header": "std_msgs/Header",
        "subject": "string",
        "joint_names": "sequence<string>",
        "position": "sequence<float>",
        "velocity": "sequence<float>",
        "position_std": "sequence<float>",
        "pelvis": "geometry_msgs/PoseWithCovariance",
        "keypoints": "sequence<float>",
        "status": "uint8",
        "status_text": "string",
        "lag_s": "float",
        "latency_s": "float",
        "reprojection_rms_px": "float",
        "cameras_used": "sequence<string>",
        "cameras_missing": "sequence<string>",
    },
    "GaitEvent": {
        "header": "std_msgs/Header",
        "subject": "string",
        "type": "uint8",
        "side": "uint8",
        "position": "geometry_msgs/Point",
        "time_std_s": "float",
        "confidence": "float",
        "detection_delay": "builtin_interfaces/Duration",
    },
    "StepParameters": {"header": "std_msgs/Header", "side": "uint8", "step_length_m": "float", "speed_m_per_s": "float", "step_length_std_m": "float"},
    "GaitSummary": {"header": "std_msgs/Header", "names": "sequence<string>", "mean": "sequence<float>", "sd": "sequence<float>", "cv": "sequence<float>"},
    "CameraCalibrationState": {"cameras": "sequence<string>", "poses": "sequence<geometry_msgs/Pose>", "covariance": "sequence<double>"},
    "SubjectModel": {"scale_names": "sequence<string>", "scales": "sequence<float>", "keypoint_offsets": "sequence<float>"},
}


@pytest.mark.parametrize("name", PROMISED)
def test_promised_fields(name: str) -> None:
    fields = getattr(msg, name).get_fields_and_field_types()
    assert {field: fields.get(field) for field in PROMISED[name]} == PROMISED[name]


def test_every_file_in_msg_is_generated() -> None:
    assert {path.stem for path in (ROOT / "msg").glob("*.msg")} == set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_arrays_are_flat(name: str) -> None:
    """Nested messages cost 5 to 45 times as much as flat arrays in Python; the few latched camera poses are the exception."""
    nested = [field for field, kind in getattr(msg, name).get_fields_and_field_types().items() if kind.startswith("sequence<") and "/" in kind]
    assert nested in ([], ["poses"])


def test_the_built_messages_are_those_of_the_source_tree() -> None:
    """A stale build shows as a field that the source no longer has, or the other way round."""
    for path in (ROOT / "msg").glob("*.msg"):
        lines = [line.split("#")[0].split() for line in path.read_text(encoding="utf-8").splitlines()]
        declared = [words[1] for words in lines if len(words) == 2 and "=" not in words[1]]
        assert declared == list(getattr(msg, path.stem).get_fields_and_field_types()), path.name


def test_constants_agree_with_the_core() -> None:
    constants = {name.removeprefix("STATUS_"): getattr(msg.BodyState, name) for name in dir(msg.BodyState) if name.startswith("STATUS_")}
    assert constants == {status.name: status.value for status in Status}
    assert set(STATUS_SENTENCE) == set(Status)
    assert {kind.name: getattr(msg.GaitEvent, kind.name) for kind in EventType} == {kind.name: kind.value for kind in EventType}
    for message in (msg.GaitEvent, msg.StepParameters):
        assert {side.name: getattr(message, side.name) for side in Side} == {side.name: side.value for side in Side}


def keypoints_message() -> msg.Keypoints2D:
    message = msg.Keypoints2D(camera="cam_1", keypoint_set="halpe_26", width=1280, height=720, person_ids=[-1])
    message.header.frame_id = "cam_1_optical_frame"
    message.header.stamp.sec, message.header.stamp.nanosec = 12, 345
    message.xy = np.array([[10.5, np.nan]] * 26, np.float32).ravel()
    message.confidence = np.linspace(0, 1, 26, dtype=np.float32)
    return message


def test_serialisation_keeps_missing_points() -> None:
    message = deserialize_message(serialize_message(keypoints_message()), msg.Keypoints2D)
    xy = np.asarray(message.xy).reshape(1, 26, 2)
    assert np.isnan(xy[..., 1]).all()
    np.testing.assert_array_equal(xy[..., 0], np.float32(10.5))


def test_round_trip_over_dds() -> None:
    context = Context()
    rclpy.init(context=context, domain_id=1 + os.getpid() % 100)
    try:
        node = rclpy.create_node("message_test", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        received: list[msg.Keypoints2D] = []
        node.create_subscription(msg.Keypoints2D, "keypoints", received.append, 10)
        publisher = node.create_publisher(msg.Keypoints2D, "keypoints", 10)
        deadline = time.monotonic() + 10
        while not received and time.monotonic() < deadline:
            publisher.publish(keypoints_message())
            executor.spin_once(timeout_sec=0.1)
        assert received, "no message came back within 10 s"
        assert (received[0].camera, received[0].header.stamp.sec, len(received[0].xy)) == ("cam_1", 12, 52)
        executor.shutdown()
        node.destroy_node()
    finally:
        context.try_shutdown()


@pytest.mark.skipif("AMENT_PREFIX_PATH" in os.environ, reason="a sourced ROS 2 workspace lives by environment variables")
def test_no_environment_variable_is_needed(tmp_path: Path) -> None:
    """From outside the source tree as well: messages from site-packages, modules from where the package is installed."""
    code = "from biomech_fit.msg import BodyState; from rclpy.serialization import serialize_message; print(len(serialize_message(BodyState())))"
    for folder in (ROOT, tmp_path):
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, env={}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) > 0
