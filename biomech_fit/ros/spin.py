"""Starting and ending a node process."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future

from biomech_fit.core.errors import InputError


def make_executor(context: Context | None = None) -> Executor:
    """The events executor where rclpy has one: it does not rebuild a wait set for every message. Its spin_once works; its spin() may deliver nothing."""
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:
        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)


def run_node(make: Callable[[], Node], args: list[str] | None = None) -> int:
    """Runs a node until it is interrupted, or until its attribute `finished` is true. Gives the exit code: 2 after bad input, which is said in one line.

    A node's `close()` is called at the end. Ctrl-C reaches a launched process twice (from the terminal and from launch), so cleaning up survives it.
    """
    node: Any = None
    code = 0
    try:
        rclpy.init(args=args)
        node = make()
        executor = make_executor()
        executor.add_node(node)
        gc.collect()
        gc.freeze()  # what has been imported stays: no collection looks through it
        never: Future = Future()
        while rclpy.ok() and not getattr(node, "finished", False):
            executor.spin_until_future_complete(never, timeout_sec=0.2)  # spin_once would come back here for every message: a fourth more of a core
    except InputError as error:
        print(error, file=sys.stderr)
        code = 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        # Shutting down gives the signal back to Python: it is ignored before and after.
        for step in (_ignore_interrupts, getattr(node, "close", None), getattr(node, "destroy_node", None), rclpy.try_shutdown, _ignore_interrupts):
            if step is not None:
                with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
                    step()
    return code


def _ignore_interrupts() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
