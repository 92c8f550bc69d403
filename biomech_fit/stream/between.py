"""Work that the next frame needs and that can be done before it comes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P, T = ParamSpec("P"), TypeVar("T")

_workers = ThreadPoolExecutor(2, thread_name_prefix="between-frames")


def between_frames(task: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Begin a task in the background. Whoever began it must wait for its result before the next frame uses it: results never depend on timing."""
    return _workers.submit(task, *args, **kwargs)
