"""The thread in which the solver runs, so that the executor's thread stays free to receive."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from biomech_fit.core.errors import InputError
from biomech_fit.core.types import FrameResult, FrameSet, KeypointPacket, PointsPacket
from biomech_fit.ros.backlog import Backlog

Input = KeypointPacket | PointsPacket | FrameSet

QUIET_S = 0.1
"""When no frame has come for so long, nobody waits for one."""


class FitWorker:
    """Feeds packets to a pipeline and hands its results on. Only this thread touches the pipeline while it runs.

    Args:
        pipeline: has feed_keypoints, feed_frame_set, poll, skip and reset as `stream.pipeline.FitPipeline`.
        now_ns: the node's clock, on which packets were received.
        on_results: gets the results of each poll, in this thread.
        on_problem: gets (name, sentence, level).
        poll_s: longest time between two polls; a fraction of the deadline.
        max_wait_s: longest time a frame may wait; where the machine is too slow, frames are dropped (and counted) as `Backlog` says.
    """

    def __init__(
        self,
        pipeline: Any,
        now_ns: Callable[[], int],
        on_results: Callable[[list[FrameResult]], None],
        on_problem: Callable[[str, str, str], None],
        *,
        poll_s: float = 0.005,
        max_wait_s: float = 1.0,
    ) -> None:
        self.pipeline = pipeline
        self._now_ns, self._on_results, self._on_problem = now_ns, on_results, on_problem
        self._poll_s = poll_s
        self._backlog = Backlog(max_wait_s)
        self._queue: deque[tuple[float, Input] | tuple[Callable[[], Any], Future]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._pieces: Iterator[None] | None = None
        self._until = 0.0
        self._last_frame = -math.inf
        self.dropped = 0
        """Frames left out since the start."""
        self.busy_s = 0.0
        """Time spent in the pipeline since the start."""
        self._thread = threading.Thread(target=self._run, name="fit", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Stops after the packet in hand; what waits is dropped. True once the thread has ended."""
        with self._wake:
            self._stopping = True
            waiting = [second for _, second in self._queue if isinstance(second, Future)]
            self._queue.clear()
            self._wake.notify()
        for future in waiting:
            future.cancel()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Until it has stopped: nobody else may touch the pipeline before."""
        self._thread.join()

    def feed(self, packet: Input) -> None:
        """Takes a packet, or a set of packets that was assembled elsewhere."""
        with self._wake:
            self._queue.append((time.perf_counter(), packet))
            self._wake.notify()

    def call(self, function: Callable[[], Any]) -> Future:
        """Runs a function between two packets, e.g. to reset or to read the pipeline's estimates."""
        future: Future = Future()
        with self._wake:
            if self._stopping:
                future.cancel()
                return future
            self._queue.append((function, future))
            self._wake.notify()
        return future

    def spread(self, pieces: Iterator[None], within_s: float) -> bool:
        """Runs what is long in pieces: one, up to the next `yield`, after each frame whose results are out, when the next one is furthest; so that no frame
        waits for more than a piece. What is left after `within_s` is run at once. False, and nothing is done, where an earlier one is still under way."""
        if self._pieces is not None:
            return False
        self._until = time.monotonic() + within_s
        self._pieces = pieces
        return True

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def _run(self) -> None:
        next_poll = time.monotonic()
        while True:
            with self._wake:
                if not self._queue and not self._stopping:
                    self._wake.wait(max(0.0, next_poll - time.monotonic()))
                if self._stopping:
                    return
                items = list(self._queue)
                self._queue.clear()
            started = time.perf_counter()
            if not items and time.monotonic() - self._last_frame > QUIET_S:
                self._piece()
            for first, second in items:
                if self._stopping:
                    return
                if isinstance(second, Future):
                    self._call(first, second)
                else:
                    self._step(second, first)
            if not self._queue:
                # Otherwise a set might be closed by the clock while its packets wait here.
                self._step(None, None)
            self.busy_s += time.perf_counter() - started
            next_poll = time.monotonic() + self._poll_s

    def _call(self, function: Callable[[], Any], future: Future) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(function())
        except Exception as error:  # the caller gets it
            future.set_exception(error)

    def _piece(self) -> None:
        """The next one of what is spread over frames, or all that are left where it is late."""
        pieces = self._pieces
        if pieces is None:
            return
        try:
            next(pieces)
            while time.monotonic() > self._until and not self._stopping:
                next(pieces)
        except StopIteration:
            self._pieces = None
        except Exception as error:
            self._pieces = None
            self._on_problem("between frames", f"What is published now and then was not: {type(error).__name__}: {error}", "error")

    def _step(self, item: Input | None, queued_at: float | None) -> None:
        """One packet, one set, or the clock alone. A frame that fails must not end the stream: it is reported and the fit started anew."""
        queued_s = 0.0 if queued_at is None else time.perf_counter() - queued_at
        skip = self._backlog.leaves_out(queued_s)
        try:
            if isinstance(item, FrameSet):
                skipped, results = (1, []) if skip else (0, self.pipeline.feed_frame_set(item))
            else:
                if item is not None:
                    self.pipeline.feed_keypoints(item)
                # The clock of this packet, not of now: those behind it in the queue came in time, too.
                now_ns = self._now_ns() if item is None or item.received_ns is None else item.received_ns
                skipped, results = (self.pipeline.skip(now_ns), []) if skip else (0, self.pipeline.poll(now_ns))
            self.dropped += skipped
            if skipped or results:
                self._backlog.went(skipped > 0, queued_s)
            if results:
                self._on_results([replace(r, latency_s=r.latency_s + queued_s) for r in results])
            if skipped or results:
                self._last_frame = time.monotonic()
                self._piece()
        except InputError as error:
            self._on_problem("input", str(error), "warn")
        except Exception as error:
            self._on_problem("fit", f"The fit failed on a frame and is started anew: {type(error).__name__}: {error}", "error")
            try:
                self.pipeline.reset()
            except Exception as second:
                self._on_problem("fit", f"The fit could not be started anew: {type(second).__name__}: {second}", "error")
