"""Step parameters from events and heels: against places that are known, on floors, belts and in turns."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from biomech_fit.core.footprints import footprints, sole
from biomech_fit.core.gait import GaitDetector
from biomech_fit.core.gait_summary import PARAMETERS, SummarySettings, summarise_steps
from biomech_fit.core.steps import SETTLE_S, StepTracker, steps_of_recording
from biomech_fit.core.types import EventType, GaitEvent, Side, Status

STEP_S, STANCE_S, RATE_HZ, FOOT_M = 0.55, 0.7, 100.0, 0.2
EVENT_STD_S = 0.01


def walk(places, directions, step_s=STEP_S, belt=(0.0, 0.0), noise_m=0.0, rise_m=0.0):
    """Events, stamps, heels and toes of feet that are put on given places (n, 2), left first, pointing along `directions` (n,) rad.

    On a belt the places are those at the contact. `rise_m`: how far the heel goes forward in the last 0.2 s of the stance.
    """
    rng = np.random.default_rng(0)
    n = len(places)
    time = np.arange(round((n * step_s + 1) * RATE_HZ)) / RATE_HZ
    heels, toes = np.zeros((2, len(time), 2, 3))
    events = []
    for side in Side:
        knots, points, ahead = [], [], []
        for k in range(int(side), n, 2):
            contact = k * step_s + 0.5
            pointing = np.array([np.cos(directions[k]), np.sin(directions[k])])
            for t, forward in ((contact, 0.0), (contact + STANCE_S - 0.2, 0.0), (contact + STANCE_S, rise_m)):
                knots.append(t)
                points.append(np.asarray(places[k]) + (t - contact) * np.asarray(belt) + forward * pointing)
                ahead.append(pointing)
            beside = np.array([*places[k], 0.0]) + np.array([0.05, 0.0, 0.0])
            for t, kind in ((contact, EventType.INITIAL_CONTACT), (contact + STANCE_S, EventType.FINAL_CONTACT)):
                events.append(GaitEvent(round(t * 1e9), kind, side, beside, EVENT_STD_S, 1.0, 0.1))
        for axis in (0, 1):
            heels[:, side, axis] = np.interp(time, knots, np.array(points)[:, axis])
            toes[:, side, axis] = heels[:, side, axis] + FOOT_M * np.interp(time, knots, np.array(ahead)[:, axis])
    heels[..., :2] += noise_m * rng.standard_normal((*heels.shape[:2], 2))
    return sorted(events, key=lambda e: e.stamp_ns), np.round(time * 1e9).astype(np.int64), heels, toes


def straight(n=9, left_m=0.62, right_m=0.55, width_m=0.1, direction=0.0):
    """Places of an asymmetric straight walk: steps of the left foot are longer."""
    along = np.cumsum([0.0, *(right_m if k % 2 else left_m for k in range(1, n))])
    across = np.where(np.arange(n) % 2 == 0, 0.5, -0.5) * width_m
    turn = np.array([[np.cos(direction), -np.sin(direction)], [np.sin(direction), np.cos(direction)]])
    return np.stack([along, across], 1) @ turn.T, np.full(n, direction)


@pytest.mark.parametrize("direction", [0.0, 2.0, -1.6])
def test_lengths_are_between_the_heels_places_in_stance(direction):
    steps = steps_of_recording(*walk(*straight(direction=direction), rise_m=0.15))
    assert [s.side for s in steps] == [Side.RIGHT, Side.LEFT] * 4 and [s.walk_index for s in steps] == list(range(8))
    for step in steps[1:]:
        # The heel stands for 5/7 of the stance; the contacts' own positions are 5 cm off.
        assert step.step_length_m == pytest.approx(0.62 if step.side == Side.LEFT else 0.55, abs=1e-4)
        assert step.stride_length_m == pytest.approx(1.17, abs=1e-4) and step.step_width_m == pytest.approx(0.1, abs=1e-4)
        assert step.turn_rad == pytest.approx(0, abs=1e-6) and step.belt_speed_m_s == 0
    step = steps[-1]
    assert step.step_time_s == pytest.approx(STEP_S) and step.stride_time_s == pytest.approx(2 * STEP_S)
    assert step.stance_time_s == pytest.approx(STANCE_S) and step.swing_time_s == pytest.approx(2 * STEP_S - STANCE_S)
    assert step.single_support_time_s == pytest.approx(2 * STEP_S - STANCE_S) and step.double_support_time_s == pytest.approx(2 * (STANCE_S - STEP_S))
    assert step.stance_time_s == pytest.approx(step.single_support_time_s + step.double_support_time_s)
    assert step.cadence_steps_per_min == pytest.approx(60 / STEP_S) and step.speed_m_s == pytest.approx(1.17 / (2 * STEP_S), rel=1e-3)
    assert step.walk_ratio_m_min == pytest.approx(step.step_length_m / step.cadence_steps_per_min)


def test_width_is_negative_where_feet_cross_also_backwards():
    for width in (0.12, -0.05):
        places, directions = straight(width_m=width)
        for faced in (directions, directions + np.pi):  # the second walks backwards: left and right exchange their places
            mirrored = places * [1, -1] if faced is not directions else places
            widths = [s.step_width_m for s in steps_of_recording(*walk(mirrored, faced))[1:]]
            np.testing.assert_allclose(widths, width, atol=1e-4)


def test_live_steps_come_soon_and_agree_with_the_whole_stance():
    events, stamps, heels, toes = walk(*straight(), rise_m=0.1)
    late = {s.stamp_ns: s for s in steps_of_recording(events, stamps, heels, toes)}
    tracker, told = StepTracker(), []
    for stamp, heel, toe in zip(stamps, heels, toes, strict=True):
        tracker.observe(int(stamp), heel, toe)
        due = [e for e in events if stamp - 1e7 < e.stamp_ns + 8e7 <= stamp]  # found 80 ms late
        told += [(stamp, step) for step in tracker.update(due)]
    assert len(told) == len(late) == 8
    for stamp, step in told:
        assert (stamp - step.stamp_ns) * 1e-9 == pytest.approx(SETTLE_S, abs=1.5 / RATE_HZ)
        assert step.stride_length_m == pytest.approx(late[step.stamp_ns].stride_length_m, abs=1e-3, nan_ok=True)


def test_on_a_treadmill_lengths_are_along_the_belt():
    """Feet are put down 0.4 and 0.45 m before the pelvis and carried back; two belts run at their own speeds."""
    belt = -1.1
    places = np.array([[0.4 if k % 2 == 0 else 0.45, 0.06 if k % 2 == 0 else -0.06] for k in range(10)])
    steps = steps_of_recording(*walk(places, np.zeros(10), belt=(belt, 0.0)))
    for step in steps[2:]:
        # At a contact the other heel has gone back for one step time.
        ahead = -0.05 if step.side == Side.LEFT else 0.05
        assert step.step_length_m == pytest.approx(ahead - belt * STEP_S, abs=0.005)
        assert step.stride_length_m == pytest.approx(-belt * 2 * STEP_S, abs=0.005) and step.speed_m_s == pytest.approx(1.1, abs=0.01)
        assert step.belt_speed_m_s == pytest.approx(1.1, abs=0.01) and step.step_width_m == pytest.approx(0.12, abs=1e-3)


def test_a_floor_that_is_known_to_rest_has_no_belt():
    places = np.array([[0.4, 0.06 if k % 2 == 0 else -0.06] for k in range(6)])
    recording = walk(places, np.zeros(6), belt=(-1.1, 0.0))
    assert all(s.belt_speed_m_s == 0 for s in steps_of_recording(*recording, belt=False)) and not footprints(*recording, moving=False)[1].any()
    assert footprints(*recording)[1] == pytest.approx([-1.1, 0.0], abs=0.01)


def test_feet_that_slip_once_are_on_no_belt():
    events, stamps, heels, toes = walk(*straight())
    slipping = (stamps > 1.15e9) & (stamps < 1.4e9)
    heels[slipping, 1, 0] -= 0.5 * (stamps[slipping] - 1.15e9) * 1e-9
    assert all(s.belt_speed_m_s == 0 for s in steps_of_recording(events, stamps, heels, toes))


def test_a_turn_is_told_and_left_out_of_the_means():
    """Half a circle of 1 m radius to the left between two straight parts."""
    angle = np.concatenate([np.zeros(5), np.linspace(0, np.pi, 7)[1:], np.full(5, np.pi)])
    middle = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], 1) * 0.5, axis=0)
    left = np.stack([-np.sin(angle), np.cos(angle)], 1) * np.where(np.arange(16) % 2 == 0, 0.06, -0.06)[:, None]
    steps = steps_of_recording(*walk(middle + left, angle))
    assert max(s.turn_rad for s in steps[1:]) == pytest.approx(2 * np.pi / 6, abs=0.01)
    summary = summarise_steps(steps, SummarySettings())
    assert summary.turning == sum(abs(s.turn_rad) > 0.35 for s in steps) > 4
    assert summary.mean[0, PARAMETERS.index("step_width_m")] == pytest.approx(0.12, abs=0.01)


def test_uncertainty_is_that_of_events_and_heels():
    """Standard deviations against the spread over many repetitions with independent errors for each stance."""
    rng = np.random.default_rng(1)
    events, stamps, heels, toes = walk(*straight(n=5))
    lengths, widths, times, told = [], [], [], []
    for _ in range(200):
        moved = [replace(e, stamp_ns=e.stamp_ns + round(EVENT_STD_S * rng.standard_normal() * 1e9)) for e in events]
        noisy = heels.copy()
        noisy[..., :2] += 0.005 * rng.standard_normal((*heels.shape[:2], 2))
        step = steps_of_recording(moved, stamps, noisy, toes)[-1]
        lengths.append(step.step_length_m)
        widths.append(step.step_width_m)
        times.append(step.step_time_s)
        told.append([step.step_length_std_m, step.step_width_std_m, step.step_time_std_s, step.double_support_time_std_s])
    mean = np.mean(told, axis=0)
    # White errors average out over a stance; the told deviation does not count on that (in fits errors last as long as a stance).
    assert mean[0] == pytest.approx(0.005 * np.sqrt(2), rel=0.1) and mean[1] == pytest.approx(0.005 * np.sqrt(1.5), rel=0.1)
    assert np.std(lengths) < mean[0] and np.std(widths) < mean[1]
    assert mean[2] == pytest.approx(np.std(times), rel=0.15) and mean[3] == pytest.approx(2 * EVENT_STD_S, rel=0.01)


def test_a_missed_contact_and_a_rest_give_no_wrong_step():
    events, stamps, heels, toes = walk(*straight())
    missed = [e for e in events if not (e.side == Side.RIGHT and e.type == EventType.INITIAL_CONTACT and 2.0e9 < e.stamp_ns < 2.5e9)]
    steps = steps_of_recording(missed, stamps, heels, toes)
    assert all(s.step_time_s == pytest.approx(STEP_S) for s in steps) and len(steps) == 6
    assert [s.walk_index for s in steps][-4:] == [0, 1, 2, 3]


def test_summary_pools_the_feet_and_skips_the_first_steps():
    steps = steps_of_recording(*walk(*straight(n=12)))
    length = PARAMETERS.index("step_length_m")
    summary = summarise_steps(steps, SummarySettings(skip_steps=2))
    assert summary.skipped == 2 and sum(summary.steps) == 9
    np.testing.assert_allclose(summary.mean[:, length], [0.585, 0.62, 0.55], atol=1e-4)
    assert summary.symmetry[length] == pytest.approx(0.07 / 0.585, abs=1e-3)
    assert summary.sd[0, length] < 1e-3 and summary.cv[0, length] < 1e-3  # asymmetry is not variability
    assert summarise_steps(steps, SummarySettings(strides=2)).steps == (2, 2) and sum(summarise_steps(steps, SummarySettings(strides=2), True).steps) == 11
    assert np.isnan(summarise_steps([], SummarySettings()).mean).all()


def test_footprints_lie_where_the_feet_stood():
    places, directions = straight(direction=1.0)
    prints, belt = footprints(*walk(places, directions, rise_m=0.1))
    np.testing.assert_allclose([p.heel for p in prints], places, atol=1e-4)
    np.testing.assert_allclose([p.toe - p.heel for p in prints], FOOT_M * np.array([[np.cos(1.0), np.sin(1.0)]] * len(places)), atol=1e-4)
    assert not belt.any()
    left, right = (sole(side, np.zeros(2), np.array([0.2, 0.0])) for side in Side)
    np.testing.assert_allclose(left, right * [1, -1])  # mirror images
    assert right[:, 1].min() < -right[:, 1].max() + 0.01  # the little toe's side is the wider one


def test_lengths_are_between_the_heels_that_the_detector_shows():
    """The body's own heels lie 2 cm further out than the keypoints'; a keypoint that the body does not have gives way to the body's."""
    events, stamps, heels, toes = walk(*straight())
    outside = np.array([[0.0, 0.02, 0.0], [0.0, -0.02, 0.0]])
    keypoints = np.concatenate([heels, toes], axis=1)
    for there, width in ((keypoints, 0.1), (np.full_like(keypoints, np.nan), 0.14)):
        detector = GaitDetector(("LHeel", "RHeel", "LBigToe", "RBigToe"), ("LHeel", "RHeel", "LToe", "RToe"))
        centres = np.concatenate([heels + outside, toes], axis=1)
        poses = [
            SimpleNamespace(stamp_ns=int(s), status=Status.OK, keypoints=k, joint_centres=c) for s, k, c in zip(stamps, there, centres, strict=True)
        ]
        feet = [detector.feet(pose) for pose in poses]
        steps = steps_of_recording(events, stamps, np.array([f.heels if f.marks is None else f.marks for f in feet]), toes)
        assert steps[-1].step_width_m == pytest.approx(width, abs=1e-3)
        np.testing.assert_allclose(feet[0].heels, heels[0] + outside)  # events are found on the body's own
