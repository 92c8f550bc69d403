"""Work between two frames: done once, in the background or when it is asked for."""

from __future__ import annotations

import threading

import pytest

from biomech_fit.stream.between import BetweenFrames


def test_a_task_that_was_begun_runs_beside_the_caller_and_once() -> None:
    threads: list[str] = []

    def task() -> int:
        threads.append(threading.current_thread().name)
        return 7

    begun = BetweenFrames(task)
    begun.begin()
    begun.begin()
    assert begun.result() == begun.result() == 7
    assert len(threads) == 1 and threads[0].startswith("between-frames")


def test_a_task_that_nobody_began_is_done_when_it_is_asked_for() -> None:
    threads: list[str] = []
    waiting = BetweenFrames(lambda: threads.append(threading.current_thread().name))
    assert not threads
    waiting.result()
    assert threads == [threading.current_thread().name]


def test_what_a_task_raises_comes_with_its_result() -> None:
    def task() -> None:
        raise ValueError("on purpose")

    failing = BetweenFrames(task)
    failing.begin()
    with pytest.raises(ValueError, match="on purpose"):
        failing.result()
