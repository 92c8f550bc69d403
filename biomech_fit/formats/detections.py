"""Cleaning of what detectors send, and counting of what was wrong with it."""

from __future__ import annotations

from collections import Counter

import numpy as np


class Tally:
    """Counts oddities of a recording and says each in one sentence: ``{where}: {count} {what} (first: {example})``."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], str] = {}

    def add(self, where: str, what: str, count: int = 1, example: str = "") -> None:
        if count:
            self._counts[where, what] += count
            self._examples.setdefault((where, what), example)

    def sentences(self) -> list[str]:
        return [
            f"{where}: {count} {what}" + (f" (first: {self._examples[where, what]})." if self._examples[where, what] else ".")
            for (where, what), count in self._counts.items()
        ]


def clean_detections(xy: np.ndarray, confidence: np.ndarray, tally: Tally | None = None, where: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Make missing points uniform: NaN coordinates and confidence 0.

    `xy` (P, K, 2) px and `confidence` (P, K). Missing are: confidence 0, not finite or negative; coordinates not finite or exactly (0, 0), as OpenPose
    writes them. Confidence above 1 becomes 1. Negative, non-finite and too large confidences are counted in `tally`. Returns float32 copies.
    """
    xy, confidence = np.array(xy, np.float32), np.array(confidence, np.float32)
    bad = ~np.isfinite(confidence) | (confidence < 0)
    if tally is not None:
        tally.add(where, "confidences are NaN, infinite or negative; these keypoints count as missing", int(bad.sum()))
        tally.add(where, "confidences are above 1 and count as 1", int((confidence[~bad] > 1).sum()))
    missing = bad | (confidence == 0) | ~np.isfinite(xy).all(axis=-1) | (xy == 0).all(axis=-1)
    confidence = np.where(missing, 0, np.minimum(confidence, 1)).astype(np.float32)
    xy[missing] = np.nan
    return xy, confidence
