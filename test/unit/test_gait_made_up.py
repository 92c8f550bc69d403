"""Gait events of made-up walks: healthy, hemiparetic, on the toes, shuffling, turning, stopping, on a belt; and of people who do not walk."""

import numpy as np
import pytest
from made_up_walks import GAITS, contacts, feet

from biomech_fit.core.gait import FeetAt, GaitDetector, GaitSettings
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
