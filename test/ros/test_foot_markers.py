"""Feet and footprints as markers."""

from __future__ import annotations

import numpy as np
import pytest
from visualization_msgs.msg import Marker

from biomech_fit.core.quaternions import quat_to_matrix
from biomech_fit.core.types import EventType, GaitEvent, Side
from biomech_fit.ros.convert import quaternion_wxyz
from biomech_fit.ros.foot_markers import event_marker, foot_markers
from biomech_fit.ros.markers import LEFT, MIDDLE, RIGHT

HEELS = np.array([[1.0, 0.1, 0.03], [0.5, -0.1, 0.15]])
TOES = np.array([[1.0, 0.3, 0.03], [0.5, 0.05, 0.05]])
"""Both point along y; the right heel is up."""


def corners(marker: Marker) -> np.ndarray:
    """(n, 3) in the world."""
    rotation = quat_to_matrix(quaternion_wxyz(marker.pose.orientation))
    where = marker.pose.position
    return np.array([[p.x, p.y, p.z] for p in marker.points]) @ rotation.T + [where.x, where.y, where.z]


def event(side: Side, kind: EventType) -> GaitEvent:
    return GaitEvent(2_000_000_000, kind, side, np.array([*HEELS[side, :2], 0.0]), 0.01, 1.0, 0.1)


def test_soles_lie_between_heel_and_toe_and_show_contact() -> None:
    left, right = foot_markers(5, HEELS, TOES, (True, False), "lab")
    for marker, side, colour, alpha in ((left, Side.LEFT, LEFT, 1.0), (right, Side.RIGHT, RIGHT, 0.25)):
        assert (marker.ns, marker.id, marker.type, marker.header.frame_id) == ("feet", int(side), Marker.TRIANGLE_LIST, "lab")
        assert (marker.color.r, marker.color.b, marker.color.a) == pytest.approx((colour.r, colour.b, alpha))
        assert len(marker.points) % 3 == 0 and marker.lifetime.nanosec > 0
        points, along = corners(marker), TOES[side] - HEELS[side]
        share = (points - HEELS[side]) @ along / (along @ along)
        assert -0.1 < share.min() < 0 and 1 < share.max() < 1.1
        line = HEELS[side] + share[:, None] * along
        np.testing.assert_allclose(points[:, 2], line[:, 2], atol=1e-6)  # level across
        # Walking along y, the little toe is on the outside: to -x on the left foot, +x on the right.
        outside = (points - line)[:, 0] * (1 if side == Side.RIGHT else -1)
        assert outside.max() > -outside.min()
    grey, missing = foot_markers(5, HEELS, TOES, (None, None), "lab")[0], HEELS.copy()
    assert grey.color.r == pytest.approx(MIDDLE.r)
    missing[0, 1] = np.nan
    assert [m.id for m in foot_markers(5, missing, TOES, (True, True), "lab")] == [1]


def test_prints_lie_on_the_floor_where_the_foot_landed() -> None:
    marker = event_marker(event(Side.RIGHT, EventType.INITIAL_CONTACT), HEELS, TOES, 503, "lab", 12.0)
    points = corners(marker)
    assert marker.ns == "footprints" and marker.id == 3 and marker.lifetime.sec == 12
    assert np.ptp(points[:, 2]) < 1e-6 and 0 < points[0, 2] < 0.01
    assert points[:, 1].max() - HEELS[1, 1] == pytest.approx(1.07 * 0.15, abs=1e-3)
    off = event_marker(event(Side.LEFT, EventType.FINAL_CONTACT), HEELS, TOES, 0, "lab", 12.0)
    assert off.ns == "final_contacts" and off.type == Marker.CYLINDER and off.color.a < 0.5
    nowhere = np.full((2, 3), np.nan)
    assert event_marker(event(Side.LEFT, EventType.INITIAL_CONTACT), nowhere, nowhere, 0, "lab", 1.0).type == Marker.CYLINDER
