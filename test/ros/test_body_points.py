"""Fields of serialized body states, read without making a message of them (ros/cdr.py, ros/body_points.py)."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message

from biomech_fit import msg as bf
from biomech_fit.core.types import Status
from biomech_fit.ros.body_points import BodyPointsReader
from biomech_fit.ros.cdr import CdrReader, stamp_of_serialized
from biomech_fit.ros.convert import floats, time_msg, time_ns


def body_state(rng: np.random.Generator) -> bf.BodyState:
    """Any number of everything, names of any length, so that all alignments occur."""

    def names(count: int) -> list[str]:
        return ["".join(rng.choice(list("abcä_"), rng.integers(0, 9))) for _ in range(count)]

    n, k, j = rng.integers(1, 5), rng.integers(0, 4), rng.integers(0, 4)
    state = bf.BodyState(subject="s" * rng.integers(0, 9), status=int(rng.integers(0, 7)), status_text="t" * rng.integers(0, 9), keypoint_set=names(1)[0])
    state.header.stamp, state.header.frame_id = time_msg(int(rng.integers(0, 2**40))), names(1)[0]
    state.joint_names, state.keypoint_names, state.joint_centre_names = names(n), names(k), names(j)
    state.position, state.velocity, state.position_std = (floats(rng.normal(size=n)) for _ in range(3))
    state.keypoints, state.keypoints_std, state.joint_centres = floats(rng.normal(size=3 * k)), floats(rng.normal(size=3 * k)), floats(rng.normal(size=3 * j))
    state.pelvis.covariance = rng.normal(size=36)
    state.lag_s, state.cameras_used = float(np.float32(rng.normal())), names(2)
    return state


def test_points_of_a_serialized_state_are_those_of_the_message():
    rng, reader = np.random.default_rng(0), BodyPointsReader()
    for state in [body_state(rng) for _ in range(100)]:
        message = serialize_message(state)
        points = reader.read(message)
        assert points.stamp_ns == time_ns(state.header.stamp) == stamp_of_serialized(message)
        assert (points.frame_id, points.subject, points.status) == (state.header.frame_id, state.subject, Status(state.status))
        assert points.keypoint_names == tuple(state.keypoint_names) and points.joint_centre_names == tuple(state.joint_centre_names)
        assert [v for k in range(len(points.keypoint_names)) for v in points.keypoints[k]] == list(state.keypoints)
        assert [v for k in range(len(points.joint_centre_names)) for v in points.joint_centres[k]] == list(state.joint_centres)
        assert points.lag_s == state.lag_s


def test_names_that_are_known_are_told_from_names_that_begin_alike():
    state, reader = body_state(np.random.default_rng(1)), BodyPointsReader()
    for names in (["RHeel", "LHeel"], ["RHeel", "LHeal"], ["RHeel"], [], ["RHeel", "LHeel", "x"], ["RHeel", "LHeel"]):
        state.keypoint_names, state.keypoints = names, floats(np.arange(3.0 * len(names)))
        points = reader.read(serialize_message(state))
        assert points.keypoint_names == tuple(names) and [points.keypoints[k][2] for k in range(len(names))] == [3.0 * k + 2 for k in range(len(names))]


def test_a_state_that_is_only_a_status_has_no_points():
    assert BodyPointsReader().read(serialize_message(bf.BodyState(status=2, status_text="No person is in view."))) is None


def test_a_broken_message_is_a_value_error_and_not_a_wrong_state():
    state = body_state(np.random.default_rng(2))
    message = serialize_message(state)
    for length in range(5, len(message) - 60, 7):  # what follows lag_s is not read
        with pytest.raises(ValueError, match="ends too early"):
            BodyPointsReader().read(message[:length])
    with pytest.raises(ValueError, match="not plain CDR"):
        BodyPointsReader().read(b"\0\7" + message[2:])
    state.keypoints = floats([1.0, 2.0])
    with pytest.raises(ValueError, match="2 coordinates for"):
        BodyPointsReader().read(serialize_message(state))


def test_numbers_in_the_other_order_of_bytes():
    """A message of a machine with the most significant byte first."""
    message = b"\0\0\0\0" + struct.pack(">iIBxxxI4sIff", 5, 7, 3, 4, b"abc\0", 2, 1.5, -2.0)
    cdr = CdrReader(message)
    cdr.skip(4, 2)
    assert (stamp_of_serialized(message), cdr.byte(), cdr.string(), cdr.count()) == (5_000_000_007, 3, "abc", 2)


def test_the_reader_reads_every_field_up_to_the_lag():
    """A field that is added before lag_s would shift all that follows: the fields and their types as the reader has them."""
    fields = list(deserialize_message(serialize_message(bf.BodyState()), bf.BodyState).get_fields_and_field_types().items())
    last = [name for name, _ in fields].index("lag_s")
    assert [kind for _, kind in fields[: last + 1]] == [
        "std_msgs/Header", "string", "uint8", "string", "sequence<string>", "sequence<float>", "sequence<float>", "sequence<float>",
        "geometry_msgs/PoseWithCovariance", "string", "sequence<string>", "sequence<float>", "sequence<float>", "sequence<string>", "sequence<float>", "float",
    ]  # fmt: skip
