"""The gait benchmark's scores and baselines (benchmark/gait_scores.py, gait_methods.py)."""

import sys
from pathlib import Path

import numpy as np
import pytest
from made_up_walks import GAITS, contacts, feet

from biomech_fit.core.gait import FeetAt, GaitDetector
from biomech_fit.core.types import EventType, GaitEvent, Side

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmark"))
pytest.importorskip("gait_walks", reason="the folder benchmark/ is not beside test/")
from gait_methods import foot_velocity, zeni
from gait_scores import Errors, add_errors
from gait_variants import VARIANTS
from gait_walks import Label, Walk


def made_up_walk(seconds=8.0):
    time = np.arange(0, seconds, 0.01)
    heels, toes = feet(GAITS["usual"], time)
    labels = [Label(Side(side), EventType(kind), t) for (side, kind), times in contacts(GAITS["usual"], 1.0, seconds - 0.5).items() for t in times]
    return Walk("made up", time, heels, toes, 0.5 * (heels + toes).mean(1), tuple(sorted(labels, key=lambda label: label.time_s)))


def event(side, kind, time_s):
    return GaitEvent(round(time_s * 1e9), kind, side, np.zeros(3), 0.01, 1.0, 0.1)


def test_errors_count_what_is_missed_and_false():
    walk = made_up_walk()
    events = [event(label.side, label.type, label.time_s + 0.02) for label in walk.labels]
    del events[3]
    stray = walk.labels[5]
    events += [event(stray.side, stray.type, stray.time_s + 0.3), event(stray.side, stray.type, 0.1)]  # the second is before the first label
    into = {kind: Errors() for kind in EventType}
    add_errors(into, walk, events, 0.0)
    figures = {kind: errors.figures() for kind, errors in into.items()}
    assert [sum(f[name] for f in figures.values()) for name in ("missed", "false", "count")] == [1, 1, len(walk.labels) - 1]
    for f in figures.values():
        assert f["bias_ms"] == pytest.approx(20, abs=0.01) and f["sd_ms"] == pytest.approx(0, abs=0.01) and f["delay_p50_ms"] == pytest.approx(120, abs=0.01)
        assert f["inside_95"] == 0.0, "2 standard deviations are outside"
    late = {kind: Errors() for kind in EventType}
    add_errors(late, walk, [], 4.0)
    assert sum(e.missed for e in late.values()) == sum(label.time_s >= 4.0 for label in walk.labels)


@pytest.mark.parametrize(("find", "kinds"), [(zeni, tuple(EventType)), (foot_velocity, (EventType.INITIAL_CONTACT,))])
def test_baselines_find_the_contacts_of_a_plain_walk(find, kinds):
    """The made-up foot rises fastest long before it leaves: final contacts of `foot_velocity` are those of real feet alone."""
    walk = made_up_walk()
    into = {kind: Errors() for kind in EventType}
    add_errors(into, walk, find(walk), 0.0)
    for kind in kinds:
        assert into[kind].missed == 0 and np.std(into[kind].error_s) < 0.02  # constant errors are the methods' own


@pytest.mark.parametrize("variant", ["mirrored", "turned by 50°", "at 0.75 of the speed", "50 Hz"])
def test_labels_of_altered_walks_stay_true(variant):
    """Our detector finds them as it finds those of the walk itself: a label that went to the other foot or another time would be missed."""
    walk = VARIANTS[variant](made_up_walk())
    frames = [FeetAt(int(s), h, t) for s, h, t in zip(walk.stamps_ns, walk.heels, walk.toes, strict=True)]
    into = {kind: Errors() for kind in EventType}
    add_errors(into, walk, GaitDetector(("LHeel", "RHeel", "LToe", "RToe")).detect(frames), walk.time_s[0] + 1.0)
    assert all(errors.missed == errors.false == 0 and len(errors.error_s) >= 8 for errors in into.values())
