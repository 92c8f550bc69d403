"""subject.yaml: a person's body (scales) and how a detector sees it (keypoint offsets), with standard deviations."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import yaml

from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.estimates import SubjectEstimate
from biomech_fit.formats.atomic import write_text
from biomech_fit.formats.mjcf import body_scale, scaled_mj_model, scaled_mjcf
from biomech_fit.formats.resources import read_yaml

__all__ = ["KeypointOffset", "Scale", "Subject", "read_subject", "scaled_mj_model", "scaled_mjcf", "subject_from_estimate", "write_subject"]

FORMAT_VERSION = 1
_SMALLEST_STD = 1e-6


@dataclass(frozen=True)
class Scale:
    """One scale parameter: `value` is additive to 1 (0.03 = 3 % larger than the model), as `std`."""

    value: float
    std: float


@dataclass(frozen=True)
class KeypointOffset:
    """Where the detector aims at, from the model's scaled point, in the keypoint's body frame (m)."""

    offset: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Subject:
    """A person: body scales by parameter and keypoint offsets by keypoint name."""

    name: str
    model: str
    scales: dict[str, Scale]
    keypoint_set: str = ""
    keypoint_offsets: dict[str, KeypointOffset] = field(default_factory=dict)
    segment_lengths_m: dict[str, float] = field(default_factory=dict)
    """For the reader of the file; the scales are what counts."""

    def scale_vector(self, body: BodyModel) -> tuple[np.ndarray, np.ndarray]:
        """Values and standard deviations (S,) in the body's order, additive to 1.

        Parameters that the subject lacks are 0 with the prior's standard deviation. Raises InputError when the subject is of another model, or
        has a parameter that the body lacks.
        """
        if self.model != body.name:
            raise InputError(f"The subject {self.name or '(unnamed)'} was made for the model {self.model}; the chosen model is {body.name}.")
        for name in self.scales:
            if name not in body.scale_names:
                raise InputError(f"The subject has the scale {name}, which the model {body.name} lacks; it has {', '.join(body.scale_names)}.")
        prior_std = np.sqrt(np.diag(np.linalg.inv(body.scale_precision))) if body.scale_names else np.zeros(0)
        value = np.array([self.scales[name].value if name in self.scales else 0.0 for name in body.scale_names])
        std = np.array([self.scales[name].std if name in self.scales else prior_std[k] for k, name in enumerate(body.scale_names)])
        body_scale(body, value)
        return value, std

    def offset_matrix(self, body: BodyModel, keypoint_set: str) -> tuple[np.ndarray, np.ndarray]:
        """Offsets and standard deviations (K, 3) m in the body's keypoint order.

        Offsets belong to one detector's set: for another set, and for keypoints without an entry, they are 0 with the model's prior.
        """
        offset, std = np.zeros((len(body.keypoint_names), 3)), np.repeat(body.keypoint_offset_std[:, None], 3, axis=1)
        if keypoint_set == self.keypoint_set:
            for k, name in enumerate(body.keypoint_names):
                if name in self.keypoint_offsets:
                    offset[k], std[k] = self.keypoint_offsets[name].offset, self.keypoint_offsets[name].std
        return offset, std


def subject_from_estimate(estimate: SubjectEstimate, body: BodyModel, keypoint_set: str, name: str | None = None) -> Subject:
    """The subject that a fit found; `keypoint_set` is the name of the recording's set. Keypoints without a place on the body are left out."""
    offsets = {
        point: KeypointOffset(_triple(estimate.keypoint_offsets[k]), _triple(np.maximum(estimate.keypoint_offset_std[k], _SMALLEST_STD)))
        for k, point in enumerate(estimate.keypoint_names)
        if body.keypoint_body[k] >= 0 and np.all(np.isfinite(estimate.keypoint_offsets[k]))
    }
    scales = {
        scale: Scale(float(estimate.scales[k]), max(float(estimate.scale_std[k]), _SMALLEST_STD)) for k, scale in enumerate(estimate.scale_names)
    }
    return Subject(estimate.name if name is None else name, estimate.model, scales, keypoint_set, offsets, dict(estimate.segment_lengths_m))


def write_subject(path: str | Path, subject: Subject) -> None:
    """Write subject.yaml. In the file a scale is a factor (1.03), not the additive value."""
    content = {
        "format": FORMAT_VERSION,
        "name": subject.name,
        "model": subject.model,
        "scales": {name: {"factor": round(1 + scale.value, 6), "std": _digits(scale.std)} for name, scale in subject.scales.items()},
        "segment_lengths_m": {name: round(float(length), 4) for name, length in subject.segment_lengths_m.items()},
        "keypoint_set": subject.keypoint_set,
        "keypoint_offsets": {
            name: {"offset_m": [round(x, 6) for x in entry.offset], "std_m": [_digits(x) for x in entry.std]}
            for name, entry in subject.keypoint_offsets.items()
        },
    }
    head = "# A person's body for biomech_fit. factor 1 = the model's own size; offsets are in the keypoint's body frame.\n"
    write_text(Path(path), head + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=150, allow_unicode=True))


def read_subject(path: str | Path) -> Subject:
    """Read subject.yaml. Raises InputError naming the entry that is missing or malformed."""
    path = Path(path)
    content = read_yaml(path, "subject")
    where = f"subject file {path}"
    if content.get("format", FORMAT_VERSION) != FORMAT_VERSION:
        raise InputError(f"The {where} has format {content['format']!r}; this version reads format {FORMAT_VERSION}.")
    if not isinstance(content.get("model"), str) or not content["model"]:
        raise InputError(f"The {where} must name its model.")
    scales = {}
    for name, entry in _entries(content, "scales", where).items():
        factor, std = (_number(entry, key, f"scales: {name}", where) for key in ("factor", "std"))
        if not 0.2 <= factor <= 5:
            raise InputError(f"In {where}, scales: {name}.factor is {factor:g}; it must be between 0.2 and 5.")
        scales[name] = Scale(factor - 1, _std(std, f"scales: {name}.std", where))
    offsets = {}
    for name, entry in _entries(content, "keypoint_offsets", where).items():
        triples = []
        for key in ("offset_m", "std_m"):
            value = entry.get(key) if isinstance(entry, dict) else None
            if not isinstance(value, list) or len(value) != 3 or not all(_is_number(x) for x in value):
                raise InputError(f"In {where}, keypoint_offsets: {name}.{key} must be three numbers (m).")
            triples.append(_triple(value))
        if max(map(abs, triples[0])) > 0.5:
            raise InputError(f"In {where}, keypoint_offsets: {name}.offset_m is larger than 0.5 m.")
        _std(min(triples[1]), f"keypoint_offsets: {name}.std_m", where)
        offsets[name] = KeypointOffset(triples[0], triples[1])
    lengths = {name: float(length) for name, length in _entries(content, "segment_lengths_m", where).items() if _is_number(length)}
    return Subject(str(content.get("name") or ""), content["model"], scales, str(content.get("keypoint_set") or ""), offsets, lengths)


def _entries(content: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = content.get(key) or {}
    if not isinstance(value, dict):
        raise InputError(f"In {where}, {key} must be a mapping of names to values.")
    return {str(name): entry for name, entry in value.items()}


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number(entry: Any, key: str, label: str, where: str) -> float:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not _is_number(value):
        raise InputError(f"In {where}, {label} needs the number {key}.")
    return float(value)


def _std(value: float, label: str, where: str) -> float:
    if value <= 0:
        raise InputError(f"In {where}, {label} is {value:g}; a standard deviation must be above 0.")
    return value


def _triple(values: Iterable[float]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
