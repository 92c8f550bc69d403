"""What the gait node says of steps: each step, and means and variability over the last ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rclpy.node import Node

from biomech_fit import msg as bf
from biomech_fit.core.gait_summary import PARAMETERS, GaitSummary, SummarySettings, summarise_steps
from biomech_fit.core.steps import StepParameters
from biomech_fit.ros import qos
from biomech_fit.ros.convert import floats, header, step_msg

MEMORY = 4
"""For each stride that counts this many steps are kept: two of its own, and as many that may belong to turns or beginnings."""


class StepOutputs:
    """Publishes `step_parameters` and the latched `gait_summary` of one person."""

    def __init__(self, node: Node) -> None:
        overridable = {"qos_overriding_options": qos.overridable()}
        self._steps = node.create_publisher(bf.StepParameters, "step_parameters", qos.results(), **overridable)
        self._summary = node.create_publisher(bf.GaitSummary, "gait_summary", qos.latched(), **overridable)
        self.reset()

    def reset(self) -> None:
        """Steps are counted from 0 again, and the summary begins anew with the next one."""
        self.count = 0
        self._last: deque[StepParameters] = deque()

    def publish(self, steps: Sequence[StepParameters], settings: SummarySettings, frame_id: str, subject: str) -> None:
        """Each step, and the summary where there are any."""
        if not steps:
            return
        for step in steps:
            self._steps.publish(step_msg(step, self.count, frame_id=frame_id, subject=subject))
            self.count += 1
        self._last = deque([*self._last, *steps], maxlen=MEMORY * settings.strides)
        summary = summarise_steps(self._last, settings)
        self._summary.publish(summary_msg(summary, steps[-1].stamp_ns, settings.strides, frame_id=frame_id, subject=subject))


def summary_msg(summary: GaitSummary, stamp_ns: int, strides: int, *, frame_id: str, subject: str = "") -> bf.GaitSummary:
    (mean, mean_left, mean_right), (sd, sd_left, sd_right) = summary.mean, summary.sd
    return bf.GaitSummary(
        header=header(stamp_ns, frame_id),
        subject=subject,
        strides=strides,
        steps_left=summary.steps[0],
        steps_right=summary.steps[1],
        skipped=summary.skipped,
        turning=summary.turning,
        names=list(PARAMETERS),
        mean=floats(mean),
        sd=floats(sd),
        cv=floats(summary.cv[0]),
        mean_left=floats(mean_left),
        sd_left=floats(sd_left),
        mean_right=floats(mean_right),
        sd_right=floats(sd_right),
        symmetry=floats(summary.symmetry),
    )
