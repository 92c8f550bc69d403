"""The slow states (cameras, subject) to messages and back."""

from __future__ import annotations

import math

import numpy as np

from biomech_fit import msg as bf
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.estimates import CalibrationEstimate, SubjectEstimate
from biomech_fit.core.keypoint_set import KeypointSet
from biomech_fit.core.quaternions import quat_to_matrix, rotation_angle_deg
from biomech_fit.core.segments import segment_length_std
from biomech_fit.ros.convert import camera_pose_msg, doubles, floats, header, optical_frame, quaternion_wxyz


def calibration_msg(estimate: CalibrationEstimate, *, frame_id: str) -> bf.CameraCalibrationState:
    """Without any camera where 3D points are fitted."""
    cameras, loaded = estimate.cameras, estimate.loaded
    rotation_deg = [rotation_angle_deg(c.rotation, o.rotation) for c, o in zip(cameras, loaded, strict=True)]
    moved_mm = [1000 * np.linalg.norm(c.rotation.T @ c.translation - o.rotation.T @ o.translation) for c, o in zip(cameras, loaded, strict=True)]
    return bf.CameraCalibrationState(
        header=header(estimate.stamp_ns, frame_id),
        cameras=[c.name for c in cameras],
        frame_ids=[optical_frame(c.name) for c in cameras],
        refined=[bool(r) for r in estimate.refined],
        poses=[camera_pose_msg(c) for c in cameras],
        covariance=doubles(estimate.covariance),
        rotation_correction_deg=floats(rotation_deg),
        translation_correction_mm=floats(moved_mm),
        width=[c.width for c in cameras],
        height=[c.height for c in cameras],
        k=doubles(np.concatenate([np.ravel(c.matrix) for c in cameras] or [[]])),
        distortion_models=[c.distortion_model for c in cameras],
        distortion_sizes=[len(c.distortion) for c in cameras],
        d=doubles(np.concatenate([np.ravel(c.distortion) for c in cameras] or [[]])),
        time_offset_s=floats(estimate.time_offset_s),
        time_offset_std_s=floats(estimate.time_offset_std_s),
        reprojection_rms_px=floats(estimate.reprojection_rms_px),
        loaded_reprojection_rms_px=floats(estimate.loaded_reprojection_rms_px),
    )


def cameras_from_msg(message: bf.CameraCalibrationState) -> list[Camera]:
    """The refined cameras of a calibration message."""
    cameras, start = [], 0
    for c, name in enumerate(message.cameras):
        size = message.distortion_sizes[c]
        pose = message.poses[c]
        world_from_camera = quat_to_matrix(quaternion_wxyz(pose.orientation))
        centre = np.array([pose.position.x, pose.position.y, pose.position.z])
        cameras.append(
            Camera(
                name=name,
                width=message.width[c],
                height=message.height[c],
                matrix=np.array(message.k[9 * c : 9 * c + 9], float).reshape(3, 3),
                distortion_model=message.distortion_models[c],
                distortion=np.array(message.d[start : start + size], float),
                rotation=world_from_camera.T,
                translation=-world_from_camera.T @ centre,
            )
        )
        start += size
    return cameras


def subject_msg(estimate: SubjectEstimate, body: BodyModel, keypoint_set: KeypointSet) -> bf.SubjectModel:
    """Scales in the message are factors (1 = the model's own size). Keypoints that the model lacks are left out."""
    present = np.flatnonzero(np.asarray(body.keypoint_body) >= 0)
    scales = np.asarray(estimate.scales, float)
    known = None if estimate.covariance is None else segment_length_std(body, scales, estimate.covariance[: len(scales), : len(scales)])
    return bf.SubjectModel(
        header=header(estimate.stamp_ns, ""),
        subject=estimate.name,
        model=estimate.model,
        scale_names=list(estimate.scale_names),
        scales=floats(1 + np.asarray(estimate.scales)),
        scale_std=floats(estimate.scale_std),
        keypoint_set=keypoint_set.name,
        keypoint_names=[estimate.keypoint_names[k] for k in present],
        keypoint_bodies=[body.mj_model.body(int(body.keypoint_body[k])).name for k in present],
        keypoint_offsets=floats(estimate.keypoint_offsets[present]),
        keypoint_offset_std=floats(estimate.keypoint_offset_std[present]),
        segment_names=list(estimate.segment_lengths_m),
        segment_lengths=floats(list(estimate.segment_lengths_m.values())),
        segment_length_std=floats([known[name] if known else math.nan for name in estimate.segment_lengths_m]),
        frames=estimate.frames,
        fixed=estimate.fixed,
    )


def subject_from_msg(message: bf.SubjectModel, body: BodyModel) -> SubjectEstimate:
    """The estimate behind a subject model. Keypoints that are not in the message have no offset and an unknown (NaN) standard deviation."""
    index = {name: k for k, name in enumerate(body.keypoint_names)}
    offsets, std = np.zeros((len(index), 3)), np.full((len(index), 3), np.nan)
    rows = zip(message.keypoint_names, np.reshape(message.keypoint_offsets, (-1, 3)), np.reshape(message.keypoint_offset_std, (-1, 3)), strict=True)
    for name, offset, deviation in rows:
        if name in index:
            offsets[index[name]], std[index[name]] = offset, deviation
    stamp = message.header.stamp
    return SubjectEstimate(
        stamp_ns=stamp.sec * 1_000_000_000 + stamp.nanosec,
        name=message.subject,
        model=message.model,
        scale_names=tuple(message.scale_names),
        scales=np.array(message.scales, float) - 1,
        scale_std=np.array(message.scale_std, float),
        keypoint_names=tuple(body.keypoint_names),
        keypoint_offsets=offsets,
        keypoint_offset_std=std,
        segment_lengths_m=dict(zip(message.segment_names, map(float, message.segment_lengths), strict=True)),
        frames=message.frames,
        fixed=message.fixed,
    )
