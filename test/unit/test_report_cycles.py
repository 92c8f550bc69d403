"""Angles over the gait cycle, and what the joint angle picture says of angles that nothing tells about."""

from dataclasses import replace

import numpy as np
import pytest
import report_example

from biomech_fit.core.steps import StepParameters
from biomech_fit.core.types import EventType, GaitEvent, Side
from biomech_fit.report import pictures, pictures_cycles, pictures_gait, time_axis
from biomech_fit.report.gait_view import GaitView, view_of


def contact(side, time_s, kind=EventType.INITIAL_CONTACT):
    return GaitEvent(round(time_s * 1e9), kind, side, np.zeros(3), 0.01, 1.0, 0.1)


@pytest.fixture
def walk():
    run = report_example.example()[0]
    events = [contact(Side.LEFT, 0.6 + 1.1 * n) for n in range(4)] + [contact(Side.LEFT, 1.3, EventType.FINAL_CONTACT)]
    return replace(run, smoothed=replace(run.smoothed, events=events), start_ns=0, stamps_ns=np.arange(len(run.stamps_ns)) * 16_666_667)


def test_strides_are_whole_and_carry_their_final_contact(walk):
    strides = pictures_cycles.cycles(view_of(walk), Side.LEFT)
    assert [round(end - start, 3) for start, end, _ in strides] == [1.1, 1.1, 1.1]
    assert strides[0][2] == pytest.approx(1.3) and strides[1][2] is None
    assert pictures_cycles.gait_cycles(view_of(walk)) is not None


def test_no_picture_of_too_few_or_broken_strides(walk):
    walk.smoothed.position[100] = np.nan
    assert len(pictures_cycles.cycles(view_of(walk), Side.LEFT)) == 2
    assert pictures_cycles.gait_cycles(view_of(walk)) is None


def test_an_angle_that_rests_and_is_unsure_is_unseen(walk):
    index = walk.coordinate_names.index("knee_angle_l")
    assert not pictures._unseen(walk, index)
    walk.smoothed.position[:, index], walk.smoothed.position_std[:, index] = 0.1, 0.3
    assert pictures._unseen(walk, index)
    assert pictures.joint_angles(walk) is not None


def test_of_a_long_recording_the_middle_is_shown():
    assert time_axis.time_window(np.arange(0, 10, 0.1)) == (0.0, pytest.approx(9.9))
    start, end = time_axis.time_window(np.arange(0, 100.05, 0.1))
    assert end - start == pytest.approx(time_axis.LONGEST_S) and start + end == pytest.approx(100.0)


def test_footprints_have_the_numbers_of_steps_whose_stamps_differ_a_little():
    """Events that came over topics are some milliseconds from those that a recording's steps were made of."""
    contacts = [contact(Side.LEFT if k % 2 else Side.RIGHT, 0.5 + 0.6 * k) for k in range(5)]
    contacts = [replace(c, position=np.array([0.6 * k, 0.1 * (-1) ** k, 0.0])) for k, c in enumerate(contacts)]
    stamps = np.arange(0, 4_000_000_000, 10_000_000)
    feet = np.zeros((len(stamps), 2, 3))
    for c in contacts:
        feet[stamps >= c.stamp_ns, c.side] = c.position
    steps = [StepParameters(c.stamp_ns + 5_000_000, c.side, 0.6, *[np.nan] * 9) for c in contacts[1:]]
    figure = pictures_gait.floor(GaitView(stamps, 0, contacts, steps, feet, feet + np.array([0.2, 0.0, 0.0]), feet.mean(1)))
    assert [text.get_text() for text in figure.axes[0].texts].count("60") == 4
