"""Time that goes back: a looping bag, a restarted simulation."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockChange, JumpHandle, JumpThreshold, TimeJump
from rclpy.duration import Duration


def on_backward_jump(clock: Clock, callback: Callable[[], None]) -> JumpHandle:
    """Calls back when the clock goes back, or changes between system and simulated time. Keep the handle; `unregister()` ends it."""

    def jumped(jump: TimeJump) -> None:
        changed = jump.clock_change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED)
        if changed or jump.delta.nanoseconds < 0:
            callback()

    threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
    return clock.create_jump_callback(threshold, post_callback=jumped)
