"""What rviz shows: the skeleton, joint axes, cameras and keypoints as marker arrays (feet: `foot_markers`)."""

from __future__ import annotations

import mujoco
import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Vector3
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.quaternions import single_quat
from biomech_fit.core.sides import side_of
from biomech_fit.core.types import PoseEstimate
from biomech_fit.formats.mjcf import scaled_mj_model
from biomech_fit.ros.convert import header, point_msg, quaternion_msg

LEFT = ColorRGBA(r=0.20, g=0.45, b=0.85, a=1.0)
RIGHT = ColorRGBA(r=0.85, g=0.30, b=0.20, a=1.0)
MIDDLE = ColorRGBA(r=0.80, g=0.80, b=0.80, a=1.0)
CAMERA = ColorRGBA(r=0.95, g=0.75, b=0.20, a=0.9)
AXES = (ColorRGBA(r=0.9, g=0.1, b=0.1, a=1.0), ColorRGBA(r=0.1, g=0.75, b=0.1, a=1.0), ColorRGBA(r=0.15, g=0.3, b=0.95, a=1.0))
TINTS = (ColorRGBA(r=0.20, g=0.75, b=0.30, a=1.0), ColorRGBA(r=0.95, g=0.80, b=0.15, a=1.0), ColorRGBA(r=0.70, g=0.35, b=0.85, a=1.0))
"""The second person's markers are half green, the third's yellow, the fourth's violet."""
SEGMENT_RADIUS_M = 0.025
AXIS_LENGTH_M = 0.08
FRUSTUM_DEPTH_M = 0.25
ELLIPSOID_RADIUS = 2.7955
"""Standard deviations: 95 % of a Gaussian in space lie within (root of chi-squared's 0.95 quantile with 3 degrees of freedom)."""
SMALLEST_ELLIPSOID_M = 1e-3
STALE = Duration(nanosec=500_000_000)
"""A body that is no longer updated disappears after this time."""


def side_colour(name: str) -> ColorRGBA:
    """Blue for the left, red for the right, grey for the middle."""
    return {"l": LEFT, "r": RIGHT}.get(side_of(name), MIDDLE)


class BodyMarkers:
    """Markers of one body: segments as cylinders, keypoints as spheres and lines, a triad at every joint."""

    def __init__(self, body: BodyModel, keypoint_set: KeypointSet, frame_id: str, person: int = 1) -> None:
        self._body, self._set, self._frame = body, keypoint_set, frame_id
        self._namespace, self._tint = ("", None) if person == 1 else (f"person_{person}/", TINTS[(person - 2) % len(TINTS)])
        index = {name: i for i, name in enumerate(body.joint_centre_names)}
        self._segments = [(name, index[a], index[b]) for name, (a, b) in body.segments.items() if a in index and b in index]
        self._model = body.mj_model
        self._data = mujoco.MjData(self._model)

    def set_scales(self, scales: np.ndarray) -> None:
        """Sizes of the body, (S,) additive to 1; they place the joint triads."""
        model = scaled_mj_model(self._body, scales)
        self._model, self._data = model, mujoco.MjData(model)

    def array(self, estimate: PoseEstimate, ellipsoids: bool = False) -> MarkerArray:
        """All markers of one pose; on request with the 95 % ellipsoid of each keypoint."""
        points = estimate.keypoints
        markers = [self._segment(i, name, estimate.joint_centres[a], estimate.joint_centres[b], estimate) for i, (name, a, b) in enumerate(self._segments)]
        spheres = self._marker("keypoints", 0, Marker.SPHERE_LIST, estimate, 0.03)
        lines = self._marker("keypoint_lines", 0, Marker.LINE_LIST, estimate, 0.008)
        for k, name in enumerate(self._body.keypoint_names):
            if np.isfinite(points[k]).all():
                spheres.points.append(point_msg(points[k]))
                spheres.colors.append(self._colour(name))
        for a, b in self._set.edges:
            if np.isfinite(points[[a, b]]).all():
                lines.points += [point_msg(points[a]), point_msg(points[b])]
                lines.colors += [self._colour(self._body.keypoint_names[b])] * 2
        markers += [marker for marker in (spheres, lines, self._axes(estimate)) if marker.points or marker.type == Marker.CYLINDER]
        return MarkerArray(markers=[*markers, *(self._ellipsoids(estimate) if ellipsoids else [])])

    def _ellipsoids(self, estimate: PoseEstimate) -> list[Marker]:
        """Where each keypoint is with a probability of 95 %: spheres, stretched along the axes of its covariance."""
        markers = []
        for k, name in enumerate(self._body.keypoint_names):
            covariance = None if estimate.keypoint_covariance is None else estimate.keypoint_covariance[k]
            if covariance is None or not (np.isfinite(covariance).all() and np.isfinite(estimate.keypoints[k]).all()):
                continue
            marker = self._marker("keypoint_ellipsoids", k, Marker.SPHERE, estimate, 0.0)
            variance, axes = np.linalg.eigh(covariance)
            size = np.maximum(2 * ELLIPSOID_RADIUS * np.sqrt(np.maximum(variance, 0.0)), SMALLEST_ELLIPSOID_M)
            axes[:, 2] *= np.sign(np.linalg.det(axes))
            marker.scale = Vector3(x=float(size[0]), y=float(size[1]), z=float(size[2]))
            marker.pose.position = point_msg(estimate.keypoints[k])
            marker.pose.orientation = quaternion_msg(single_quat(axes))
            base = self._colour(name)
            marker.color = ColorRGBA(r=base.r, g=base.g, b=base.b, a=0.3)
            markers.append(marker)
        return markers

    def _colour(self, name: str) -> ColorRGBA:
        colour = side_colour(name)
        if self._tint is None:
            return colour
        return ColorRGBA(r=(colour.r + self._tint.r) / 2, g=(colour.g + self._tint.g) / 2, b=(colour.b + self._tint.b) / 2, a=colour.a)

    def _marker(self, namespace: str, number: int, kind: int, estimate: PoseEstimate, size: float) -> Marker:
        marker = Marker(header=header(estimate.stamp_ns, self._frame), ns=self._namespace + namespace, id=number, type=kind, action=Marker.ADD, lifetime=STALE)
        marker.scale = Vector3(x=size, y=size, z=size)
        marker.color.a = 1.0
        marker.pose.orientation.w = 1.0
        return marker

    def _segment(self, number: int, name: str, start: np.ndarray, end: np.ndarray, estimate: PoseEstimate) -> Marker:
        marker = self._marker("segments", number, Marker.CYLINDER, estimate, 2 * SEGMENT_RADIUS_M)
        along = end - start
        length = float(np.linalg.norm(along))
        if not np.isfinite(length) or length < 1e-6:
            marker.action = Marker.DELETE
            return marker
        marker.scale.z = length
        marker.color = self._colour(name)
        marker.pose.position = point_msg((start + end) / 2)
        marker.pose.orientation = quaternion_msg(single_quat(_frame_along(along / length)))
        return marker

    def _axes(self, estimate: PoseEstimate) -> Marker:
        """A triad of each jointed body's frame at its first joint, in the usual colours (x red, y green, z blue)."""
        marker = self._marker("joint_axes", 0, Marker.LINE_LIST, estimate, 0.006)
        if len(estimate.qpos) != self._model.nq or not np.isfinite(estimate.qpos).all():
            return marker
        m, d = self._model, self._data
        d.qpos[:] = estimate.qpos
        mujoco.mj_kinematics(m, d)
        for body in range(1, m.nbody):
            if m.body_jntnum[body]:
                origin = d.xanchor[m.body_jntadr[body]]
                triad = d.xmat[body].reshape(3, 3)
                for axis in range(3):
                    marker.points += [point_msg(origin), point_msg(origin + AXIS_LENGTH_M * triad[:, axis])]
                    marker.colors += [AXES[axis]] * 2
        return marker


def _frame_along(z: np.ndarray) -> np.ndarray:
    """(3, 3) a rotation whose third column is the unit vector z."""
    helper = np.eye(3)[int(np.argmin(np.abs(z)))]
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return np.column_stack([x, np.cross(z, x), z])


def camera_markers(cameras: list[Camera] | tuple[Camera, ...], frame_id: str, stamp_ns: int) -> MarkerArray:
    """Each camera as the pyramid of its image at a small depth, with its name."""
    lines = Marker(header=header(stamp_ns, frame_id), ns="cameras", id=0, type=Marker.LINE_LIST, action=Marker.ADD, color=CAMERA)
    lines.scale.x = 0.008
    lines.pose.orientation.w = 1.0
    markers = [lines]
    for number, camera in enumerate(cameras):
        corners = np.array([[0, 0, 1], [camera.width, 0, 1], [camera.width, camera.height, 1], [0, camera.height, 1]], float)
        rays = np.linalg.solve(camera.matrix, corners.T).T * FRUSTUM_DEPTH_M
        centre = camera.centre
        world = rays @ camera.rotation + centre
        for i in range(4):
            lines.points += [point_msg(centre), point_msg(world[i]), point_msg(world[i]), point_msg(world[(i + 1) % 4])]
        text = Marker(
            header=header(stamp_ns, frame_id), ns="camera_names", id=number, type=Marker.TEXT_VIEW_FACING, action=Marker.ADD, color=CAMERA, text=camera.name
        )
        text.scale.z = 0.12
        text.pose.orientation.w = 1.0
        text.pose.position = point_msg(centre + np.array([0.0, 0.0, 0.15]))
        markers.append(text)
    return MarkerArray(markers=markers)


def delete_all() -> MarkerArray:
    """Takes everything off the display."""
    return MarkerArray(markers=[Marker(action=Marker.DELETEALL)])
