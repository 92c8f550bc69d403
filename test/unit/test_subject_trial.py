"""The count of good seconds in a subject trial."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from biomech_fit.core.types import FrameResult, Status
from biomech_fit.stream.subject_trial import SubjectTrial


def frame(time_s: float, status: Status = Status.OK, cameras: int = 4, there: bool = True) -> FrameResult:
    estimate = SimpleNamespace(cameras_used=("c",) * cameras) if there else None
    return FrameResult(round(time_s * 1e9), status, estimate, None, 0.0)  # type: ignore[arg-type]


def test_time_between_good_frames_counts() -> None:
    trial = SubjectTrial(1.0)
    assert "waits for a person" in trial.sentence()
    assert not trial.add([frame(i / 60) for i in range(60)])
    assert trial.good_s == pytest.approx(59 / 60) and "1.0 of 1 s" in trial.sentence()
    assert trial.add([frame(1.0)]) and trial.done


@pytest.mark.parametrize(
    "bad", [{"status": Status.PREDICTED}, {"status": Status.LOST, "there": False}, {"cameras": 1}, {"status": Status.NO_PERSON, "there": False}], ids=str
)
def test_a_stretch_of_bad_frames_does_not_count(bad: dict) -> None:
    trial = SubjectTrial(5.0)
    trial.add([frame(i / 60, **(bad if 60 <= i < 120 else {})) for i in range(180)])
    # 59 steps before, 59 after; the step over the gap is longer than MAX_STEP_S.
    assert trial.good_s == pytest.approx(118 / 60)


def test_lost_frames_and_a_clock_that_goes_back() -> None:
    trial = SubjectTrial(5.0)
    trial.add([frame(i / 60) for i in range(0, 61, 6)])
    assert trial.good_s == pytest.approx(1.0)  # every sixth frame only: the person was there all the time
    trial.add([frame(0.1 + i / 60) for i in range(61)])
    assert trial.good_s == pytest.approx(2.0)
    smoothed_only = FrameResult(0, Status.OK, None, frame(9.0).causal, 0.0)
    assert not trial.add([smoothed_only]) and trial.good_s == pytest.approx(2.0)
