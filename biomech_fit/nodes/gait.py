"""gait_node: body_state_smoothed in, gait_events and step_parameters out."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from biomech_fit import msg as bf
from biomech_fit.config.node import GaitNodeConfig
from biomech_fit.core.errors import InputError
from biomech_fit.core.gait import GaitDetector, GaitSettings
from biomech_fit.ros import parameters, qos
from biomech_fit.ros.clock import on_backward_jump
from biomech_fit.ros.convert import estimate_from_msg, gait_event_msg, step_msg
from biomech_fit.ros.diagnostics import Diagnostics
from biomech_fit.ros.markers import event_marker
from biomech_fit.ros.spin import run_node

MARKER_NUMBERS = 500
"""Footprints kept apart; older ones are overwritten."""


class GaitNode(Node):
    """See docs/nodes.md. Raises InputError where a parameter given at the start is not valid."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("gait_node", **kwargs)
        parameters.declare(self, GaitNodeConfig())
        self.settings = parameters.read(self, GaitNodeConfig())
        self.diagnostics = Diagnostics(self)
        self._detector: GaitDetector | None = None
        self._names: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._event_count = self._step_count = 0
        overridable = {"qos_overriding_options": qos.overridable()}
        self._events = self.create_publisher(bf.GaitEvent, "gait_events", qos.results(), **overridable)
        self._steps = self.create_publisher(bf.StepParameters, "step_parameters", qos.results(), **overridable)
        self._markers = self.create_publisher(MarkerArray, "gait_markers", qos.results(), **overridable)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", qos.results(10))
        self.create_subscription(bf.BodyState, "body_state_smoothed", self._receive, qos.results(), **overridable)
        self.create_service(Trigger, "~/reset", self._reset_service)
        self.create_timer(1.0, self._report)
        self._jump_handle = on_backward_jump(self.get_clock(), self.reset)
        self.add_post_set_parameters_callback(lambda _: self._new_settings())

    def reset(self) -> None:
        """Forgets all feet; steps are counted from 0 again."""
        if self._detector is not None:
            self._detector.reset()
        self._event_count = self._step_count = 0

    def close(self) -> None:
        self._jump_handle.unregister()

    def _reset_service(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.reset()
        response.success, response.message = True, "Gait events start anew with the next body state."
        return response

    def _new_settings(self) -> None:
        self.settings = parameters.read(self, GaitNodeConfig())
        self._names = None  # the detector is made anew with the next state

    def _receive(self, state: bf.BodyState) -> None:
        if not len(state.position):  # only a status: nobody is tracked
            return
        try:
            names = tuple(state.keypoint_names), tuple(state.joint_centre_names)
            if names != self._names:
                self._names = names
                self._detector = GaitDetector(*names, settings=GaitSettings(**asdict(self.settings.gait)))
            if self._detector is None:
                return
            events = self._detector.update(estimate_from_msg(state))
            steps = self._detector.steps()
        except InputError as error:
            self._detector = None
            self.diagnostics.problem("gait", str(error))
            return
        except (ValueError, IndexError) as error:
            self.diagnostics.problem("body state", f"A body state was dropped because its arrays do not fit its names: {error}.")
            return
        frame = state.header.frame_id or self.settings.world_frame
        markers = []
        for event in events:
            if not math.isfinite(float(event.position.sum())):
                self.diagnostics.problem("gait", "A gait event without a position was not published.", "error")
                continue
            # The smoothed state itself has seen lag_s of later frames.
            event = replace(event, detection_delay_s=event.detection_delay_s + state.lag_s)
            self._events.publish(gait_event_msg(event, frame_id=frame, subject=state.subject))
            markers.append(event_marker(event, self._event_count % MARKER_NUMBERS, frame, self.settings.marker_lifetime_s))
            self._event_count += 1
        if markers:
            self._markers.publish(MarkerArray(markers=markers))
        for step in steps:
            self._steps.publish(step_msg(step, self._step_count, frame_id=frame, subject=state.subject))
            self._step_count += 1

    def _report(self) -> None:
        row = ("ok", "gait", f"{self._event_count} contacts and {self._step_count} steps since the start.", {})
        self._diagnostics_publisher.publish(self.diagnostics.message(self.get_clock().now().nanoseconds, [row]))


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(GaitNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
