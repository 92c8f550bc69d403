"""What a run over 3D points leaves behind: gait events and steps read from the points themselves, and the body that was fitted to them, where one was."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biomech_fit.core.gait_summary import SummarySettings
from biomech_fit.core.steps import StepParameters
from biomech_fit.core.types import EventType, GaitEvent, Side
from biomech_fit.formats.atomic import replacing, write_text
from biomech_fit.formats.points_recording import PointsRecording
from biomech_fit.report import html
from biomech_fit.report.evaluate import event_errors
from biomech_fit.report.figures import event_counts, gait_figures, json_ready, step_means
from biomech_fit.report.gait_view import GaitView
from biomech_fit.report.outputs import draw_gait, events_csv, steps_csv
from biomech_fit.report.points_body import BodyPart

NO_BODY = "Gait was read from the 3D points themselves; no body was fitted, so there are no joint angles of this run."
NO_GAIT = "There are no points of both feet, so gait was not read."


@dataclass(eq=False)
class PointsResult:
    """A run over a `PointsRecording`."""

    recording: PointsRecording
    causal: tuple[list[GaitEvent], list[StepParameters]] | None
    """What a live subscriber would have got; None = of an offline fit, which has one set of files."""
    smoothed: tuple[list[GaitEvent], list[StepParameters]]
    """With the whole recording known."""
    wall_s: float
    version: str
    step_settings: SummarySettings
    body: BodyPart | None = None
    """None = none was fitted."""


def write_points_outputs(out: str | Path, result: PointsResult, report: bool = True) -> dict[str, Any]:
    """Writes gait_events.csv and steps.csv into `out` (causal) and `out`/smoothed, or of an offline fit into `out`, summary.json, and the report; gives the
    summary.

    Times in the files are the recording's own.
    """
    out = Path(out)
    parts = [(out, result.smoothed)] if result.causal is None else [(out, result.causal), (out / "smoothed", result.smoothed)]
    for folder, (events, steps) in parts:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "gait_events.csv", events_csv(events, 0))
        write_text(folder / "steps.csv", steps_csv(steps, 0))
    summary = summarise_points(result)
    if report:
        recording, (events, steps) = result.recording, result.smoothed
        feet = recording.feet
        drawn = list(result.body.pictures) if result.body is not None else []
        if feet is not None:
            angles = {**(result.body.angles if result.body is not None else {}), **recording.angles}
            drawn += draw_gait(GaitView(recording.stamps_ns, 0, events, steps, feet.heels, feet.toes, feet.pelvis, angles))
        for _, name, _, png in drawn:
            with replacing(out / "pictures" / f"{name}.png") as path:
                path.write_bytes(png)
        write_text(out / "report.html", _page(summary, drawn))
    write_text(out / "summary.json", json.dumps(json_ready(summary), indent=2) + "\n")
    return summary


def summarise_points(result: PointsResult) -> dict[str, Any]:
    """The content of summary.json."""
    recording = result.recording
    frames = len(recording.stamps_ns)
    events, steps = result.smoothed
    duration = frames / recording.frame_rate_hz if recording.frame_rate_hz > 0 else math.nan
    summary: dict[str, Any] = {
        "source": recording.name,
        "frames": frames,
        "frame_rate_hz": recording.frame_rate_hz,
        "cameras": 0,
        "points": recording.point_count,
        "points_map": recording.feet.map_name if recording.feet is not None else None,
        "points_used": recording.feet.used if recording.feet is not None else {},
        "world_up": recording.up,
        "body_fitted": result.body is not None,
        "start_stamp_ns": 0,
        "start_s": 1e-9 * float(recording.stamps_ns[0]),
        "wall_s": result.wall_s,
        "realtime_factor": duration / result.wall_s if result.wall_s > 0 else math.nan,
        "events": event_counts(events) | ({} if result.causal is None else {"causal": event_counts(result.causal[0])}),
        "steps": step_means(steps),
        "gait_summary": gait_figures(steps, result.step_settings),
        "notices": [*recording.notices, *([] if result.body is not None else [NO_BODY]), *([] if recording.feet is not None else [NO_GAIT])],
        "version": result.version,
        **(result.body.summary if result.body is not None else {}),
    }
    if recording.labels:
        summary["labels"] = {"smoothed": label_errors(events, recording)}
        if result.causal is not None:
            summary["labels"]["causal"] = label_errors(result.causal[0], recording)
    return summary


def label_errors(events: list[GaitEvent], recording: PointsRecording) -> dict[str, Any]:
    """Ours against the events that the file labels, between its first and last label: matched within 150 ms, bias, spread, missed, false."""
    words = {EventType.INITIAL_CONTACT: "initial_contact", EventType.FINAL_CONTACT: "final_contact"}
    sides = {Side.LEFT: "left", Side.RIGHT: "right"}
    found = [(e.stamp_ns * 1e-9, sides[e.side], words[e.type]) for e in events]
    true = [(time_s, sides[side], words[kind]) for side, kind, time_s in recording.labels]
    times = np.array([t for t, _, _ in true])
    return event_errors(found, true, float(times.min()), float(times.max()))


def _page(summary: dict[str, Any], pictures: list[tuple[str, str, str, bytes]]) -> str:
    events, text, number = summary["events"], html.text, html.number
    tiles = [
        (f"{events['initial_contact']} / {events['final_contact']}", "initial / final contacts"),
        (str(summary["steps"]["count"]), "steps"),
        (f"{number(summary['steps']['speed_m_s'], 2)} m/s", "mean speed"),
    ]
    if summary["body_fitted"]:
        tiles.append((f"{number(summary['point_distance_mm']['median'], 1)} mm", "median distance of the body's points from those in the file"))
        tiles.append((f"{summary['coordinates']}", f"coordinates, by the {summary['body']}"))
    head = f"{summary['frames']} samples of 3D points at {number(summary['frame_rate_hz'], 1)} Hz"
    parts = [
        f"<h1>{text(summary['source'])}</h1>",
        f'<p class="sub">biomech_fit {text(summary["version"])}: {text(head)}.</p>',
        html.tile_row(tiles),
        *(f'<p class="notice">{text(notice)}</p>' for notice in summary["notices"]),
    ]
    for section in dict.fromkeys(title for title, _, _, _ in pictures):
        parts += [f"<h2>{section}</h2>", *(html.figure(name, caption, png) for title, name, caption, png in pictures if title == section)]
    if "angles_of_the_file" in summary:
        parts += _file_angles(summary["angles_of_the_file"])
    parts += [
        "<h2>Steps</h2>",
        *html.step_section(summary, [name for _, name, _, _ in pictures]),
    ]
    if "labels" in summary:
        rows = []
        for kind, r in summary["labels"]["smoothed"].items():
            figures = [number(r[key], 1) for key in ("bias_ms", "sd_ms", "median_abs_ms")]
            rows.append([kind.replace("_", " "), str(r["matched"]), *figures, str(r["missed"]), str(r["false"])])
        columns = ["ours (smoothed) - label", "matched", "bias (ms)", "sd (ms)", "median size (ms)", "missed", "false"]
        parts += ["<h2>Against the file's labelled events</h2>", html.table(columns, rows)]
    return html.page(summary["source"], parts)


def _file_angles(angles: dict[str, Any]) -> list[str]:
    """Our angles against those that the file holds already."""
    best = angles.get("smoothed", angles)
    rows = [[name.replace("_", " "), *(html.number(r[key], 1) for key in ("rms_deg", "bias_deg", "offset_removed_deg"))] for name, r in best.items()]
    return ["<h2>Against the file's own angles</h2>", html.table(["degrees", "RMS", "bias (ours - file's)", "RMS without the bias"], rows)]
