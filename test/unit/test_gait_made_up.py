"""Gait events of made-up walks: healthy, hemiparetic, on the toes, shuffling, turning, stopping, on a belt; and of people who do not walk."""

from types import SimpleNamespace

import numpy as np
import pytest
from made_up_walks import GAITS, Gait, contacts, feet

from biomech_fit.core.gait import FeetAt, GaitDetector, GaitSettings
from biomech_fit.core.gait_recording import offline_gait
from biomech_fit.core.types import EventType, PoseEstimate, Side, Status

NAMES = ("LHeel", "RHeel", "LToe", "RToe")
SECONDS, SETTLED_S = 14.0, 1.2
NOISE_M = 0.002
FOOT = np.array([0.2, 0.0, 0.0])
TOLERANCE_S = 0.1
"""Made-up feet leave and land less abruptly than real ones, and some swings begin slowly. Times are tested on real walks; here none may be missing."""


def made_up(name: str, rate: float = 60.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    time = np.arange(0, SECONDS, 1 / rate)
    heels, toes = feet(GAITS[name], time)
    return time, heels + NOISE_M * rng.standard_normal(heels.shape), toes + NOISE_M * rng.standard_normal(toes.shape)


@pytest.mark.parametrize("name", GAITS)
def test_every_contact_once(name):
    time, heels, toes = made_up(name)
    detector = GaitDetector(NAMES)
    events = [e for t, h, o in zip(time, heels, toes, strict=True) for e in detector.update_points(round(t * 1e9), h, o)]
    for (side, kind), true in contacts(GAITS[name], SETTLED_S, SECONDS - 0.3).items():
        mine = [e for e in events if (e.side, e.type) == (side, kind)]
        near = [[e for e in mine if abs(e.stamp_ns * 1e-9 - t) < TOLERANCE_S] for t in true]
        assert [len(n) for n in near] == [1] * len(true), (Side(side).name, EventType(kind).name)
        inside = [e for e in mine if SETTLED_S + TOLERANCE_S < e.stamp_ns * 1e-9 < SECONDS - 0.3 - TOLERANCE_S]
        assert len(inside) <= len(true)
        # Delays count from the event's own time here; within 0.15 s of the contact itself are 95 % on real walks.
        assert all(0 < n[0].detection_delay_s < 0.16 for n in near)


def test_belts_are_found_and_floors_are_not():
    for name, gait in GAITS.items():
        time, heels, toes = made_up(name)
        detector = GaitDetector(NAMES)
        for t, h, o in zip(time, heels, toes, strict=True):
            detector.update_points(round(t * 1e9), h, o)
        assert detector.floor_velocity == pytest.approx((-gait.belt_m_s, 0.0), abs=0.06), name


def test_standing_for_a_minute_gives_no_event():
    rng = np.random.default_rng(0)
    time = np.arange(0, 60, 1 / 60)
    place = np.array([[0, 0.1, 0.03], [0, -0.1, 0.03]])
    sway = 0.01 * np.sin(2 * np.pi * 0.4 * time)[:, None, None] * [1, 0.5, 0]
    heels = place + sway + 0.006 * rng.standard_normal((len(time), 2, 3))
    toes = place + [0.2, 0, 0] + sway + 0.006 * rng.standard_normal((len(time), 2, 3))
    heels[:, 1, 2] += 0.06 * np.sin(np.pi * time / 3) ** 4  # weight shifts lift one heel
    for moving_floor in (True, False):
        detector = GaitDetector(NAMES, settings=GaitSettings(moving_floor=moving_floor))
        assert [e for t, h, o in zip(time, heels, toes, strict=True) for e in detector.update_points(round(t * 1e9), h, o)] == []
        assert detector.contact() == (True, True)


def test_a_pose_that_is_only_predicted_soon_does_not_count():
    time, heels, toes = made_up("usual")
    detector, known = GaitDetector((), NAMES), []
    zero = np.zeros(1)
    for t, h, o in zip(time, heels, toes, strict=True):
        lost = 5.0 < t < 8.0
        estimate = PoseEstimate(
            stamp_ns=round(t * 1e9), status=Status.PREDICTED if lost else Status.OK, position=zero, velocity=zero, position_std=zero, qpos=zero,
            pelvis_position=zero, pelvis_quat_wxyz=zero, pelvis_covariance=zero, keypoints=np.zeros((0, 3)), keypoint_std=np.zeros((0, 3)),
            joint_centres=np.concatenate([h, o]), lag_s=0.0, reprojection_rms_px=1.0, cameras_used=(), cameras_missing=(),
        )  # fmt: skip
        known += detector.update(estimate)
    assert not [e for e in known if 5.12 < e.stamp_ns * 1e-9 < 8.0]
    assert len([e for e in known if e.stamp_ns * 1e-9 < 5.0]) >= 14 and len([e for e in known if e.stamp_ns * 1e-9 > 8.6]) >= 16


def on_a_platform(name: str, height_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three seconds of standing on the floor beside it, then the walk so much higher, from time 0 on."""
    time, heels, toes = made_up(name)
    before = np.arange(-3.0, -1e-6, 1 / 60)
    rng = np.random.default_rng(1)
    place = np.array([[-0.5, 0.06, 0.02], [-0.5, -0.06, 0.02]]) + NOISE_M * rng.standard_normal((len(before), 2, 3))
    up = [0.0, 0.0, height_m]
    return np.r_[before, time], np.r_[place, heels + up], np.r_[place + FOOT, toes + up]


@pytest.mark.parametrize("height_m", [0.05, 0.15])
@pytest.mark.parametrize("name", ["usual", "treadmill", "flat-footed on a treadmill"])
def test_a_treadmill_is_higher_than_the_floor_beside_it(name, height_m):
    """All contacts from 1.3 s after the person has stepped up, at the height where they are; live, and offline."""
    time, heels, toes = on_a_platform(name, height_m)
    detector = GaitDetector(NAMES)
    live = [e for t, h, o in zip(time, heels, toes, strict=True) for e in detector.update_points(round((t + 3) * 1e9), h, o)]
    assert detector.floor_velocity == pytest.approx((-GAITS[name].belt_m_s, 0.0), abs=0.06)
    offline = detector.detect([FeetAt(round((t + 3) * 1e9), h, o) for t, h, o in zip(time, heels, toes, strict=True)])
    for events in (live, offline):
        for (side, kind), true in contacts(GAITS[name], 1.3, SECONDS - 0.3).items():
            mine = [e for e in events if (e.side, e.type) == (side, kind)]
            near = [[e for e in mine if abs(e.stamp_ns * 1e-9 - 3 - t) < TOLERANCE_S] for t in true]
            assert [len(n) for n in near] == [1] * len(true), (Side(side).name, EventType(kind).name)
            assert all(n[0].position[2] == pytest.approx(height_m + 0.02, abs=0.02) for n in near)


def test_a_fit_that_dips_for_a_moment_is_not_the_floor():
    time, heels, toes = made_up("usual")
    dip = (time > 5.0) & (time < 5.06)
    heels[dip, 0, 2] -= 0.15
    toes[dip, 1, 2] -= 0.045
    detector = GaitDetector(NAMES)
    events = [e for t, h, o in zip(time, heels, toes, strict=True) for e in detector.update_points(round(t * 1e9), h, o)]
    late = [e for e in events if e.stamp_ns > 6e9]
    assert all(e.position[2] == pytest.approx(0.02, abs=0.012) for e in late)
    assert len(late) == sum(len(times) for times in contacts(GAITS["usual"], 6.0, SECONDS - 0.2).values())


def test_the_floor_stays_while_somebody_stands_on_one_leg():
    """The right foot is held at 0.2 m for six seconds, longer than anybody hovers."""
    rng = np.random.default_rng(5)
    time = np.arange(0, 12, 1 / 60)
    heels = np.array([[0, 0.1, 0.03], [0, -0.1, 0.03]]) + NOISE_M * rng.standard_normal((len(time), 2, 3))
    heels[:, 1, 2] += 0.2 * np.clip(np.minimum(time - 3, 9.6 - time) / 0.6, 0, 1)
    detector, events = GaitDetector(NAMES), []
    for t, h in zip(time, heels, strict=True):
        events += detector.update_points(round(t * 1e9), h, h + FOOT)
    assert {e.side for e in events} == {Side.RIGHT}
    assert all(e.position[2] == pytest.approx(0.03, abs=0.01) for e in events)


def test_offline_knows_the_belt_from_the_start():
    time, heels, toes = made_up("treadmill")
    detector = GaitDetector(NAMES)
    events = detector.detect([FeetAt(round(t * 1e9), h, o) for t, h, o in zip(time, heels, toes, strict=True)])
    for (side, kind), true in contacts(GAITS["treadmill"], 0.2, SECONDS - 0.05).items():
        mine = np.array([e.stamp_ns * 1e-9 for e in events if (e.side, e.type) == (side, kind)])
        assert all((np.abs(mine - t) < TOLERANCE_S).sum() == 1 for t in true) and len(mine) <= len(true) + 2
    assert events == sorted(events, key=lambda e: e.stamp_ns)


def detector():
    return GaitDetector(("LHeel", "LBigToe", "RHeel", "RBigToe"))


def live(heels, toes, rate_hz=100.0):
    """Events and steps of feet as they come."""
    found, events, steps = detector(), [], []
    for k, (heel, toe) in enumerate(zip(heels, toes, strict=True)):
        events += found.update_points(round(k * 1e9 / rate_hz), heel, toe)
        steps += found.steps()
    events += found.finish()
    return events, steps + found.steps(), found


def noisy(gait, seconds, rate_hz=100.0, seed=0, noise_m=1e-3):
    rng = np.random.default_rng(seed)
    return (points + rng.normal(0, noise_m, points.shape) for points in feet(gait, np.arange(round(seconds * rate_hz)) / rate_hz))


def test_a_ramp_is_walked_up_to_its_end():
    """The floor is found to be higher again and again, each time all that was said of late is decided anew, also where half of it is just being dropped."""
    slope = np.arctan(0.1)
    turn = np.array([[np.cos(slope), 0, -np.sin(slope)], [0, 1, 0], [np.sin(slope), 0, np.cos(slope)]])
    heels, toes = (points @ turn.T for points in noisy(GAITS["usual"], 60.0, 60.0, noise_m=5e-4))
    events, _, _ = live(heels, toes, 60.0)
    assert len([e for e in events if e.stamp_ns > 55e9]) >= 12


def test_stepping_on_the_spot_is_found_offline_too():
    heels, toes = noisy(GAITS["on the spot"], 20.0)
    events, _, _ = live(heels, toes)
    whole, _ = offline_gait(detector(), [FeetAt(k * 10_000_000, *both) for k, both in enumerate(zip(heels, toes, strict=True))])
    assert len(events) > 60 and abs(len(whole) - len(events)) <= 3


def test_a_foot_that_is_not_seen_any_more_says_nothing():
    """It was lost while standing, then a belt starts: the other foot does not walk on a floor that rests."""
    heels, toes = (np.concatenate([np.repeat(points[:1], 300, 0), points]) for points in noisy(GAITS["flat-footed on a treadmill"], 20.0))
    heels[250:, 0] = np.nan
    events, _, found = live(heels, toes)
    right = [e for e in events if e.side == Side.RIGHT and e.type == EventType.INITIAL_CONTACT and e.stamp_ns > 4e9]
    assert len(right) >= 15 and found.contact()[0] is None and found.contact()[1] is not None


def test_one_low_sample_after_a_gap_is_not_the_floor():
    heels, toes = noisy(GAITS["usual"], 20.0, 60.0)
    _, _, clean = live(heels, toes, 60.0)
    for points in (heels, toes):
        points[266:284, 0] = np.nan
        points[284, 0, 2] -= 0.10  # while it stands
    _, _, found = live(heels, toes, 60.0)
    sample = SimpleNamespace(position=(0.0,) * 6)
    np.testing.assert_allclose([found._height.lifts(foot, sample) for foot in (0, 1)], [clean._height.lifts(foot, sample) for foot in (0, 1)], atol=0.01)


def test_a_walk_after_a_stop_is_another_walk():
    """Strides do not reach back over the stop, jumps with both feet are no steps, and who walks backwards makes no negative ones."""
    pause = 1.6 / 1.1
    stops = Gait(rests=((3.06, 3.06 + pause), (7.06 + pause, 7.06 + 2 * pause)))
    _, steps, _ = live(*noisy(stops, 20.0))
    first = [step for step in steps if step.walk_index == 0]
    assert len(first) == 3 and all(np.isnan(step.stride_length_m) and np.isnan(step.stance_time_s) and step.step_length_m > 0 for step in first)
    stride = [step.stride_time_s for step in steps if np.isfinite(step.stride_time_s)]
    assert len(stride) > 15 and max(stride) < 1.25
    hops = Gait(stride_s=0.8, stride_m=0.5, stance=(0.55, 0.55), shift=(0.0, 0.02), clearance_m=0.1, landing_pitch=0.1, leaving_pitch=0.5)
    _, steps, _ = live(*noisy(hops, 15.0))
    assert all(step.step_time_s > 0.3 for step in steps)
    _, steps, _ = live(*noisy(GAITS["backwards"], 10.0))
    assert len(steps) > 8 and all(step.step_length_m > 0.1 for step in steps)
