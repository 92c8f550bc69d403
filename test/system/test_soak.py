"""A short soak with a handful of faults, as a user would start it; and the soak's own judgement, which must be able to fail."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from biomech_fit.sim.faults import ALL, Away, ClockStep, Silent

SCRIPT = Path(__file__).parents[2] / "benchmark" / "soak.py"


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["soak"]


def test_a_short_soak_passes(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--minutes", "0.42", "--seed", "37", "-o", str(tmp_path / "soak.json")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    out = json.loads((tmp_path / "soak.json").read_text())
    assert all(out["checks"].values()) and out["problems"] == [] and out["recompilations"] == 0
    # 25 s at 60 Hz, less the 4 s or so while the person is away; a duplicate, a reordering, a clock, swaps, a silent camera and the person leaving
    assert out["frames"] > 0.8 * 25 * 60 and out["faults"] >= 7 and len(out["by_fault"]) >= 6
    assert "Soak passed." in done.stderr


@pytest.fixture
def course(soak):
    """Ten seconds of a person who stands at the origin; a camera is silent from 2 to 4 s, all clocks are a second ahead from 6 to 7 s."""
    time_s = soak.START_S + np.arange(600) / 60
    faults = [Silent(1, 12.0, 14.0), ClockStep(ALL, 16.0, 17.0, step_s=1.0), Away(ALL, 19.4)]
    return soak.Course(soak.Part(0, [], time_s, np.zeros((600, 5, 3)), faults))


def _frames(course, error_at, stamp_shift=lambda t: 0.0) -> None:
    for t in course.part.time_s[course.part.time_s < 19.4]:
        points = np.full((5, 3), error_at(t) / np.sqrt(3.0))
        estimate = SimpleNamespace(keypoints=points, stamp_ns=round((t + stamp_shift(t)) * 1e9))
        course.add(SimpleNamespace(causal=estimate, smoothed=None, stamp_ns=estimate.stamp_ns), t)


def test_recovery_is_measured_from_the_end_of_the_fault(course) -> None:
    _frames(course, lambda t: 0.3 if 12.0 <= t < 14.5 else 0.005)
    assert course.recovery_s(14.0) == pytest.approx(0.5, abs=1 / 60 + 1e-6)
    assert course.recovery_s(16.0) == pytest.approx(0.0, abs=1 / 60 + 1e-6)
    errors, missing = course.undisturbed()
    assert errors.max() == pytest.approx(0.005) and missing <= 1


def test_nobody_is_asked_to_track_a_person_who_is_away(course) -> None:
    course.part.faults.append(Away(ALL, 15.5, 16.5))
    assert course.due_s(16.0) == 16.5 and course.due_s(16.5) == 16.5 and course.due_s(14.0) == 14.0


def test_a_body_that_does_not_come_back_is_seen(course) -> None:
    _frames(course, lambda t: 0.3 if t >= 12.0 else 0.005)
    assert course.recovery_s(14.0) == np.inf
    errors, _ = course.undisturbed()
    assert (errors > 0.04).sum() > 50


def test_an_error_that_only_flickers_under_the_bound_is_no_recovery(course) -> None:
    _frames(course, lambda t: 0.3 if 12.0 <= t < 16.0 and round(60 * t) % 10 else 0.005)
    assert course.recovery_s(14.0) == pytest.approx(2.0, abs=1 / 6)


def test_a_clock_that_is_set_does_not_disturb_the_comparison(course) -> None:
    course.part.keypoints[:] = np.arange(600)[:, None, None] / 60  # walks at 1 m/s: a second off would be 1.7 m
    for t in course.part.time_s[:-1]:
        shift = 1.0 if 16.0 <= t < 17.0 else 0.0
        estimate = SimpleNamespace(keypoints=np.full((5, 3), t - 10.0), stamp_ns=round((t + shift) * 1e9))
        course.add(SimpleNamespace(causal=estimate, smoothed=None, stamp_ns=estimate.stamp_ns), t + 0.02)
    assert np.nanmax(course.error_m) < 1e-6


def test_what_is_not_finite_is_named(soak) -> None:
    fields = ("position", "velocity", "position_std", "qpos", "pelvis_position", "pelvis_quat_wxyz", "pelvis_covariance", "joint_centres", "keypoints")
    good = SimpleNamespace(**{name: np.ones(3) for name in (*fields, "keypoint_std")})
    result = SimpleNamespace(causal=good, smoothed=None)
    assert soak.not_finite(result) == []
    bad = SimpleNamespace(**{**vars(good), "velocity": np.array([np.nan, 0, 0]), "keypoint_std": np.zeros(3)})
    assert soak.not_finite(SimpleNamespace(causal=good, smoothed=bad)) == ["smoothed.velocity", "smoothed.keypoints"]


def test_memory_that_grows_is_seen(soak) -> None:
    times = np.arange(0.0, 600.0, 5.0)
    steady = [(t, 500.0 + min(t, 60.0)) for t in times]
    leaking = [(t, 500.0 + 0.1 * t) for t in times]
    assert soak.memory_growth(steady) == 0.0
    assert soak.memory_growth(leaking) > soak.MEMORY_GROWTH
    assert soak.memory_growth(leaking[:20]) is None


def test_parts_follow_one_another(soak) -> None:
    first, second = (soak.make_part(3, 2, part, 12.0, ("silent", "loss")) for part in (0, 1))
    assert second.time_s[0] - first.time_s[0] == pytest.approx(soak.PART_S)
    assert all(p.received_ns is not None and p.stamp_ns > 0 for p in (*first.packets, *second.packets))
    assert {f.kind for f in second.faults} <= {"silent", "loss", "away"} and sum(f.kind == "away" for f in second.faults) == 2
    again = soak.make_part(3, 2, 1, 12.0, ("silent", "loss"))
    assert [replace(a) for a in again.faults] == second.faults and len(again.packets) == len(second.packets)
