"""Many people's fits, farmed out with dask.distributed: on this machine's cores, or on a scheduler's workers.

What a job finds it writes to a file, whole or not at all; a job whose file is there is not run again. So a second start after a kill goes on where the first
one ended and gives the same numbers, and a worker that is lost costs the job that it was at, which another one takes over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biomech_fit.core.errors import InputError

CONNECT_S = 15.0
"""A scheduler that has not answered for so long is not there."""
RETRIES = 2
"""A job that fails with its worker is tried so many times more."""


@dataclass(frozen=True)
class Job:
    """Something to run elsewhere."""

    name: str
    done: Path
    """Exists once the job is done."""
    work: Callable[..., Any]
    """Module-level, called with `arguments`; makes `done` as its last act."""
    arguments: tuple[Any, ...]


def run_jobs(jobs: Sequence[Job], workers: int, scheduler: str | None, say: Callable[[str], None]) -> dict[str, str]:
    """Run those jobs that are not done. Returns what went wrong, by name.

    Args:
        workers: processes on this machine, at least 1, where no scheduler is given.
        scheduler: address of a dask scheduler, for instance tcp://10.0.0.5:8786; its workers must see the same files.

    Raises:
        InputError: the scheduler does not answer.
    """
    left = [job for job in jobs if not job.done.exists()]
    if len(left) < len(jobs):
        say(f"{len(jobs) - len(left)} of {len(jobs)} are done already.")
    if not left:
        return {}
    from distributed import Client, LocalCluster, as_completed

    failed: dict[str, str] = {}
    with ExitStack() as stack:
        if scheduler:
            try:
                client = stack.enter_context(Client(scheduler, timeout=CONNECT_S))
            except (OSError, ValueError) as error:
                raise InputError(f"No dask scheduler answers at '{scheduler}': {error}.") from None
        else:
            # What goes wrong in a worker is said here, once.
            local = LocalCluster(n_workers=min(workers, len(left)), threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL)
            client = stack.enter_context(Client(stack.enter_context(local), timeout=CONNECT_S))
        futures = {client.submit(job.work, *job.arguments, pure=False, retries=RETRIES, key=f"{job.name}-{i}"): job for i, job in enumerate(left)}
        finished = len(jobs) - len(left)
        for future in as_completed(futures):
            job, error = futures[future], future.exception()
            finished += 1
            if error is not None:
                failed[job.name] = f"{type(error).__name__}: {error}"
            say(f"{finished} of {len(jobs)}: {job.name}{'' if error is None else f' failed: {error}'}")
    return failed
