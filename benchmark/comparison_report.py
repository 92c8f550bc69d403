"""The comparison as a table and a picture: medians over the walks, the targets beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from recordings import CONDITIONS

from biomech_fit.core.errors import InputError
from biomech_fit.report.style import new_figure, styled

ANGLES = ("hip_deg", "knee_deg", "ankle_deg")
SHOWN = (
    ("raw_mm", "points raw (mm)", 1),
    ("aligned_mm", "aligned (mm)", 1),
    ("hip_deg", "hip (°)", 1),
    ("knee_deg", "knee (°)", 1),
    ("ankle_deg", "ankle (°)", 1),
    ("points_in_95", "points in 95 %", 2),
    ("angles_in_95", "angles in 95 %", 2),
    ("camera_deg", "cameras (°)", 3),
    ("camera_mm", "(mm)", 1),
    ("frames", "frames", 2),
    ("ms_per_frame", "ms/frame", 1),
    ("cpu_ms_per_frame", "core ms/frame", 1),
)
TARGETS: dict[tuple[str, str], dict[str, float]] = {
    ("clean", "smoothed"): {"raw_mm": 6.5, "aligned_mm": 5.3, "hip_deg": 1.7, "knee_deg": 1.6, "ankle_deg": 3.2},
    ("clean", "causal"): {"raw_mm": 8.5, "aligned_mm": 7.5, "hip_deg": 3.2, "knee_deg": 2.9, "ankle_deg": 4.2},
    ("fixed", "smoothed"): {"raw_mm": 5.0},
    ("perturbed", "smoothed"): {"raw_mm": 9.0, "aligned_mm": 5.5, "camera_deg": 0.14},
    ("perturbed", "causal"): {"raw_mm": 12.0, "aligned_mm": 8.5},
    ("silent", "smoothed"): {"aligned_mm": 5.6},
    ("silent", "causal"): {"aligned_mm": 8.0},
    ("loss", "smoothed"): {"aligned_mm": 6.2},
    ("loss", "causal"): {"aligned_mm": 9.0},
    ("lag", "smoothed"): {"aligned_mm": 5.6},
    ("lag", "causal"): {"aligned_mm": 8.0},
    ("side", "smoothed"): {"aligned_mm": 10.5, "knee_deg": 2.6},
    ("side", "causal"): {"aligned_mm": 14.0},
    ("real", "smoothed"): {"raw_mm": 12.0, "aligned_mm": 6.0},
    ("real", "causal"): {"raw_mm": 15.0, "aligned_mm": 9.0},
    ("correlated", "smoothed"): {"aligned_mm": 10.5},
    ("correlated", "causal"): {"aligned_mm": 12.0},
}
"""At most, for the median walk. Of our pipeline with a known body."""
WORST: dict[tuple[str, str], dict[str, float]] = {
    ("clean", "smoothed"): {"hip_deg": 2.2, "knee_deg": 2.2, "ankle_deg": 4.0},
    ("perturbed", "smoothed"): {"camera_deg": 0.18},
}
"""At most, for the worst walk."""
COVERAGE = 0.88
"""At least, in every condition."""
BEGIN, END = "<!-- the table begins: benchmark/compare_pipelines.py writes it -->", "<!-- the table ends -->"
_PANELS = (("raw_mm", "Points, raw (mm)"), ("aligned_mm", "Points, rigidly aligned (mm)"), ("knee_deg", "Knee flexion RMSE, offset removed (°)"))
_COLOURS = {
    ("ours", "causal"): "#56b4e9",
    ("ours", "smoothed"): "#0072b2",
    ("ours-unknown", "causal"): "#b0b0b0",
    ("ours-unknown", "smoothed"): "#6e6e6e",
    ("pose2sim", "offline"): "#d55e00",
    ("pose2sim-unknown", "offline"): "#e69f00",
    ("plain", "offline"): "#009e73",
}
"""By pipeline and output, in the order of the picture."""
_LIMIT_OF_MEDIANS = 1.3
"""The picture's scale ends so far beyond the largest median; single walks may lie outside."""

Scores = dict[str, dict[str, dict[str, dict[str, float]]]]
"""Of one condition: pipeline, output, subject, figure."""


def table_head() -> str:
    """The first two lines of the Markdown table."""
    return f"| condition | pipeline | {' | '.join(title for _, title, _ in SHOWN)} |\n|{'---|' * (len(SHOWN) + 2)}"


def table_rows(condition: str, scores: Scores) -> list[str]:
    """Markdown rows of one condition."""
    rows = []
    most = max((len(walks) for outputs in scores.values() for walks in outputs.values()), default=0)
    for pipeline, outputs in scores.items():
        for kind, walks in outputs.items():
            count = "" if len(walks) == most else f" ({len(walks)} of {most} walks)"
            targets, worst = (limits.get((condition, kind), {}) if pipeline == "ours" else {} for limits in (TARGETS, WORST))
            cells = [_cell(name, digits, [walk[name] for walk in walks.values() if name in walk], targets, worst) for name, _, digits in SHOWN]
            rows.append(f"| {CONDITIONS[condition].title} | {pipeline}, {kind}{count} | {' | '.join(cells)} |")
    return rows


def _cell(name: str, digits: int, values: list[float], targets: dict[str, float], worst: dict[str, float]) -> str:
    """Median, "/" worst walk where that is shown, and the target; "!" marks what misses it."""
    if not values:
        return ""
    text = _against(float(np.median(values)), digits, targets.get(name))
    if name in ANGLES or name in worst:
        text += " / " + _against(float(np.max(values)), digits, worst.get(name))
    if name.endswith("in_95"):
        text += "!" if np.median(values) < COVERAGE else ""
    return text


def _against(value: float, digits: int, target: float | None) -> str:
    text = f"{value:.{digits}f}"
    return text if target is None else f"{text}{'' if value <= target else '!'} ({target:g})"


def picture(results: dict[str, Scores]) -> Figure:
    """Every walk as a pale dot and the median of each pipeline as a full one, by condition."""
    conditions = list(results)
    there = {(pipeline, kind) for scores in results.values() for pipeline, kinds in scores.items() for kind in kinds}
    outputs = [output for output in _COLOURS if output in there]
    figure = new_figure(13, 1.6 + 0.13 * len(conditions) * len(outputs))
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (figure_name, title) in zip(panels, _PANELS, strict=True):
        medians = []
        for row, condition in enumerate(conditions):
            for place, output in enumerate(outputs):
                walks = results[condition].get(output[0], {}).get(output[1], {})
                values = [walk[figure_name] for walk in walks.values()]
                if values:
                    height = row + 0.8 * ((place + 0.5) / len(outputs) - 0.5)
                    medians.append(np.median(values))
                    axes.plot(values, [height] * len(values), ".", color=_COLOURS[output], alpha=0.35, markersize=4)
                    axes.plot(medians[-1], height, "o", color=_COLOURS[output], markersize=5, label=", ".join(output))
            axes.axhline(row + 0.5, color="0.9", linewidth=0.8)
        axes.set_xlim(0, _LIMIT_OF_MEDIANS * max(medians, default=1.0))
        axes.set_xlabel(title)
        axes.grid(visible=False, axis="y")
    panels[0].set_yticks(range(len(conditions)), [CONDITIONS[condition].title for condition in conditions])
    panels[0].set_ylim(len(conditions) - 0.5, -0.5)
    named = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=4, fontsize="small", frameon=False)
    return figure


def write(page: Path, results: dict[str, Scores], made_by: str) -> None:
    """Puts the table between its marks in the page, and the picture into images/ beside it, named as the page."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    if BEGIN not in text or END not in text:
        raise InputError(f"'{page}' has no place for the table: it must be a file with the lines '{BEGIN}' and '{END}'.")
    rows = []
    for condition, scores in results.items():
        first, *others = table_rows(condition, scores)
        rows += [first, *(row.replace(f"| {CONDITIONS[condition].title} |", "| |", 1) for row in others)]
    image = page.parent / "images" / f"{page.stem}.png"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    parts = [
        before + BEGIN,
        made_by,
        f"![Errors of points and knee by condition and pipeline](images/{image.name})",
        "\n".join([table_head(), *rows]),
        END + after,
    ]
    with styled():
        picture(results).savefig(image)
    page.write_text("\n\n".join(parts), encoding="utf-8")
