"""Sends things at their times, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any


class Pacer:
    """Calls `send(item)` for each item when its time has come.

    Args:
        items: (seconds since the start, item), in increasing order of time.
        send: called in the pacer's thread; late items are sent at once, none is left out.
        rate: times are divided by it.
        ready: waited for before the start, e.g. until there are subscribers.
        delay_s: pause before the start.
        at_start: called at the instant to which the times refer.
        at_end: gets the exception that ended the sending, or None.
    """

    def __init__(
        self,
        items: Iterable[tuple[float, Any]],
        send: Callable[[Any], None],
        *,
        rate: float = 1.0,
        ready: Callable[[], bool] = lambda: True,
        delay_s: float = 0.0,
        at_start: Callable[[], None] = lambda: None,
        at_end: Callable[[Exception | None], None] = lambda _: None,
    ) -> None:
        self._items, self._send, self._rate, self._ready, self._delay_s = items, send, rate, ready, delay_s
        self._at_start, self._at_end = at_start, at_end
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pacer", daemon=True)
        self.sent = 0
        self.latest_s = 0.0
        """The largest lateness of an item so far."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    def _run(self) -> None:
        problem = None
        try:
            while not self._ready():
                if self._stop.wait(0.05):
                    return
            if self._stop.wait(self._delay_s):
                return
            self._at_start()
            start = time.monotonic()
            for due_s, item in self._items:
                wait_s = start + due_s / self._rate - time.monotonic()
                if wait_s > 0:
                    if self._stop.wait(wait_s):
                        return
                elif self._stop.is_set():
                    return
                else:
                    self.latest_s = max(self.latest_s, -wait_s)
                self._send(item)
                self.sent += 1
        except Exception as error:
            problem = error
        self._at_end(problem)
