"""gait_node: body_state and body_state_smoothed in, gait events of both, and steps, out."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from biomech_fit import msg as bf
from biomech_fit.config.node import GaitNodeConfig
from biomech_fit.core.errors import InputError
from biomech_fit.core.gait import GaitSettings
from biomech_fit.core.gait_summary import SummarySettings
from biomech_fit.core.types import GaitEvent
from biomech_fit.ros import parameters, qos
from biomech_fit.ros.body_points import BodyPoints
from biomech_fit.ros.clock import on_backward_jump
from biomech_fit.ros.convert import gait_event_msg
from biomech_fit.ros.diagnostics import Diagnostics
from biomech_fit.ros.feet import Feet
from biomech_fit.ros.foot_markers import event_marker, foot_markers
from biomech_fit.ros.gait_outputs import StepOutputs
from biomech_fit.ros.spin import run_node

CALM_S, LATE_S = 0.03, 0.25
"""So long states wait for the next ones: body_state while no foot is about to change, body_state_smoothed always."""
FEET_HZ = 15.0
"""Feet are drawn at most this often."""


class GaitNode(Node):
    """See docs/nodes.md. Raises InputError where a parameter given at the start is not valid."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("gait_node", **kwargs)
        parameters.declare(self, GaitNodeConfig())
        self.settings = parameters.read(self, GaitNodeConfig())
        self.diagnostics = Diagnostics(self)
        self._live = Feet(self._detector_settings, with_steps=False, calm_s=CALM_S, always_s=0.0)
        self._late = Feet(self._detector_settings, with_steps=True, calm_s=LATE_S, always_s=LATE_S)
        self._event_count = self._late_count = 0
        self._drawn_ns = 0
        self._is_live = False
        overridable = {"qos_overriding_options": qos.overridable()}
        self._events = self.create_publisher(bf.GaitEvent, "gait_events", qos.results(), **overridable)
        self._late_events = self.create_publisher(bf.GaitEvent, "gait_events_smoothed", qos.results(), **overridable)
        self._steps = StepOutputs(self)
        self._markers = self.create_publisher(MarkerArray, "gait_markers", qos.results(), **overridable)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", qos.results(10))
        self._receivers = {"body_state": (self._live, self._receive), "body_state_smoothed": (self._late, self._receive_late)}
        for topic in self._receivers:
            # Raw: making a Python object of a message takes longer than all that is done with it here.
            self.create_subscription(bf.BodyState, topic, partial(self._take, topic), qos.results(), raw=True, **overridable)
        self.create_service(Trigger, "~/reset", self._reset_service)
        self.create_timer(1.0, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))  # also where /clock has ended
        self._jump_handle = on_backward_jump(self.get_clock(), self.reset)
        self.add_post_set_parameters_callback(lambda _: self._new_settings())

    def reset(self) -> None:
        """Forgets all feet; steps are counted from 0 again."""
        self._live.forget()
        self._late.forget()
        self._steps.reset()
        self._event_count = self._late_count = self._drawn_ns = 0
        self._is_live = False

    def close(self) -> None:
        self._work_off_all()
        self._jump_handle.unregister()

    def _reset_service(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.reset()
        response.success, response.message = True, "Gait events start anew with the next body state."
        return response

    def _detector_settings(self) -> GaitSettings:
        return GaitSettings(**asdict(self.settings.gait))

    def _new_settings(self) -> None:
        self.settings = parameters.read(self, GaitNodeConfig())
        self._live.forget()
        self._late.forget()

    def _take(self, topic: str, message: bytes) -> None:
        self._is_live |= topic == "body_state"
        try:
            self._work_off(topic, self._receivers[topic][0].due(message))
        except ValueError as error:
            self._dropped(error)

    def _work_off(self, topic: str, messages: list[bytes]) -> None:
        feet, receive = self._receivers[topic]
        for message in messages:
            try:
                state = feet.read(message)
                if state is not None:  # else nobody is tracked
                    receive(state)
            except InputError as error:
                self.diagnostics.problem("gait", str(error))
            except ValueError as error:
                self._dropped(error)

    def _dropped(self, error: ValueError) -> None:
        self.diagnostics.problem("body state", f"A body state was dropped because its fields do not fit together: {error}.")

    def _receive(self, state: BodyPoints) -> None:
        events = self._live.update(state)
        self._event_count += self._publish(self._events, events, state)
        feet_due = not 0 <= state.stamp_ns - self._drawn_ns < 1e9 / FEET_HZ
        if (events or feet_due) and self._markers.get_subscription_count():
            self._draw(events, state, feet_due)

    def _receive_late(self, state: BodyPoints) -> None:
        events = self._late.update(state)
        self._late_count += self._publish(self._late_events, events, state)
        if not self._is_live:
            # Nobody publishes body_state here (a bag of the smoothed states, say): these are all the events there are.
            self._event_count += self._publish(self._events, events, state)
        steps = self._late.detector.steps() if self._late.detector is not None else []
        if steps:
            settings = SummarySettings(**asdict(self.settings.steps))
            self._steps.publish(steps, settings, state.frame_id or self.settings.world_frame, state.subject)

    def _publish(self, publisher: Any, events: list[GaitEvent], state: BodyPoints) -> int:
        """The events, as late as the state itself was; how many there were."""
        for event in events:
            if not math.isfinite(float(event.position.sum())):
                self.diagnostics.problem("gait", "A gait event has no position.", "error")
            late = replace(event, detection_delay_s=event.detection_delay_s + state.lag_s)
            publisher.publish(gait_event_msg(late, frame_id=state.frame_id or self.settings.world_frame, subject=state.subject))
        return len(events)

    def _draw(self, events: list[GaitEvent], state: BodyPoints, with_feet: bool) -> None:
        at, detector = self._live.at, self._live.detector
        if at is None or detector is None:
            return
        frame, first = state.frame_id or self.settings.world_frame, self._event_count - len(events)
        life_s = self.settings.marker_lifetime_s
        heels, toes = np.array(at.heels), np.array(at.toes)
        markers = [event_marker(e, heels, toes, first + k, frame, life_s) for k, e in enumerate(events)]
        if with_feet:
            self._drawn_ns = at.stamp_ns
            markers += foot_markers(at.stamp_ns, heels, toes, detector.contact(), frame)
        if markers:
            self._markers.publish(MarkerArray(markers=markers))

    def _work_off_all(self) -> None:
        """Where no more states come."""
        for topic, (feet, _) in self._receivers.items():
            self._work_off(topic, feet.rest())

    def _report(self) -> None:
        self._work_off_all()
        row = ("ok", "gait", f"{self._event_count} contacts ({self._late_count} smoothed) and {self._steps.count} steps since the start.", {})
        self._diagnostics_publisher.publish(self.diagnostics.message(self.get_clock().now().nanoseconds, [row]))


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(GaitNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
