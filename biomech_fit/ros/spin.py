"""Starting and ending a node process."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from biomech_fit.core.errors import InputError
from biomech_fit.ros.parameters import warn_of_unknown


def make_executor(context: Context | None = None) -> Executor:
    """The events executor where rclpy has one: it does not rebuild a wait set for every message. Its spin_once works; its spin() may deliver nothing."""
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:
        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)


def run_node(make: Callable[[], Node], args: list[str] | None = None) -> int:
    """Runs a node until SIGINT or SIGTERM, or until its attribute `finished` is true. Gives the exit code: 2 after bad input, which is said in one line.

    A node's `close()` is called at the end, while it still can publish and log: signals do not shut ROS down here. Ctrl-C reaches a launched process twice
    (from the terminal and from launch), so the second one changes nothing; the third one ends a process that hangs.
    """
    node: Any = None
    code = 0
    interrupted = threading.Event()
    try:
        _init(args)
        _on_signals(interrupted)
        node = make()
        warn_of_unknown(node)
        executor = make_executor()
        executor.add_node(node)
        gc.collect()
        gc.freeze()  # what has been imported stays: no collection looks through it
        while rclpy.ok() and not interrupted.is_set() and not getattr(node, "finished", False):
            # spin_once would come back here for every message: a fourth more of a core. A new future each time: Jazzy's executor hangs something on it with
            # every callback.
            executor.spin_until_future_complete(Future(), timeout_sec=0.2)
    except InputError as error:
        print(error, file=sys.stderr)
        code = 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        for step in (getattr(node, "close", None), getattr(node, "destroy_node", None), rclpy.try_shutdown):
            try:
                if step is not None:
                    step()
            except InputError as error:
                print(error, file=sys.stderr)
                code = 2
            except (KeyboardInterrupt, ExternalShutdownException):
                pass
    return code or getattr(node, "exit_code", 0)


def _init(args: list[str] | None) -> None:
    """Raises InputError for arguments that ROS cannot read, e.g. a parameter file that is not there."""
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        raise InputError(f"The ROS arguments cannot be read: {str(error).splitlines()[0]}") from None


def _on_signals(interrupted: threading.Event) -> None:
    count = 0

    def handle(number: int, _: Any) -> None:
        nonlocal count
        count += 1
        interrupted.set()
        if count > 2:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, handle)
