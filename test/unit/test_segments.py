"""Segment lengths of a scaled body against MuJoCo's."""

from __future__ import annotations

import numpy as np
import pytest
from core_example import builtin, mujoco_points, with_joint_positions

from biomech_fit.core.segments import segment_length_std, segment_lengths
from biomech_fit.formats.mjcf import scaled_mj_model


@pytest.mark.parametrize("joints_off_their_bodies", [False, True])
def test_lengths_are_those_of_the_scaled_model(joints_off_their_bodies: bool) -> None:
    body, rng = builtin(), np.random.default_rng(0)
    body = with_joint_positions(body, rng) if joints_off_their_bodies else body
    scales = rng.uniform(-0.1, 0.1, len(body.scale_names))
    model = scaled_mj_model(body, scales)
    factor = (1 + body.scale_matrix @ scales)[body.joint_centre_body]
    place = dict(zip(body.joint_centre_names, mujoco_points(model, model.qpos0, body.joint_centre_body, body.joint_centre_position * factor), strict=True))
    lengths = segment_lengths(body, scales)
    assert lengths.keys() == body.segments.keys() and {"thigh_r", "shank_l"} <= lengths.keys()
    for name, (a, b) in body.segments.items():
        assert lengths[name] == pytest.approx(np.linalg.norm(place[a] - place[b]), abs=1e-9)


def test_the_model_is_left_as_it_was() -> None:
    body = builtin()
    before = segment_lengths(body, np.zeros(len(body.scale_names)))
    longer = segment_lengths(body, np.full(len(body.scale_names), 0.05))
    assert segment_lengths(body, np.zeros(len(body.scale_names))) == before
    assert longer["thigh_r"] > before["thigh_r"]


def test_deviations_follow_the_covariance() -> None:
    """With one direction v that is unknown a length's deviation is its change along v (to second order in a step of 1e-3)."""
    body, rng = builtin(), np.random.default_rng(1)
    scales, direction = rng.uniform(-0.1, 0.1, (2, len(body.scale_names)))
    std = segment_length_std(body, scales, 1e-6 * np.outer(direction, direction))
    ahead, behind = (segment_lengths(body, scales + sign * 1e-3 * direction) for sign in (1, -1))
    for name, value in std.items():
        assert value == pytest.approx(abs(ahead[name] - behind[name]) / 2, rel=1e-3, abs=1e-9)
    assert not any(segment_length_std(body, scales, np.zeros((len(scales), len(scales)))).values())
