"""gait_node: body_state and body_state_smoothed in, gait events of both, and steps, out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from biomech_fit import msg as bf
from biomech_fit.config.node import GaitNodeConfig
from biomech_fit.core.errors import InputError
from biomech_fit.core.gait import FeetAt, GaitDetector, GaitSettings
from biomech_fit.core.gait_summary import SummarySettings
from biomech_fit.core.types import GaitEvent
from biomech_fit.ros import parameters, qos
from biomech_fit.ros.body_points import BodyPoints, BodyPointsReader, stamp_of_serialized
from biomech_fit.ros.clock import on_backward_jump
from biomech_fit.ros.convert import gait_event_msg
from biomech_fit.ros.diagnostics import Diagnostics
from biomech_fit.ros.foot_markers import event_marker, foot_markers
from biomech_fit.ros.gait_outputs import StepOutputs
from biomech_fit.ros.spin import run_node

LEAST_SPACING_NS = 13_000_000
"""Of two states nearer than this the second is left out: above 77 Hz every second or third one is used."""
FEET_HZ = 15.0
"""Feet are drawn at most this often."""


class Feet:
    """The detector on one of the fitter's outputs, made anew when the names of its points change."""

    def __init__(self, settings: Callable[[], GaitSettings], with_steps: bool) -> None:
        self._settings, self._with_steps = settings, with_steps
        self._used_ns = 0
        self._names: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self.reader = BodyPointsReader()
        self.detector: GaitDetector | None = None
        self.at: FeetAt | None = None

    def forget(self) -> None:
        """Begins anew with the next state, with the settings as they are then."""
        self._names = self.detector = self.at = None

    def wants(self, stamp_ns: int) -> bool:
        """False for a state so soon after the last one that it tells next to nothing new."""
        if 0 < stamp_ns - self._used_ns < LEAST_SPACING_NS:
            return False
        self._used_ns = stamp_ns
        return True

    def update(self, state: BodyPoints) -> list[GaitEvent]:
        """Events that this state decides. Raises InputError (once for the same names) where there are no feet, ValueError where arrays do not fit names."""
        names = state.keypoint_names, state.joint_centre_names
        if names != self._names:
            self._names, self.detector = names, None
            self.detector = GaitDetector(*names, settings=self._settings(), with_steps=self._with_steps)
        if self.detector is None:
            return []
        self.at = self.detector.feet(state)
        return self.detector.update_points(*self.at)


class GaitNode(Node):
    """See docs/nodes.md. Raises InputError where a parameter given at the start is not valid."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("gait_node", **kwargs)
        parameters.declare(self, GaitNodeConfig())
        self.settings = parameters.read(self, GaitNodeConfig())
        self.diagnostics = Diagnostics(self)
        self._live, self._late = Feet(self._detector_settings, with_steps=False), Feet(self._detector_settings, with_steps=True)
        self._event_count = self._late_count = 0
        self._drawn_ns = 0
        overridable = {"qos_overriding_options": qos.overridable()}
        self._events = self.create_publisher(bf.GaitEvent, "gait_events", qos.results(), **overridable)
        self._late_events = self.create_publisher(bf.GaitEvent, "gait_events_smoothed", qos.results(), **overridable)
        self._steps = StepOutputs(self)
        self._markers = self.create_publisher(MarkerArray, "gait_markers", qos.results(), **overridable)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", qos.results(10))
        for topic, feet, receive in (("body_state", self._live, self._receive), ("body_state_smoothed", self._late, self._receive_late)):
            # Raw: making a Python object of a message takes longer than all that is done with it here.
            self.create_subscription(bf.BodyState, topic, partial(self._take, feet, receive), qos.results(), raw=True, **overridable)
        self.create_service(Trigger, "~/reset", self._reset_service)
        self.create_timer(1.0, self._report)
        self._jump_handle = on_backward_jump(self.get_clock(), self.reset)
        self.add_post_set_parameters_callback(lambda _: self._new_settings())

    def reset(self) -> None:
        """Forgets all feet; steps are counted from 0 again."""
        self._live.forget()
        self._late.forget()
        self._steps.reset()
        self._event_count = self._late_count = self._drawn_ns = 0

    def close(self) -> None:
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

    def _take(self, feet: Feet, receive: Callable[[BodyPoints], None], message: bytes) -> None:
        try:
            if not feet.wants(stamp_of_serialized(message)):
                return
            state = feet.reader.read(message)
            if state is not None:  # else nobody is tracked
                receive(state)
        except InputError as error:
            self.diagnostics.problem("gait", str(error))
        except (ValueError, IndexError) as error:
            self.diagnostics.problem("body state", f"A body state was dropped because its fields do not fit together: {error}.")

    def _receive(self, state: BodyPoints) -> None:
        events = self._live.update(state)
        self._event_count += self._publish(self._events, events, state)
        if self._markers.get_subscription_count():
            self._draw(events, state)

    def _receive_late(self, state: BodyPoints) -> None:
        self._late_count += self._publish(self._late_events, self._late.update(state), state)
        if self._late.detector is not None:
            settings = SummarySettings(**asdict(self.settings.steps))
            self._steps.publish(self._late.detector.steps(), settings, state.frame_id or self.settings.world_frame, state.subject)

    def _publish(self, publisher: Any, events: list[GaitEvent], state: BodyPoints) -> int:
        """The events, as late as the state itself was; how many there were."""
        for event in events:
            if not math.isfinite(float(event.position.sum())):
                self.diagnostics.problem("gait", "A gait event has no position.", "error")
            late = replace(event, detection_delay_s=event.detection_delay_s + state.lag_s)
            publisher.publish(gait_event_msg(late, frame_id=state.frame_id or self.settings.world_frame, subject=state.subject))
        return len(events)

    def _draw(self, events: list[GaitEvent], state: BodyPoints) -> None:
        at, detector = self._live.at, self._live.detector
        if at is None or detector is None:
            return
        frame, first = state.frame_id or self.settings.world_frame, self._event_count - len(events)
        life_s = self.settings.marker_lifetime_s
        markers = [event_marker(e, at.heels, at.toes, first + k, frame, life_s) for k, e in enumerate(events)]
        if not 0 <= at.stamp_ns - self._drawn_ns < 1e9 / FEET_HZ:
            self._drawn_ns = at.stamp_ns
            markers += foot_markers(at.stamp_ns, at.heels, at.toes, detector.contact(), frame)
        if markers:
            self._markers.publish(MarkerArray(markers=markers))

    def _report(self) -> None:
        row = ("ok", "gait", f"{self._event_count} contacts ({self._late_count} smoothed) and {self._steps.count} steps since the start.", {})
        self._diagnostics_publisher.publish(self.diagnostics.message(self.get_clock().now().nanoseconds, [row]))


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(GaitNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
