"""Steps and their summary on topics."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.node import Node
from ros_fakes import linked, overrides, ros
from test_other_nodes import walking_state
from visualization_msgs.msg import MarkerArray

from biomech_fit import msg as bf
from biomech_fit.core.gait_summary import SummarySettings
from biomech_fit.core.steps import StepParameters
from biomech_fit.core.types import Side
from biomech_fit.nodes.gait import GaitNode
from biomech_fit.ros import qos
from biomech_fit.ros.gait_outputs import StepOutputs


def step(number: int) -> StepParameters:
    """Left steps of 0.6 m, right ones of 0.5 m; 1 mm longer from one to the next of a foot."""
    length = (0.6 if number % 2 == 0 else 0.5) + 0.001 * (number // 2)
    return StepParameters(
        10**9 * (number + 1), Side(number % 2), length, 1.1, 0.1, 0.5, 1.0, 0.6, 0.4, 0.2, 120.0, 1.1, step_length_std_m=0.004, walk_index=number, turn_rad=0.1
    )


def test_every_step_is_told_and_the_summary_is_latched() -> None:
    settings = SummarySettings(skip_steps=2, strides=3)
    with ros() as (context, add, spin_until):
        node, peer = add(Node("gait", context=context)), add(Node("peer", context=context))
        outputs = StepOutputs(node)
        steps: list[bf.StepParameters] = []
        peer.create_subscription(bf.StepParameters, "step_parameters", steps.append, qos.results())
        assert spin_until(lambda: linked(node, peer))
        outputs.publish([], settings, "lab", "Ann")
        for number in range(12):
            outputs.publish([step(number)], settings, "lab", "Ann")
        assert spin_until(lambda: len(steps) == 12)
        assert [s.index for s in steps] == list(range(12)) and steps[3].side == bf.StepParameters.RIGHT and steps[3].subject == "Ann"
        assert steps[4].step_length_m == pytest.approx(0.602) and steps[4].step_length_std_m == pytest.approx(0.004)
        assert np.isnan(steps[4].walk_ratio_m_min) and steps[4].walk_index == 4 and steps[4].turn_rad == pytest.approx(0.1)
        late: list[bf.GaitSummary] = []
        peer.create_subscription(bf.GaitSummary, "gait_summary", late.append, qos.latched())
        assert spin_until(lambda: late)
        summary = late[-1]
        values = dict(zip(summary.names, zip(summary.mean_left, summary.mean_right, summary.sd, summary.symmetry, strict=True), strict=True))
        assert (summary.strides, summary.steps_left, summary.steps_right, summary.header.stamp.sec, summary.header.frame_id) == (3, 3, 3, 12, "lab")
        # The last three of each foot: 3, 4 and 5 mm over the first.
        assert values["step_length_m"] == pytest.approx((0.604, 0.504, 0.001, 0.1 / 0.554), rel=1e-4)
        outputs.reset()
        outputs.publish([step(0)], settings, "lab", "Ann")
        assert spin_until(lambda: len(steps) == 13 and late[-1].header.stamp.sec == 1)
        assert steps[-1].index == 0 and late[-1].steps_left == 0 and late[-1].skipped == 1


def test_the_gait_node_shows_feet_and_footprints_and_sums_up() -> None:
    with ros() as (context, add, spin_until):
        node = add(GaitNode(context=context, parameter_overrides=overrides(marker_lifetime_s=7.0, steps__skip_steps=2)))
        peer = add(Node("peer", context=context))
        markers, summaries = [], []
        peer.create_subscription(MarkerArray, "gait_markers", lambda array: markers.extend(array.markers), qos.results(1000))
        peer.create_subscription(bf.GaitSummary, "gait_summary", summaries.append, qos.latched())
        publishers = [peer.create_publisher(bf.BodyState, name, qos.results(1000)) for name in ("body_state", "body_state_smoothed")]
        assert spin_until(lambda: linked(node, peer))
        for k in range(420):
            for publisher in publishers:
                publisher.publish(walking_state(k / 60))
            spin_until(lambda: False, 0.001)
        assert spin_until(lambda: summaries and summaries[-1].steps_left >= 3 and summaries[-1].steps_right >= 3)
        summary = summaries[-1]
        mean = dict(zip(summary.names, summary.mean, strict=True))
        # The walker goes along -y with the left foot at -x: feet crossed by 0.2 m.
        assert mean["stride_length_m"] == pytest.approx(1.2, abs=0.02) and mean["step_width_m"] == pytest.approx(-0.2, abs=0.01)
        assert summary.skipped == 2
        shown = {ns: [m for m in markers if m.ns == ns] for ns in ("footprints", "final_contacts", "feet")}
        assert len(shown["footprints"]) >= 8 and len(shown["final_contacts"]) >= 8
        assert {m.id for m in shown["feet"]} == {0, 1} and {m.lifetime.sec for m in shown["footprints"]} == {7}
        assert {round(m.color.a, 2) for m in shown["feet"]} >= {0.25, 1.0}  # in the air, on the floor
