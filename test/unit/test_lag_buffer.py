"""Which frame comes out smoothed, for even, uneven, slower, faster and changing frame rates."""

import numpy as np
import pytest

from biomech_fit.core.readout import Seen
from biomech_fit.core.types import Status
from biomech_fit.stream.lag_buffer import LagBuffer

LAG_S, PERIOD_S, SLOTS, WINDOW_S = 0.25, 1 / 60, 24, 0.4


def run(stamps_s, lag_s=LAG_S):
    """(stamp, lag) in s of the frames that come out, in their order, and the stamps that are left at the end."""
    buffer, out = LagBuffer(SLOTS, lag_s, PERIOD_S), []
    stamps_ns = [round(1e9 * (1 + t)) for t in stamps_s]
    for stamp_ns in stamps_ns:
        buffer.add(Seen(stamp_ns, Status.OK, np.zeros(0), (), ()), None)
        start_ns = stamp_ns - round(WINDOW_S * 1e9)
        slot = buffer.due(start_ns)
        if slot is not None:
            out.append((stamps_ns.index(buffer[slot][0].stamp_ns), 1e-9 * (stamp_ns - buffer[slot][0].stamp_ns)))
    left = [stamps_ns.index(buffer[slot][0].stamp_ns) for slot in buffer.rest(start_ns)]
    return out, left


@pytest.mark.parametrize(("rate_hz", "jitter_s"), [(60.0, 0.0), (60.0, 0.006), (50.0, 0.0), (30.0, 0.0), (15.0, 0.0)])
def test_every_frame_comes_out_once_and_in_order_at_the_lag(rate_hz, jitter_s):
    n = 200
    stamps = np.arange(n) / rate_hz + np.random.default_rng(1).uniform(-jitter_s, jitter_s, n)
    out, left = run(stamps)
    assert [k for k, _ in out] + left == list(range(n))
    lags = [lag for _, lag in out]
    assert min(lags) >= LAG_S - PERIOD_S / 2
    assert max(lags) <= LAG_S + max(2 * PERIOD_S, 1 / rate_hz) + 2 * jitter_s


def test_frames_that_come_faster_than_stated_come_out_before_they_leave_the_window():
    out, left = run(np.arange(300) / 120)
    assert [k for k, _ in out] + left == list(range(300))
    assert {round(lag * 120) for _, lag in out} == {SLOTS - 2}


def test_where_the_rate_falls_the_lag_is_kept_and_some_frames_never_come_out():
    stamps = [*np.arange(120) / 60, *(2 + np.arange(60) / 30), *(4 + np.arange(120) / 60)]
    out, left = run(stamps)
    numbers = [k for k, _ in out] + left
    assert numbers == sorted(set(numbers)), "in order, none twice"
    missing = set(range(len(stamps))) - set(numbers)
    assert missing <= set(range(105, 120)) and 5 <= len(missing) <= 8, "about half of those within the lag when the rate fell"
    assert max(lag for _, lag in out) <= LAG_S + 4 * PERIOD_S


def test_without_a_lag_the_newest_frame_comes_out():
    out, left = run(np.arange(50) / 60, lag_s=0.0)
    assert out == [(k, 0.0) for k in range(50)] and not left


def test_after_a_gap_longer_than_the_window_nothing_old_comes_out():
    out, _ = run([*np.arange(60) / 60, *(3 + np.arange(60) / 60)])
    assert max(lag for _, lag in out) < WINDOW_S
    assert [k for k, _ in out][-1] == 104
