"""Feet in rviz: prints on the floor where they landed, and the soles as they move, full in colour while they stand."""

from __future__ import annotations

import numpy as np
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

from biomech_fit.core.footprints import sole
from biomech_fit.core.quaternions import single_quat
from biomech_fit.core.types import EventType, GaitEvent, Side
from biomech_fit.ros.convert import duration_msg, header, point_msg, quaternion_msg
from biomech_fit.ros.markers import LEFT, MIDDLE, RIGHT, STALE

PRINTS = 500
"""Footprints kept apart; older ones are overwritten."""
PRINT_ALPHA, SWING_ALPHA, OFF_ALPHA = 0.6, 0.25, 0.4
OVER_FLOOR_M = 0.003
"""Prints lie this much over the floor, so that a grid in it does not shine through."""
OFF_M = 0.06
"""Diameter of the disc where the toe left."""
_UP = np.array([0.0, 0.0, 1.0])


def foot_markers(stamp_ns: int, heels: np.ndarray, toes: np.ndarray, contact: tuple[bool | None, bool | None], frame_id: str) -> list[Marker]:
    """Both soles where they are (namespace feet): full in colour on the floor, pale in the air, grey where neither is known.

    Args:
        stamp_ns: time of the pose.
        heels: (2, 3) m, world (z up): left, right; a foot with a NaN is left out.
        toes: (2, 3) m.
        contact: of the left and the right foot.
        frame_id: the world's.
    """
    markers = []
    for side in Side:
        on_floor = contact[side]
        colour = MIDDLE if on_floor is None else _colour(side)
        marker = _sole(side, heels[side], toes[side], _tinted(colour, 1.0 if on_floor else SWING_ALPHA))
        if marker is not None:
            marker.header, marker.ns, marker.id, marker.lifetime = header(stamp_ns, frame_id), "feet", int(side), STALE
            markers.append(marker)
    return markers


def event_marker(event: GaitEvent, heels: np.ndarray, toes: np.ndarray, number: int, frame_id: str, lifetime_s: float) -> Marker:
    """What an event leaves on the floor: at initial contact the print of the foot (namespace footprints), at final contact a pale disc (final_contacts).

    `heels` and `toes` (2, 3) m are those of the newest pose, when the foot has come down; they give the print its direction and length. Where they are
    missing, or the foot is upright, a disc is drawn.
    """
    place = event.position
    marker = None
    if event.type == EventType.INITIAL_CONTACT:
        along = (toes[event.side] - heels[event.side]) * [1.0, 1.0, 0.0]
        marker = _sole(event.side, place, place + along, _tinted(_colour(event.side), PRINT_ALPHA))
    if marker is None:
        marker = Marker(type=Marker.CYLINDER, action=Marker.ADD, color=_tinted(_colour(event.side), OFF_ALPHA))
        marker.scale.x = marker.scale.y = OFF_M
        marker.scale.z = 0.002
        marker.pose.orientation.w = 1.0
        marker.pose.position = point_msg(place)
    marker.pose.position.z += OVER_FLOOR_M
    marker.ns = "footprints" if event.type == EventType.INITIAL_CONTACT else "final_contacts"
    marker.header, marker.id, marker.lifetime = header(event.stamp_ns, frame_id), number % PRINTS, duration_msg(lifetime_s)
    return marker


def _sole(side: Side, heel: np.ndarray, toe: np.ndarray, colour: ColorRGBA) -> Marker | None:
    """A flat foot between two points, level across; None where they are missing, the same, or one over the other."""
    along = np.asarray(toe, float) - heel
    level = along * [1.0, 1.0, 0.0]
    if not np.isfinite(along).all() or np.linalg.norm(level) < 1e-3:
        return None
    length = float(np.linalg.norm(along))
    x = along / length
    y = np.cross(_UP, x)
    y /= np.linalg.norm(y)
    marker = Marker(type=Marker.TRIANGLE_LIST, action=Marker.ADD, color=colour)
    marker.scale.x = marker.scale.y = marker.scale.z = 1.0
    marker.pose.position = point_msg(heel)
    marker.pose.orientation = quaternion_msg(single_quat(np.column_stack([x, y, np.cross(x, y)])))
    outline = sole(side, np.zeros(2), np.array([length, 0.0]))
    corners = [point_msg(np.array([*corner, 0.0])) for corner in outline]
    middle = point_msg(np.array([0.5 * length, outline[:, 1].mean(), 0.0]))
    for a, b in zip(corners, [*corners[1:], corners[0]], strict=True):
        marker.points += [middle, a, b]
    return marker


def _colour(side: Side) -> ColorRGBA:
    return LEFT if side == Side.LEFT else RIGHT


def _tinted(colour: ColorRGBA, alpha: float) -> ColorRGBA:
    return ColorRGBA(r=colour.r, g=colour.g, b=colour.b, a=alpha)
