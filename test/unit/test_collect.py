"""The collector: results in any mix become arrays, with gaps where there is no estimate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from core_example import builtin, mujoco_points, ring

from biomech_fit.core.estimates import CalibrationEstimate, SubjectEstimate
from biomech_fit.core.opensim_axes import coordinates_from_qpos
from biomech_fit.core.types import FrameResult, PoseEstimate, Status
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.report.collect import Collector, coordinate_is_angle
from biomech_fit.report.result import TrackResult

BODY, SET, CAMERAS = builtin(), load_keypoint_set("halpe_26"), ring(3)
N, K, J, C = BODY.mj_model.nv, len(SET), len(BODY.joint_centre_names), 3
PERIOD_NS = 10_000_000


def estimate(t: int, lag_s: float = 0.0, tilt: float = 0.0) -> PoseEstimate:
    """Standing, a centimetre further in each frame."""
    qpos = BODY.mj_model.qpos0.copy()
    qpos[0] = 0.01 * t
    position = coordinates_from_qpos(qpos, BODY.mj_model.qpos0[3:7])
    position[3] += tilt
    points = mujoco_points(BODY.mj_model, qpos, BODY.keypoint_body, BODY.keypoint_position)
    return PoseEstimate(
        stamp_ns=t * PERIOD_NS,
        status=Status.OK,
        position=position,
        velocity=np.full(N, float(t)),
        position_std=np.full(N, 0.01),
        qpos=qpos,
        pelvis_position=qpos[:3],
        pelvis_quat_wxyz=qpos[3:7],
        pelvis_covariance=np.eye(6),
        keypoints=points,
        keypoint_std=np.full((K, 3), 0.002),
        joint_centres=mujoco_points(BODY.mj_model, qpos, BODY.joint_centre_body, BODY.joint_centre_position),
        lag_s=lag_s,
        reprojection_rms_px=3.0,
        cameras_used=tuple(c.name for c in CAMERAS),
        cameras_missing=(),
        reprojected_xy=np.stack([c.project(points) for c in CAMERAS]),
    )


def result(t: int, causal: PoseEstimate | None, smoothed: PoseEstimate | None, status: Status = Status.OK) -> FrameResult:
    if causal is None:
        return FrameResult(t * PERIOD_NS, status, None, smoothed, 0.002)
    seen = causal.reprojected_xy + 3.0
    confidence = np.full((C, K), 0.9)
    confidence[2] = 0.3
    return FrameResult(t * PERIOD_NS, status, causal, smoothed, 0.002, seen, confidence)


def collected(*batches: list[FrameResult]) -> TrackResult:
    collector = Collector(BODY, CAMERAS, SET, 0.02)
    for batch in batches:
        collector.add(batch)
    refined = tuple(replace(c, translation=c.translation + 0.01) for c in CAMERAS)
    nan = np.full(C, np.nan)
    cameras = CalibrationEstimate(0, refined, tuple(CAMERAS), (True,) * C, np.tile(np.eye(6) * 1e-4, (C, 1, 1)), np.zeros(C), nan, nan, nan)
    scales, offsets = np.zeros(len(BODY.scale_names)), np.zeros((K, 3))
    subject = SubjectEstimate(0, "", BODY.name, BODY.scale_names, scales, scales + 0.01, SET.names, offsets, offsets, {"thigh_r": 0.4}, 5, False)
    return collector.result(cameras, subject, 100.0, 1.5, source="test")


def test_causal_and_smoothed_land_in_their_frames() -> None:
    lagged = [result(t, estimate(t), estimate(t - 2, 0.02) if t >= 2 else None) for t in range(6)]
    rest = [FrameResult(t * PERIOD_NS, Status.OK, None, estimate(t, 0.01), 0.0) for t in (4, 5)]
    run = collected(lagged[:3], lagged[3:], rest)
    np.testing.assert_array_equal(run.stamps_ns, np.arange(6) * PERIOD_NS)
    for trajectory in (run.causal, run.smoothed):
        np.testing.assert_allclose(trajectory.position[:, 0], 0.01 * np.arange(6), atol=1e-9)
        np.testing.assert_allclose(trajectory.velocity[:, 0], np.arange(6))
        assert trajectory.keypoints.shape == (6, K, 3) and trajectory.joint_centres.shape == (6, J, 3)
        assert list(trajectory.status) == [Status.OK] * 6
    np.testing.assert_allclose(run.latency_s, 0.002)
    assert run.wall_s == 1.5 and run.source == "test" and run.segment_lengths_m == {"thigh_r": 0.4}
    assert run.clock_offset_s is None


def test_the_order_of_coming_does_not_matter() -> None:
    results = [result(t, estimate(t), None) for t in range(5)]
    run, other = collected(results), collected(results[::-1])
    np.testing.assert_array_equal(run.causal.position, other.causal.position)


def test_frames_without_a_person_are_gaps() -> None:
    results = [result(t, estimate(t) if t != 2 else None, None, Status.OK if t != 2 else Status.NO_PERSON) for t in range(4)]
    run = collected(results)
    assert np.isnan(run.causal.position[2]).all() and np.isnan(run.causal.keypoints[2]).all() and np.isnan(run.latency_s[2])
    assert np.isfinite(run.causal.position[[0, 1, 3]]).all() and run.causal.status[2] == Status.NO_PERSON
    assert np.isnan(run.smoothed.position).all() and run.smoothed.status[2] == Status.NO_PERSON
    assert np.isnan(run.observed_xy[2]).all() and not run.observed_confidence[2].any()


def test_only_sure_keypoints_count_in_pixel_errors() -> None:
    run = collected([result(t, estimate(t), None) for t in range(3)])
    errors = run.errors_px()
    np.testing.assert_allclose(errors[:, :2], np.hypot(3, 3), atol=1e-6)
    assert np.isnan(errors[:, 2]).all()
    before = run.errors_px(before=True)
    assert np.nanmedian(before) <= np.hypot(3, 3) + 1e-6 and np.isfinite(before[:, :2]).all()


def test_turning_people_have_no_jumps_of_a_turn() -> None:
    run = collected([result(t, estimate(t, tilt=(3.0 + 0.1 * t + np.pi) % (2 * np.pi) - np.pi) if t != 3 else None, None) for t in range(8)])
    tilt = run.causal.position[:, 3]
    steps = np.diff(tilt[np.isfinite(tilt)])
    np.testing.assert_allclose(np.sort(steps), [0.1] * 5 + [0.2], atol=1e-9)


def test_nothing_collected_is_an_empty_run() -> None:
    run = collected([])
    assert len(run.stamps_ns) == 0 and run.causal.position.shape == (0, N)


def test_angles_and_lengths() -> None:
    angle = coordinate_is_angle(BODY)
    assert not angle[:3].any() and angle[3:].all()
    assert BODY.coordinate_names[3] == "pelvis_tilt"


@pytest.mark.parametrize("lag", [0.0, 0.02])
def test_the_smoothed_figures_are_kept_apart(lag: float) -> None:
    run = collected([result(t, estimate(t), estimate(t, lag)) for t in range(3)])
    extra = run.extra["smoothed"]
    assert extra["lag_s"] == 0.02 and extra["reprojection_px"]["median"] == pytest.approx(np.hypot(3, 3), abs=1e-6)
