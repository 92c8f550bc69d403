"""Recorded messages to the arrays that the report is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from biomech_fit import msg as bf
from biomech_fit.core.camera import Camera
from biomech_fit.core.errors import InputError
from biomech_fit.core.estimates import CalibrationEstimate
from biomech_fit.core.types import FrameResult, PoseEstimate, Status
from biomech_fit.formats.subject import subject_from_estimate
from biomech_fit.report.collect import Collector
from biomech_fit.report.result import TrackResult
from biomech_fit.ros.convert import estimate_from_msg, gait_event_from_msg, time_ns
from biomech_fit.ros.convert_estimates import cameras_from_msg, subject_from_msg
from biomech_fit.ros.reader import KeypointReader
from biomech_fit.ros.setup import FitSetup


def collected(
    setup: FitSetup,
    states: Sequence[bf.BodyState],
    smoothed: Sequence[bf.BodyState],
    keypoints: dict[str, list[bf.Keypoints2D]],
    calibration: bf.CameraCalibrationState | None,
    subject: bf.SubjectModel | None,
    events: Sequence[bf.GaitEvent] = (),
    late_events: Sequence[bf.GaitEvent] = (),
    **more: object,
) -> TrackResult:
    """A run from what went over the topics. Times count from the first keypoints' stamp.

    Args:
        setup: what the fitter was configured with.
        states: body_state, one per frame.
        smoothed: body_state_smoothed.
        keypoints: what each camera's detector sent.
        calibration: the last one; None = as loaded.
        subject: the last one.
        events: of gait_node, on the causal states.
        late_events: on the smoothed ones.
        more: further fields of `TrackResult`.

    Raises:
        InputError: no body state came.
    """
    if not states or subject is None:
        raise InputError("No body state and subject were received; there is nothing to write.")
    first = min([time_ns(m.header.stamp) for sent in keypoints.values() for m in sent[:1]] or [time_ns(states[0].header.stamp)])
    stamps = {time_ns(m.header.stamp): m for m in states}
    estimated = _calibration_estimate(setup, calibration)
    cameras = estimated.cameras
    observations = _Observations(setup, cameras, keypoints)
    collector = Collector(setup.body, setup.cameras, setup.keypoint_set, max((m.lag_s for m in smoothed), default=0.0))
    for stamp, message in sorted(stamps.items()):
        causal = _estimate(message, setup, cameras, first)
        xy, confidence = observations.at(stamp, None if causal is None else causal.keypoints)
        collector.add([FrameResult(stamp - first, Status(message.status), causal, None, message.latency_s, xy, confidence)])
    for message in smoothed:
        late = _estimate(message, setup, cameras, first)
        if late is not None:
            collector.add([FrameResult(late.stamp_ns, late.status, None, late, 0.0)])
    estimate = subject_from_msg(subject, setup.body)
    rate_hz = setup.config.stream.frame_rate_hz
    span_s = (max(stamps) - min(stamps)) * 1e-9 + 1 / rate_hz
    result = collector.result(
        estimated,
        estimate,
        rate_hz,
        span_s,
        start_ns=0,
        subject=estimate.name,
        calibration=setup.calibration,
        world_up=setup.world_up,
        subject_model=subject_from_estimate(estimate, setup.body, setup.keypoint_set.name),
        **more,
    )
    for trajectory, sent in ((result.causal, events), (result.smoothed, late_events)):
        if sent:
            trajectory.events = [replace(e, stamp_ns=e.stamp_ns - first) for e in sorted(map(gait_event_from_msg, sent), key=lambda e: e.stamp_ns)]
    return result


def _estimate(message: bf.BodyState, setup: FitSetup, cameras: Sequence[Camera], first_ns: int) -> PoseEstimate | None:
    if not len(message.position):
        return None
    estimate = _of_model(estimate_from_msg(message, setup.keypoint_set.names), list(message.joint_names), setup.body.coordinate_names)
    points = estimate.keypoints
    there = np.isfinite(points).all(1)
    pixels = np.full((len(cameras), len(points), 2), np.nan)
    for c, camera in enumerate(cameras):
        pixels[c, there] = camera.project(points[there])
    return replace(estimate, stamp_ns=estimate.stamp_ns - first_ns, reprojected_xy=pixels)


def _of_model(estimate: PoseEstimate, names: list[str], wanted: Sequence[str]) -> PoseEstimate:
    """With the coordinates in the model's order; NaN for those that the message lacks."""
    if names == list(wanted):
        return estimate
    place = {name: i for i, name in enumerate(names)}
    rows = np.array([place.get(name, -1) for name in wanted])

    def ordered(values: np.ndarray) -> np.ndarray:
        return np.where(rows >= 0, values[rows], np.nan)

    return replace(estimate, position=ordered(estimate.position), velocity=ordered(estimate.velocity), position_std=ordered(estimate.position_std))


class _Observations:
    """The tracked person's keypoints in every camera at an instant."""

    def __init__(self, setup: FitSetup, cameras: Sequence[Camera], keypoints: dict[str, list[bf.Keypoints2D]]) -> None:
        self._setup, self._cameras = setup, cameras
        self._half_ns = 0.5e9 / setup.config.stream.frame_rate_hz
        reader = KeypointReader(setup.cameras, setup.keypoint_set)
        self._packets = {}
        for camera in setup.cameras:
            packets = []
            for message in keypoints.get(camera.name, []):
                try:
                    packets.append(reader.read(message, camera.name, 0)[0])
                except InputError:
                    continue  # the fitter has said so
            packets.sort(key=lambda p: p.stamp_ns)
            self._packets[camera.name] = packets, np.array([p.stamp_ns for p in packets], np.int64)

    def at(self, stamp_ns: int, points: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """(C, K, 2) px and (C, K), NaN and 0 where nothing was seen. Of several people the one nearest to the body's points (K, 3)."""
        k = len(self._setup.keypoint_set)
        xy, confidence = np.full((len(self._cameras), k, 2), np.nan), np.zeros((len(self._cameras), k))
        for c, camera in enumerate(self._cameras):
            packets, stamps = self._packets[camera.name]
            if not len(stamps):
                continue
            i = int(np.searchsorted(stamps, stamp_ns))
            i = min((n for n in (i - 1, i) if 0 <= n < len(stamps)), key=lambda n: abs(stamps[n] - stamp_ns))
            packet = packets[i]
            if abs(packet.stamp_ns - stamp_ns) > self._half_ns or not len(packet.xy):
                continue
            person = 0
            if len(packet.xy) > 1:
                if points is None:
                    continue
                distance = np.linalg.norm(packet.xy - camera.project(points), axis=-1)
                seen = np.isfinite(distance).any(1)
                if not seen.any():
                    continue
                person = int(np.argmin([np.nanmedian(d) if s else np.inf for d, s in zip(distance, seen, strict=True)]))
            xy[c], confidence[c] = packet.xy[person], packet.confidence[person]
        return xy, confidence


def _calibration_estimate(setup: FitSetup, message: bf.CameraCalibrationState | None) -> CalibrationEstimate:
    """The cameras that are recorded, as the fitter last told of them; those that it does not use, and all where it said nothing, as they were loaded."""
    count = len(setup.cameras)
    cameras, refined, covariance = list(setup.cameras), [False] * count, np.full((count, 6, 6), np.nan)
    offset, offset_std, rms, loaded_rms = np.full((4, count), np.nan)
    offset[:] = 0.0
    if message is not None:
        told, blocks = cameras_from_msg(message), np.array(message.covariance, float).reshape(-1, 6, 6)
        place = {camera.name: i for i, camera in enumerate(told)}
        for c, camera in enumerate(setup.cameras):
            i = place.get(camera.name)
            if i is not None:
                cameras[c], refined[c], covariance[c] = told[i], bool(message.refined[i]), blocks[i]
                offset[c], offset_std[c] = message.time_offset_s[i], message.time_offset_std_s[i]
                rms[c], loaded_rms[c] = message.reprojection_rms_px[i], message.loaded_reprojection_rms_px[i]
    stamp_ns = 0 if message is None else time_ns(message.header.stamp)
    return CalibrationEstimate(stamp_ns, tuple(cameras), tuple(setup.cameras), tuple(refined), covariance, offset, offset_std, rms, loaded_rms)
