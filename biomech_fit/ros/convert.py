"""numpy <-> messages. The only place where quaternions change from MuJoCo's order (wxyz) to that of ROS (xyzw)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Pose, Quaternion
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import Header

from biomech_fit import msg as bf
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.quaternions import single_quat
from biomech_fit.core.steps import StepParameters
from biomech_fit.core.types import STATUS_SENTENCE, EventType, GaitEvent, KeypointPacket, PoseEstimate, Side, Status

SECOND_NS = 1_000_000_000


def floats(values: np.ndarray | Sequence[float]) -> array:
    """A float32[] field. An `array` spares rclpy its check of every element."""
    return array("f", np.ascontiguousarray(values, np.float32).tobytes())


def doubles(values: np.ndarray | Sequence[float]) -> array:
    """A float64[] field."""
    return array("d", np.ascontiguousarray(values, np.float64).tobytes())


def time_msg(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // SECOND_NS, nanosec=stamp_ns % SECOND_NS)


def time_ns(stamp: Time) -> int:
    return stamp.sec * SECOND_NS + stamp.nanosec


def duration_msg(seconds: float) -> Duration:
    total = round(seconds * SECOND_NS)
    return Duration(sec=total // SECOND_NS, nanosec=total % SECOND_NS)


def duration_s(value: Duration) -> float:
    return value.sec + value.nanosec / SECOND_NS


def header(stamp_ns: int, frame_id: str) -> Header:
    return Header(stamp=time_msg(stamp_ns), frame_id=frame_id)


def quaternion_msg(wxyz: np.ndarray) -> Quaternion:
    """(4,) wxyz to the ROS message (xyzw)."""
    w, x, y, z = (float(v) for v in wxyz)
    return Quaternion(x=x, y=y, z=z, w=w)


def quaternion_wxyz(value: Quaternion) -> np.ndarray:
    """(4,) wxyz from the ROS message (xyzw)."""
    return np.array([value.w, value.x, value.y, value.z])


def point_msg(xyz: np.ndarray) -> Point:
    return Point(x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))


def camera_pose_msg(camera: Camera) -> Pose:
    """Pose of the optical frame in the world: the inverse of ``x_cam = R x_world + t``."""
    return Pose(position=point_msg(camera.centre), orientation=quaternion_msg(single_quat(camera.rotation.T)))


def optical_frame(camera: str) -> str:
    return f"{camera}_optical_frame"


def keypoints_2d_msg(packet: KeypointPacket, camera: Camera, keypoint_set: KeypointSet) -> bf.Keypoints2D:
    return bf.Keypoints2D(
        header=header(packet.stamp_ns, optical_frame(camera.name)),
        camera=camera.name,
        keypoint_set=keypoint_set.name,
        width=camera.width,
        height=camera.height,
        person_ids=array("i", np.asarray(packet.person_ids, np.int32).tobytes()),
        xy=floats(packet.xy),
        confidence=floats(packet.confidence),
    )


def keypoints_3d_msg(stamp_ns: int, frame_id: str, keypoint_set: KeypointSet, xyz: np.ndarray) -> bf.Keypoints3D:
    """One person's (K, 3) m; points that are not finite stay NaN = missing."""
    return bf.Keypoints3D(header=header(stamp_ns, frame_id), keypoint_set=keypoint_set.name, person_ids=array("i", [-1]), xyz=floats(xyz))


def camera_info_msg(camera: Camera, stamp_ns: int = 0) -> CameraInfo:
    """Intrinsics; a camera without distortion is a plumb_bob with zeros, as ROS writes it. Equidistant keeps its name."""
    model = "plumb_bob" if camera.distortion_model == "none" else camera.distortion_model
    distortion = list(camera.distortion) or [0.0] * 5
    if model == "plumb_bob":
        distortion = (distortion + [0.0] * 5)[:5]
    k = np.asarray(camera.matrix, float)
    return CameraInfo(
        header=header(stamp_ns, optical_frame(camera.name)),
        width=camera.width,
        height=camera.height,
        distortion_model=model,
        d=doubles(distortion),
        k=k.ravel(),
        r=np.eye(3).ravel(),
        p=np.column_stack([k, np.zeros(3)]).ravel(),
    )


def joint_state_msg(estimate: PoseEstimate, names: Sequence[str]) -> JointState | None:
    """The coordinates that are finite; None where none is."""
    good = np.isfinite(estimate.position) & np.isfinite(estimate.velocity)
    if not good.any():
        return None
    return JointState(
        header=header(estimate.stamp_ns, ""),
        name=[n for n, g in zip(names, good, strict=True) if g],
        position=doubles(estimate.position[good]),
        velocity=doubles(estimate.velocity[good]),
    )


def missing_values(estimate: PoseEstimate, body: BodyModel) -> list[str]:
    """Names of what is not finite in an estimate though the model has it; a state with such values must not go out."""
    present = np.asarray(body.keypoint_body) >= 0
    points = np.concatenate([estimate.keypoints, estimate.keypoint_std], 1)
    rows = np.stack([estimate.position, estimate.velocity, estimate.position_std], 1)
    pelvis = np.concatenate([estimate.pelvis_position, estimate.pelvis_quat_wxyz, np.ravel(estimate.pelvis_covariance)])
    if all(_ok(values) for values in (rows, pelvis, points[present], estimate.joint_centres)):
        return []
    bad = [n for n, row in zip(body.coordinate_names, rows, strict=True) if not _ok(row)]
    bad += [] if _ok(pelvis) else ["pelvis"]
    bad += [n for n, has, row in zip(body.keypoint_names, present, points, strict=True) if has and not _ok(row)]
    return bad + [n for n, row in zip(body.joint_centre_names, estimate.joint_centres, strict=True) if not _ok(row)]


def _ok(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).all())


def body_state_msg(
    estimate: PoseEstimate,
    body: BodyModel,
    keypoint_set: KeypointSet,
    *,
    frame_id: str,
    subject: str = "",
    latency_s: float = 0.0,
    status: Status | None = None,
) -> bf.BodyState:
    """A body state with the keypoints that the model has, so that no NaN is among them."""
    present = np.flatnonzero(np.asarray(body.keypoint_body) >= 0)
    status = estimate.status if status is None else status
    message = bf.BodyState(
        header=header(estimate.stamp_ns, frame_id),
        subject=subject,
        status=int(status),
        status_text=STATUS_SENTENCE[status],
        joint_names=list(body.coordinate_names),
        position=floats(estimate.position),
        velocity=floats(estimate.velocity),
        position_std=floats(estimate.position_std),
        keypoint_set=keypoint_set.name,
        keypoint_names=[body.keypoint_names[k] for k in present],
        keypoints=floats(estimate.keypoints[present]),
        keypoints_std=floats(estimate.keypoint_std[present]),
        joint_centre_names=list(body.joint_centre_names),
        joint_centres=floats(estimate.joint_centres),
        lag_s=float(estimate.lag_s),
        latency_s=float(latency_s),
        reprojection_rms_px=float(estimate.reprojection_rms_px),
        cameras_used=list(estimate.cameras_used),
        cameras_missing=list(estimate.cameras_missing),
    )
    message.pelvis.pose.position = point_msg(estimate.pelvis_position)
    message.pelvis.pose.orientation = quaternion_msg(estimate.pelvis_quat_wxyz)
    message.pelvis.covariance = np.asarray(estimate.pelvis_covariance, np.float64).ravel()
    return message


def empty_body_state_msg(
    stamp_ns: int,
    status: Status,
    *,
    frame_id: str,
    subject: str = "",
    latency_s: float = 0.0,
    cameras_missing: Sequence[str] = (),
) -> bf.BodyState:
    """A frame without a pose: only its status, and which cameras see nobody."""
    message = bf.BodyState(
        header=header(stamp_ns, frame_id), subject=subject, status=int(status), status_text=STATUS_SENTENCE[status], latency_s=float(latency_s)
    )
    message.reprojection_rms_px = math.nan
    message.cameras_missing = list(cameras_missing)
    return message


def estimate_from_msg(message: bf.BodyState, keypoint_names: Sequence[str] | None = None) -> PoseEstimate:
    """The estimate behind a body state. `qpos` is empty: it is not in the message.

    Keypoints come in the order of `keypoint_names` (the message's own where None); NaN where the message has no such point. Raises ValueError where the
    arrays do not fit the names.
    """
    names = list(message.keypoint_names) if keypoint_names is None else list(keypoint_names)
    own = {name: k for k, name in enumerate(message.keypoint_names)}
    xyz, std = (np.array(v, float).reshape(len(own), 3) for v in (message.keypoints, message.keypoints_std))
    points, points_std = np.full((2, len(names), 3), np.nan)
    for k, name in enumerate(names):
        if name in own:
            points[k], points_std[k] = xyz[own[name]], std[own[name]]
    position = message.pelvis.pose.position
    return PoseEstimate(
        stamp_ns=time_ns(message.header.stamp),
        status=Status(message.status),
        position=np.array(message.position, float),
        velocity=np.array(message.velocity, float),
        position_std=np.array(message.position_std, float),
        qpos=np.zeros(0),
        pelvis_position=np.array([position.x, position.y, position.z]),
        pelvis_quat_wxyz=quaternion_wxyz(message.pelvis.pose.orientation),
        pelvis_covariance=np.array(message.pelvis.covariance, float).reshape(6, 6),
        keypoints=points,
        keypoint_std=points_std,
        joint_centres=np.array(message.joint_centres, float).reshape(len(message.joint_centre_names), 3),
        lag_s=message.lag_s,
        reprojection_rms_px=message.reprojection_rms_px,
        cameras_used=tuple(message.cameras_used),
        cameras_missing=tuple(message.cameras_missing),
    )


def gait_event_msg(event: GaitEvent, *, frame_id: str, subject: str = "") -> bf.GaitEvent:
    return bf.GaitEvent(
        header=header(event.stamp_ns, frame_id),
        subject=subject,
        type=int(event.type),
        side=int(event.side),
        position=point_msg(event.position),
        time_std_s=float(event.time_std_s),
        confidence=float(event.confidence),
        detection_delay=duration_msg(event.detection_delay_s),
    )


def gait_event_from_msg(message: bf.GaitEvent) -> GaitEvent:
    p = message.position
    delay_s = duration_s(message.detection_delay)
    return GaitEvent(
        time_ns(message.header.stamp), EventType(message.type), Side(message.side), np.array([p.x, p.y, p.z]), message.time_std_s, message.confidence, delay_s
    )


def step_msg(step: StepParameters, index: int, *, frame_id: str, subject: str = "") -> bf.StepParameters:
    return bf.StepParameters(
        header=header(step.stamp_ns, frame_id),
        subject=subject,
        index=index,
        side=int(step.side),
        step_length_m=step.step_length_m,
        stride_length_m=step.stride_length_m,
        step_width_m=step.step_width_m,
        step_time_s=step.step_time_s,
        stride_time_s=step.stride_time_s,
        stance_time_s=step.stance_time_s,
        swing_time_s=step.swing_time_s,
        double_support_time_s=step.double_support_time_s,
        cadence_steps_per_min=step.cadence_steps_per_min,
        speed_m_per_s=step.speed_m_s,
        single_support_time_s=step.single_support_time_s,
        walk_ratio_m_min=step.walk_ratio_m_min,
        step_length_std_m=step.step_length_std_m,
        stride_length_std_m=step.stride_length_std_m,
        step_width_std_m=step.step_width_std_m,
        step_time_std_s=step.step_time_std_s,
        stride_time_std_s=step.stride_time_std_s,
        stance_time_std_s=step.stance_time_std_s,
        swing_time_std_s=step.swing_time_std_s,
        double_support_time_std_s=step.double_support_time_std_s,
        cadence_std_steps_per_min=step.cadence_std_steps_per_min,
        speed_std_m_per_s=step.speed_std_m_s,
        single_support_time_std_s=step.single_support_time_std_s,
        walk_ratio_std_m_min=step.walk_ratio_std_m_min,
        turn_rad=step.turn_rad,
        walk_index=step.walk_index,
        belt_speed_m_per_s=step.belt_speed_m_s,
    )
