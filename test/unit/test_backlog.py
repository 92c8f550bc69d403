"""Frames left out by a fit that does not keep up: the wait stays bounded, with as few gaps as may be."""

import threading
import time
from itertools import pairwise

import numpy as np
import pytest

from biomech_fit.core.types import FrameResult, KeypointPacket, Status
from biomech_fit.ros import worker
from biomech_fit.ros.backlog import Backlog

PERIOD_S, MAX_WAIT_S = 1 / 60, 1.0


def run(fit_s, frames=1200, stall=(), max_wait_s=MAX_WAIT_S, stall_s=0.7):
    """(waits of the fitted frames, indices of those left out) where each fit takes fit_s, and the frames in `stall` take stall_s more."""
    backlog, clock, waits, left_out = Backlog(max_wait_s), 0.0, [], []
    for k in range(frames):
        came = k * PERIOD_S
        clock = max(clock, came)
        out = backlog.leaves_out(clock - came)
        backlog.went(out, clock - came)
        if out:
            left_out.append(k)
        else:
            waits.append(clock - came)
            clock += fit_s + (stall_s if k in stall else 0.0)
    return waits, left_out


def test_nothing_is_left_out_by_a_fit_that_keeps_up():
    assert run(0.8 * PERIOD_S) == ([pytest.approx(0.0, abs=1e-9)] * 1200, [])


def runs(left_out):
    """Lengths of the gaps, in frames."""
    lengths = [1]
    for a, b in pairwise(left_out):
        lengths += [1] if b - a > 1 else []
        lengths[-1] += b - a == 1
    return lengths


@pytest.mark.parametrize("share", [1.2, 1.6, 1.95])
def test_a_fit_of_up_to_twice_the_period_catches_up_again_and_again_without_a_gap_of_two_frames(share):
    waits, left_out = run(share * PERIOD_S)
    assert max(waits) < 0.5 * MAX_WAIT_S + 2 * PERIOD_S
    assert min(waits[len(waits) // 2 :]) < 0.06 * MAX_WAIT_S
    assert max(runs(left_out)) == 1
    assert len(waits) == pytest.approx(1200 / share, rel=0.08), "it should do about what the machine can"


@pytest.mark.parametrize("share", [2.5, 4.0])
def test_a_fit_of_several_periods_leaves_out_more_and_catches_up_too(share):
    waits, left_out = run(share * PERIOD_S)
    assert max(waits) < 0.8 * MAX_WAIT_S
    assert min(waits[len(waits) // 2 :]) < 0.1 * MAX_WAIT_S
    assert max(runs(left_out)) <= share + 1
    assert len(waits) == pytest.approx(1200 / share, rel=0.15)


def test_no_fit_takes_a_frame_that_waited_too_long():
    waits, _ = run(20 * PERIOD_S)
    assert max(waits) <= MAX_WAIT_S


def test_after_a_stall_every_second_frame_is_left_out_until_it_has_caught_up():
    waits, left_out = run(0.8 * PERIOD_S, stall={100})
    assert 101 <= left_out[0] <= 102 and left_out[-1] < 200
    assert max(runs(left_out)) == 1
    assert waits[-1] == pytest.approx(0.0, abs=1e-9)


def test_a_delay_that_lasts_is_shortened_before_it_is_long():
    waits, left_out = run(1.3 * PERIOD_S)
    assert max(waits) < 0.3 * MAX_WAIT_S and max(runs(left_out)) == 1
    assert len(waits) == pytest.approx(1200 / 1.3, rel=0.08)


def test_a_delay_of_a_moment_is_made_up_for_without_leaving_anything_out():
    """A start, say, that takes as long as twenty frames."""
    waits, left_out = run(0.3 * PERIOD_S, stall={100}, stall_s=0.35)
    assert left_out == [] and max(waits) > 0.3


def test_a_patient_one_leaves_out_nothing():
    assert run(0.8 * PERIOD_S, stall={100}, max_wait_s=60.0)[1] == []


class FakePipeline:
    """Fits every packet; says what was done with it."""

    def __init__(self):
        self.packet, self.done = None, []

    def feed_keypoints(self, packet):
        self.packet = packet

    def poll(self, now_ns):
        if self.packet is None:
            return []
        self.done.append(("fitted", self.packet.stamp_ns))
        self.packet = None
        return [FrameResult(0, Status.LOST, None, None, latency_s=0.0)]

    def skip(self, now_ns):
        self.done.append(("left out", self.packet.stamp_ns))
        self.packet = None
        return 1


def packet(stamp):
    return KeypointPacket("a", stamp, np.zeros((0, 1, 2)), np.zeros((0, 1)), np.zeros(0, np.int32), 0)


def test_the_worker_counts_what_it_leaves_out(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(worker.time, "perf_counter", lambda: clock[0])
    pipeline, latencies = FakePipeline(), []
    fit = worker.FitWorker(pipeline, lambda: 0, lambda results: latencies.extend(r.latency_s for r in results), lambda *problem: latencies.append(problem))
    for stamp in range(4):
        fit.feed(packet(stamp))
    clock[0] = 0.6
    fit.start()
    fit.call(lambda: None).result(30)
    assert fit.stop()
    assert pipeline.done == [("left out", 0), ("fitted", 1), ("left out", 2), ("fitted", 3)]
    assert fit.dropped == 2 and latencies == [0.6, 0.6]


def test_long_work_is_spread_over_frames():
    """One piece after each frame, and none between them; when no frames come it goes on, too."""
    done, problems = [], []
    fit = worker.FitWorker(FakePipeline(), lambda: 0, lambda results: done.append("frame"), lambda *problem: problems.append(problem))

    def pieces():
        for k in range(4):
            done.append(k)
            yield

    assert fit.spread(pieces(), 1e3) and not fit.spread(pieces(), 1e3)
    for stamp in range(2):
        fit.feed(packet(stamp))
    fit.start()
    ended = threading.Event()

    def last():
        ended.set()
        raise ValueError("the last one fails")
        yield

    deadline = time.monotonic() + 30
    while not fit.spread(last(), 1e3) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended.wait(30)
    fit.call(lambda: None).result(30)
    assert fit.stop()
    assert done == ["frame", 0, "frame", 1, 2, 3]
    assert problems == [("between frames", "What is published now and then was not: ValueError: the last one fails", "error")]


def test_what_is_late_is_not_spread_any_more():
    done = []
    fit = worker.FitWorker(FakePipeline(), lambda: 0, lambda results: done.append("frame"), lambda *problem: done.append(problem))
    assert fit.spread((done.append(k) for k in range(3)), -1.0)
    fit.feed(packet(0))
    fit.feed(packet(1))
    fit.start()
    fit.call(lambda: None).result(30)
    assert fit.stop() and done == ["frame", 0, 1, 2, "frame"]
