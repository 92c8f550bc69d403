"""Work that the next frame needs and that can be done before it comes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")

_workers = ThreadPoolExecutor(2, thread_name_prefix="between-frames")


class BetweenFrames(Generic[T]):
    """A task for the time between two frames.

    It is begun once a frame's results are out, not sooner: it would take the interpreter from what makes them. Whoever needs its result waits for it, or
    does it now if nobody has begun it, so that results never depend on timing.
    """

    def __init__(self, task: Callable[[], T]) -> None:
        self._task = task
        self._begun: Future[T] | None = None

    def begin(self) -> None:
        """Start it in the background, once."""
        if self._begun is None:
            self._begun = _workers.submit(self._task)

    def result(self) -> T:
        """What it gives."""
        return self._task() if self._begun is None else self._begun.result()
