"""Gait events and steps: made-up walks, real labelled walks, and what must give no event."""

import numpy as np
import pytest

from biomech_fit.core.errors import InputError
from biomech_fit.core.gait import GaitDetector
from biomech_fit.core.steps import StepTracker
from biomech_fit.core.types import EventType, GaitEvent, PoseEstimate, Side, Status

NAMES = ("LHeel", "RHeel", "LBigToe", "RBigToe")
STRIDE_S, STRIDE_M, WIDTH_M = 1.1, 1.2, 0.12


def foot(phase):
    """Heel and toe (forward, up) of one foot; phase 0 = initial contact, 0.62 = final contact."""
    cycle, u = np.floor(phase), phase % 1.0
    roll = np.clip((u - 0.40) / 0.22, 0, 1)
    swing = np.clip((u - 0.62) / 0.38, 0, 1)
    forward = STRIDE_M * (0.35 * swing + 0.65 * (10 * swing**3 - 15 * swing**4 + 6 * swing**5))
    pitch = 0.9 * (1 - np.cos(np.pi * roll)) / 2 * (1 - swing) + 0.25 * np.sin(np.pi * swing) * (swing > 0)
    toe = np.stack([STRIDE_M * cycle + 0.2 + forward, 0.02 + 0.05 * np.sin(np.pi * swing) ** 2], -1)
    heel = toe - np.stack([0.2 * np.cos(pitch), -0.2 * np.sin(pitch)], -1)
    return heel, toe


def walk(seconds=8.0, rate=60.0, direction=0.0, noise=0.0, seed=0):
    """Stamps (ns), heels and toes (T, 2, 3) of a walk, and the times of contact by side."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    across = np.array([-np.sin(direction), np.cos(direction), 0])
    along = np.array([np.cos(direction), np.sin(direction), 0])
    heels, toes = np.zeros((2, len(t), 2, 3))
    for side, shift in ((0, 0.0), (1, 0.5)):
        for target, points in zip((heels, toes), foot(t / STRIDE_S + shift), strict=True):
            target[:, side] = points[:, :1] * along + points[:, 1:] * [0, 0, 1] + (0.5 - side) * WIDTH_M * across
    heels += noise * rng.standard_normal(heels.shape)
    toes += noise * rng.standard_normal(toes.shape)
    return np.round(t * 1e9).astype(int) + 10**9, heels, toes


def run(detector, stamps, heels, toes):
    events = []
    for s, h, f in zip(stamps, heels, toes, strict=True):
        events += detector.update_points(int(s), h, f)
    return events


@pytest.mark.parametrize("direction", [0.0, 1.0, np.pi, -1.7])
@pytest.mark.parametrize(("rate", "noise"), [(60, 0.0), (60, 0.003), (100, 0.003), (30, 0.0)])
def test_walk_in_any_direction(direction, rate, noise):
    detector = GaitDetector(NAMES)
    events = run(detector, *walk(rate=rate, direction=direction, noise=noise))
    for side, shift in ((Side.LEFT, 0.0), (Side.RIGHT, 0.5)):
        for kind, phase in ((EventType.INITIAL_CONTACT, 0.0), (EventType.FINAL_CONTACT, 0.62)):
            mine = [e for e in events if e.side == side and e.type == kind]
            true = [t for t in (np.arange(-1, 10) + phase - shift) * STRIDE_S if 1.0 < t < 7.7]
            found = [[e for e in mine if abs(e.stamp_ns * 1e-9 - 1 - t) < 0.1] for t in true]
            assert all(len(f) == 1 for f in found), (side, kind)
            assert len([e for e in mine if 1.0 < e.stamp_ns * 1e-9 - 1 < 7.6]) <= len(true)
            assert all(0.005 < f[0].time_std_s < 0.06 and 0.2 < f[0].confidence <= 1 and 0 < f[0].detection_delay_s < 0.25 for f in found)
    steps = [s for s in detector.steps() if np.isfinite(s.double_support_time_s)]
    assert len(steps) >= 8 and not detector.steps()
    assert np.median([s.step_length_m for s in steps]) == pytest.approx(STRIDE_M / 2, abs=0.03)
    assert np.median([s.stride_length_m for s in steps]) == pytest.approx(STRIDE_M, abs=0.03)
    assert np.median([s.step_width_m for s in steps]) == pytest.approx(WIDTH_M, abs=0.01)
    assert np.median([s.stride_time_s for s in steps]) == pytest.approx(STRIDE_S, abs=0.02)
    assert np.median([s.speed_m_s for s in steps]) == pytest.approx(STRIDE_M / STRIDE_S, abs=0.04)
    assert np.median([s.stance_time_s + s.swing_time_s for s in steps]) == pytest.approx(STRIDE_S, abs=0.04)
    assert np.median([s.double_support_time_s for s in steps]) == pytest.approx(0.24 * STRIDE_S, abs=0.035)
    assert np.median([s.cadence_steps_per_min for s in steps]) == pytest.approx(2 * 60 / STRIDE_S, abs=4)


def test_position_is_on_the_floor_under_the_heel():
    events = run(GaitDetector(NAMES), *walk())
    left = [e for e in events if e.side == Side.LEFT and e.type == EventType.INITIAL_CONTACT]
    assert len(left) >= 6
    for e in left:
        assert e.position[0] % STRIDE_M == pytest.approx(0.0, abs=0.05) or e.position[0] % STRIDE_M == pytest.approx(STRIDE_M, abs=0.05)
        assert e.position[1] == pytest.approx(WIDTH_M / 2, abs=0.005)
        assert e.position[2] == pytest.approx(0.02, abs=0.015)


def test_other_vertical():
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # z up becomes y up
    stamps, heels, toes = walk()
    events = run(GaitDetector(NAMES), stamps, heels, toes)
    turned = run(GaitDetector(NAMES, up=turn @ [0, 0, 1]), stamps, heels @ turn.T, toes @ turn.T)
    assert [(e.stamp_ns, e.side, e.type) for e in events] == [(e.stamp_ns, e.side, e.type) for e in turned]
    np.testing.assert_allclose([turn @ e.position for e in events], [e.position for e in turned], atol=1e-9)


def test_standing_swaying_and_lifting_the_heel_give_no_event():
    rng = np.random.default_rng(0)
    t = np.arange(1800) / 60
    base = np.array([[0, 0.1, 0.03], [0, -0.1, 0.03]])
    heels = base + np.zeros((len(t), 1, 1)) + 0.004 * rng.standard_normal((len(t), 2, 3))
    toes = heels + np.array([0.2, 0, 0])
    heels[:, :, 0] += 0.01 * np.sin(2 * np.pi * 0.4 * t)[:, None]
    heels[:, 0, 2] += 0.05 * np.sin(np.pi * t / 2) ** 2  # the left heel rises and falls, its toe stays
    detector = GaitDetector(NAMES)
    assert run(detector, np.round(t * 1e9).astype(int), heels, toes) == []
    assert detector.contact() == (True, True)


def test_gap_and_missing_feet_give_no_false_event():
    stamps, heels, toes = walk(seconds=12)
    clean = run(GaitDetector(NAMES), stamps, heels, toes)
    gap = (stamps > 4 * 10**9) & (stamps < 7 * 10**9)
    holes = heels.copy()
    holes[gap] = np.nan
    for events in (run(GaitDetector(NAMES), stamps, holes, toes), run(GaitDetector(NAMES), stamps[~gap], heels[~gap], toes[~gap])):
        assert {(e.side, e.type) for e in events} == {(s, k) for s in Side for k in EventType}
        for e in events:
            assert any(c.side == e.side and c.type == e.type and abs(c.stamp_ns - e.stamp_ns) < 30e6 for c in clean)
            assert not 4.01e9 < e.stamp_ns < 7e9
        assert len([e for e in events if e.stamp_ns > 8.4e9]) == len([e for e in clean if e.stamp_ns > 8.4e9])


def test_backwards_stamps():
    stamps, heels, toes = walk()
    detector = GaitDetector(NAMES)
    first = run(detector, stamps, heels, toes)
    assert detector.update_points(int(stamps[-1]), heels[-1], toes[-1]) == []
    assert detector.update_points(int(stamps[-5]), heels[0], toes[0]) == []
    again = run(detector, stamps, heels, toes)
    assert [e.stamp_ns for e in again] == [e.stamp_ns for e in first]


def test_from_pose_estimates_and_names():
    stamps, heels, toes = walk(seconds=4)
    plain = run(GaitDetector(NAMES), stamps, heels, toes)
    by_centre = GaitDetector(("Nose",), ("LHeel", "LToe", "RHeel", "RToe"))
    events = []
    for s, h, f in zip(stamps, heels, toes, strict=True):
        zero = np.zeros(1)
        events += by_centre.update(
            PoseEstimate(
                stamp_ns=int(s), status=Status.OK, position=zero, velocity=zero, position_std=zero, qpos=zero, pelvis_position=zero, pelvis_quat_wxyz=zero,
                pelvis_covariance=zero, keypoints=np.zeros((1, 3)), keypoint_std=np.zeros((1, 3)), joint_centres=np.stack([h[0], f[0], h[1], f[1]]),
                lag_s=0.0, reprojection_rms_px=1.0, cameras_used=(), cameras_missing=(),
            )
        )  # fmt: skip
    assert [e.stamp_ns for e in events] == [e.stamp_ns for e in plain]
    GaitDetector(("left_ankle", "right_ankle"))
    with pytest.raises(InputError, match=r"left foot has none.*Nose"):
        GaitDetector(("Nose", "RHeel", "RBigToe"))


def test_step_tracker_needs_both_feet_and_forgets_old_walks():
    def contact(t, side, x, y):
        return GaitEvent(round(t * 1e9), EventType.INITIAL_CONTACT, side, np.array([x, y, 0]), 0.01, 1.0, 0.1)

    tracker = StepTracker()
    assert tracker.update([contact(1, Side.LEFT, 0, 0.1), contact(2, Side.LEFT, 1, 0.1)]) == []
    (step,) = tracker.update([contact(2.5, Side.RIGHT, 1.5, -0.1)])
    assert np.isnan(step.stride_length_m) and step.step_time_s == pytest.approx(0.5)
    (step,) = tracker.update([contact(3.0, Side.LEFT, 2.0, 0.1)])
    assert step.step_width_m == pytest.approx(0.2) and step.step_length_m == pytest.approx(0.5)
    assert tracker.update([contact(20.0, Side.RIGHT, 5.0, -0.1)]) == []
