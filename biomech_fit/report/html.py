"""report.html: one file with pictures and tables, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable
from typing import Any

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #222; max-width: 1180px; margin: 2em auto; padding: 0 1.2em; }
h1 { font-size: 1.6em; margin-bottom: 0.1em; } h2 { font-size: 1.2em; margin: 2em 0 0.3em; border-bottom: 1px solid #ddd; padding-bottom: 0.2em; }
p.sub { color: #666; margin-top: 0; } img { max-width: 100%; height: auto; } figure { margin: 0.6em 0; } figcaption { color: #555; font-size: 0.92em; }
table { border-collapse: collapse; margin: 0.6em 0; font-variant-numeric: tabular-nums; } th, td { padding: 0.25em 0.9em 0.25em 0; text-align: right; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 1px solid #999; } tbody tr:nth-child(even) { background: #f6f6f4; }
.tiles { display: grid; grid-template-columns: repeat(3, 1fr); gap: 0.8em; margin: 1em 0; }
.tile { background: #f4f4f1; border-radius: 6px; padding: 0.6em 1em; }
.tile b { display: block; font-size: 1.35em; } .tile span { color: #666; font-size: 0.88em; }
.notice { background: #fff6dd; padding: 0.4em 0.8em; border-radius: 4px; }
.columns { display: flex; flex-wrap: wrap; gap: 3em; align-items: flex-start; }
"""


def render(summary: dict[str, Any], pictures: list[tuple[str, str, str, bytes]]) -> str:
    """The page.

    Args:
        summary: content of summary.json (`report.figures.summarise`).
        pictures: (section title, file name, caption, PNG bytes); pictures of one title share a section.
    """
    what = summary["source"] or "recording"
    parts = [
        f"<h1>{text(what)}</h1>",
        f'<p class="sub">biomech_fit {text(summary["version"])}{", subject " + text(summary["subject"]) if summary["subject"] else ""}: '
        f"{summary['frames']} frames at {number(summary['frame_rate_hz'], 1)} Hz, {summary['cameras']} cameras, "
        f"{summary['keypoints']} keypoints ({text(summary['keypoint_set'])}).</p>",
        _tiles(summary),
        *(f'<p class="notice">{text(n)}</p>' for n in summary["notices"]),
    ]
    by_title: dict[str, list[str]] = {}
    for title, name, caption, png in pictures:
        by_title.setdefault(title, []).append(figure(name, caption, png))
    for title, figures in by_title.items():
        parts += [f"<h2>{text(title)}</h2>", *figures]
        if title == CAMERA_SECTION:
            parts.append(_camera_table(summary))
    if CAMERA_SECTION not in by_title and summary["cameras"]:
        parts += [f"<h2>{CAMERA_SECTION}</h2>", _camera_table(summary)]
    parts += ["<h2>Steps</h2>", *step_section(summary, [name for _, name, _, _ in pictures]), "<h2>Body</h2>", _segment_table(summary["segment_lengths_m"])]
    return page(what, parts)


def page(title: str, parts: list[str]) -> str:
    """The whole document."""
    body = "\n".join(parts)
    head = f'<meta charset="utf-8">\n<title>{text(title)}: biomech_fit report</title>\n<style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def figure(name: str, caption: str, png: bytes) -> str:
    """A picture, held in the page itself."""
    data = base64.b64encode(png).decode("ascii")
    image = f'<img alt="{text(caption)}" src="data:image/png;base64,{data}">'
    return f'<figure id="{text(name)}">{image}<figcaption>{text(caption)}</figcaption></figure>'


CAMERA_SECTION = "Cameras"


def _tiles(summary: dict[str, Any]) -> str:
    r, latency = summary["reprojection_px"], summary["latency_ms"]
    tracked = summary["status"].get("OK", 0) + summary["status"].get("REINITIALISED", 0)
    tiles = [
        (f"{number(r['median'], 1)} px", f"median reprojection error (loaded cameras: {number(r['median_before'], 1)} px)"),
        (f"{number(r['gc5'], 2)} / {number(r['gc10'], 2)}", "GC₅ / GC₁₀: share of keypoints under 5 / 10 px"),
        (f"{tracked} of {summary['frames']}", "frames tracked"),
        (f"{number(latency['p50'], 1)} / {number(latency['p99'], 1)} ms", "latency p50 / p99"),
        (f"{number(summary['realtime_factor'], 1)} x", "real time"),
        (f"{summary['events']['initial_contact']} / {summary['events']['final_contact']}", "initial / final contacts"),
    ]
    return tile_row(tiles)


def tile_row(tiles: list[tuple[str, str]]) -> str:
    """Figures in large type with words under them."""
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{text(a)}</b><span>{text(b)}</span></div>' for a, b in tiles) + "</div>"


def _camera_table(summary: dict[str, Any]) -> str:
    rows, corrections = [], summary["camera_correction"]
    optional = [("time_offset_ms", "clock offset (ms)", 1), ("focal_percent", "focal length (%)", 2)]
    optional = [column for column in optional if any(column[0] in correction for correction in corrections.values())]
    for name, correction in corrections.items():
        r = summary["reprojection_px"]["per_camera"][name]
        more = [number(correction.get(key, 0.0), digits) for key, _, digits in optional]
        rows.append(
            [name, number(correction["rotation_deg"], 2), number(correction["translation_mm"], 1), *more, number(r["median_before"], 1),
             number(r["median"], 1), number(r["gc5"], 2), number(r["gc10_before"], 2), number(r["gc10"], 2), str(r["count"])]
        )  # fmt: skip
    titles = [title for _, title, _ in optional]
    head = ["camera", "turned by (°)", "moved by (mm)", *titles, "median before (px)", "median (px)", "GC₅", "GC₁₀ before", "GC₁₀", "keypoints counted"]
    return table(head, rows)


_STEP_ROWS = {
    "step_length_m": ("step length (cm)", 100, 1), "stride_length_m": ("stride length (cm)", 100, 1), "step_width_m": ("step width (cm)", 100, 1),
    "step_time_s": ("step time (s)", 1, 3), "stride_time_s": ("stride time (s)", 1, 3), "stance_time_s": ("stance time (s)", 1, 3),
    "swing_time_s": ("swing time (s)", 1, 3), "single_support_time_s": ("single support (s)", 1, 3),
    "double_support_time_s": ("double support (s)", 1, 3), "cadence_steps_per_min": ("cadence (steps/min)", 1, 1), "speed_m_s": ("speed (m/s)", 1, 2),
    "walk_ratio_m_min": ("walk ratio (mm per step/min)", 1000, 2),
}  # fmt: skip
"""Label, factor and digits of each step parameter."""


def step_section(summary: dict[str, Any], drawn: Iterable[str]) -> list[str]:
    """Means, variability and symmetry of the steps, and a kind word where there are none, or too few. `drawn`: names of the pictures that there are."""
    gait, count = summary["gait_summary"], summary["steps"]["count"]
    counted = gait["steps_left"] + gait["steps_right"]
    if not count:
        return [
            '<p class="notice">No step was found. A step needs an initial contact of each foot, one after the other: the person may have stood, or walked '
            "only a few metres, or the feet were out of view. Everything else on this page holds.</p>"
        ]
    left_out = [f"{gait['skipped']} at the beginning of a walk"] if gait["skipped"] else []
    left_out += [f"{gait['turning']} in turns"] if gait["turning"] else []
    words = f"{counted} of {count} steps count (left {gait['steps_left']}, right {gait['steps_right']})"
    words += f"; left out: {' and '.join(left_out)}." if left_out else "."
    if counted < 6:
        words += " So few steps say little about means, and less about variability."
    if "gait_cycles" not in drawn:
        words += " Curves over the gait cycle need joint angles and three whole strides of one foot; there are none here."
    rows = []
    for name, (label, factor, digits) in _STEP_ROWS.items():
        r = gait["parameters"][name]
        pair = [f"{number(factor * r[f'{side}_mean'], digits)} ± {number(factor * r[f'{side}_sd'], digits)}" for side in ("left", "right")]
        rows.append([label, number(factor * r["mean"], digits), number(factor * r["sd"], digits), number(100 * r["cv"], 1), *pair,
                     number(100 * r["symmetry"], 1)])  # fmt: skip
    head = ["steps", "mean", "sd", "cv (%)", "left", "right", "left - right (%)"]
    return [f"<p>{words}</p>", table(head, rows)]


def _segment_table(lengths: dict[str, float]) -> str:
    bases = list(dict.fromkeys(n[:-2] if n.endswith(("_l", "_r")) else n for n in lengths))
    rows = []
    for base in bases:
        if base in lengths:
            rows.append([base.replace("_", " "), number(1e3 * lengths[base], 0), ""])
        else:
            rows.append([base.replace("_", " "), *(number(1e3 * lengths[f"{base}_{s}"], 0) if f"{base}_{s}" in lengths else "" for s in "lr")])
    return table(["segment length (mm)", "left or whole", "right"], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Plain texts; the first column to the left."""
    top = "".join(f"<th>{text(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{text(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def number(value: float | None, digits: int) -> str:
    """n/a where there is none."""
    return "n/a" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def text(value: object) -> str:
    """Escaped."""
    return html.escape(str(value))
