"""Which frames are taken where they come faster than the window was made for."""

from __future__ import annotations

import numpy as np
import pytest

from biomech_fit.stream.frame_budget import FrameBudget


def taken(budget: FrameBudget, rate_hz: float, cameras=lambda k: 8, seconds: float = 10.0, jitter: float = 0.0) -> list[int]:
    stamps = np.arange(round(seconds * rate_hz)) / rate_hz
    stamps = stamps + jitter / rate_hz * np.random.default_rng(0).uniform(-0.5, 0.5, len(stamps))
    return [k for k, t in enumerate(stamps) if budget.takes(1_000_000_000 + round(t * 1e9), cameras(k))]


@pytest.mark.parametrize("rate_hz", [10.0, 30.0, 59.94, 60.0, 62.0])
def test_at_the_nominal_rate_and_below_all_are_taken(rate_hz: float) -> None:
    budget = FrameBudget(60.0)
    assert len(taken(budget, rate_hz, jitter=0.9)) == round(10 * rate_hz)
    assert not budget.problem and not budget.rows()


@pytest.mark.parametrize("rate_hz", [66.0, 75.0, 100.0, 250.0])
def test_faster_ones_are_thinned_evenly_and_told(rate_hz: float) -> None:
    budget = FrameBudget(60.0)
    kept = taken(budget, rate_hz)
    assert 600 <= len(kept) <= 1.05 * 600 + 3 and np.diff(kept).max() <= np.ceil(rate_hz / 60)
    (row,) = budget.rows()
    assert row[:2] == (1, "frame rate") and "60 Hz" in row[2] and row[3] == {"offered": round(10 * rate_hz), "left_out": round(10 * rate_hz) - len(kept)}
    assert budget.problem == row[2] and not budget.rows()  # told once


def test_frames_of_all_cameras_come_first() -> None:
    """Two cameras of eight at twice the rate: the frames that are taken are those of all eight."""
    budget = FrameBudget(60.0)
    kept = taken(budget, 120.0, lambda k: 2 if k % 2 else 8)
    assert sum(k % 2 == 0 for k in kept) >= 598 and sum(k % 2 for k in kept) < 50


def test_lost_packets_are_no_reason_to_leave_out_frames() -> None:
    rng = np.random.default_rng(2)
    assert len(taken(FrameBudget(60.0), 60.0, lambda k: int(rng.integers(2, 9)))) == 600
