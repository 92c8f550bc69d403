"""subject.yaml: a person's body (scales) and how a detector sees it (keypoint offsets), with their joint covariance; a base model's detector noise, too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from biomech_fit.config.yaml_data import digits, is_number
from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.estimates import SubjectEstimate
from biomech_fit.core.keypoint_noise import KeypointNoise
from biomech_fit.formats.atomic import write_text
from biomech_fit.formats.mjcf import body_scale, scaled_mj_model, scaled_mjcf
from biomech_fit.formats.noise_entry import noise_content, read_noise
from biomech_fit.formats.resources import read_yaml

__all__ = ["KeypointOffset", "Scale", "Subject", "read_subject", "scaled_mj_model", "scaled_mjcf", "subject_from_estimate", "write_subject"]

FORMAT_VERSION = 1
_SMALLEST_STD = 1e-6
_SMALLEST_EIGENVALUE = 1e-8
"""Of a correlation matrix; what the solver's float32 makes smaller or negative is set to it."""
_COVARIANCE = "correlation_factor"


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
    """A person, or what many people have in common: body scales by parameter and keypoint offsets by keypoint name."""

    name: str
    model: str
    scales: dict[str, Scale]
    keypoint_set: str = ""
    keypoint_offsets: dict[str, KeypointOffset] = field(default_factory=dict)
    segment_lengths_m: dict[str, float] = field(default_factory=dict)
    """For the reader of the file; the scales are what counts."""
    correlation: np.ndarray | None = field(default=None, compare=False, repr=False)
    """(S + 3P, S + 3P) of the S scales, then x, y, z of the P keypoint offsets, in the order of their dicts; None = not known (taken as none).

    A few seconds tell size and offset mostly together: which of the two it is stays open, their sum is sure. Only the correlations know that."""
    people: int = 1
    """1 = a person; more = a base model of so many people, which says what to expect of the next one."""
    noise: KeypointNoise | None = None
    """A base model's: how far off the detector's keypoints are."""

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

        Offsets belong to one detector's set: for another set, and for keypoints without an entry, they are 0 with the model's prior. Raises InputError
        when the subject has a keypoint that its set lacks.
        """
        offset, std = np.zeros((len(body.keypoint_names), 3)), np.repeat(body.keypoint_offset_std[:, None], 3, axis=1)
        if keypoint_set == self.keypoint_set:
            for name in self.keypoint_offsets:
                if name not in body.keypoint_names:
                    have = ", ".join(body.keypoint_names)
                    raise InputError(f"The subject has an offset of the keypoint {name}, which the set {keypoint_set} lacks; it has {have}.")
            for k, name in enumerate(body.keypoint_names):
                if name in self.keypoint_offsets:
                    offset[k], std[k] = self.keypoint_offsets[name].offset, self.keypoint_offsets[name].std
        return offset, std

    def covariance(self, body: BodyModel, keypoint_set: str) -> np.ndarray:
        """(S + 3K, S + 3K) of `scale_vector` and, keypoint by keypoint, `offset_matrix`. Raises InputError as they do."""
        std = np.concatenate([self.scale_vector(body)[1], self.offset_matrix(body, keypoint_set)[1].reshape(-1)])
        correlation = np.eye(len(std))
        if self.correlation is not None:
            own = [body.scale_names.index(name) for name in self.scales]
            for name in self.keypoint_offsets:
                known = keypoint_set == self.keypoint_set
                first = len(body.scale_names) + 3 * body.keypoint_names.index(name) if known else 0
                own += [first + axis if known else -1 for axis in range(3)]
            place = np.array(own, int)
            here = np.flatnonzero(place >= 0)
            correlation[np.ix_(place[here], place[here])] = self.correlation[np.ix_(here, here)]
        return std[:, None] * correlation * std

    def keypoint_noise(self, keypoint_set: str) -> KeypointNoise | None:
        """How far off the keypoints of a detector of this set are, as a base model says; None where none does."""
        return self.noise if self.people > 1 and keypoint_set == self.keypoint_set else None

    def notice(self, keypoint_set: str) -> str | None:
        """A sentence where only a part of the subject is of use with a keypoint set."""
        if not self.keypoint_offsets or keypoint_set == self.keypoint_set:
            return None
        return f"The subject's keypoint offsets are of the set {self.keypoint_set}, not of {keypoint_set}: only its sizes are taken."


def subject_from_estimate(estimate: SubjectEstimate, body: BodyModel, keypoint_set: str, name: str | None = None) -> Subject:
    """The subject that a fit found; `keypoint_set` is the name of the recording's set. Keypoints without a place on the body are left out."""
    placed = [k for k in range(len(estimate.keypoint_names)) if body.keypoint_body[k] >= 0 and np.all(np.isfinite(estimate.keypoint_offsets[k]))]
    offsets = {
        estimate.keypoint_names[k]: KeypointOffset(_triple(estimate.keypoint_offsets[k]), _triple(np.maximum(estimate.keypoint_offset_std[k], _SMALLEST_STD)))
        for k in placed
    }
    count = len(estimate.scale_names)
    scales = {
        scale: Scale(float(estimate.scales[k]), max(float(estimate.scale_std[k]), _SMALLEST_STD)) for k, scale in enumerate(estimate.scale_names)
    }
    correlation = None
    if estimate.covariance is not None:
        kept = np.concatenate([np.arange(count), *(count + 3 * k + np.arange(3) for k in placed)]).astype(int)
        correlation = _correlation(estimate.covariance[np.ix_(kept, kept)])
    return Subject(estimate.name if name is None else name, estimate.model, scales, keypoint_set, offsets, dict(estimate.segment_lengths_m), correlation)


def _correlation(covariance: np.ndarray) -> np.ndarray | None:
    """The nearest correlation matrix with positive eigenvalues; None where it is not finite."""
    if not np.isfinite(covariance).all():
        return None
    std = np.sqrt(np.maximum(np.diag(covariance), _SMALLEST_STD**2))
    value, vector = np.linalg.eigh(covariance / np.outer(std, std))
    positive = (vector * np.maximum(value, _SMALLEST_EIGENVALUE)) @ vector.T
    size = np.sqrt(np.diag(positive))
    return positive / np.outer(size, size)


def write_subject(path: str | Path, subject: Subject) -> None:
    """Write subject.yaml. In the file a scale is a factor (1.03), not the additive value.

    Correlations are written as their Cholesky factor: rounded, it is still one of a valid matrix, and it stays valid when a standard deviation is
    changed by hand.
    """
    content = {
        "format": FORMAT_VERSION,
        "name": subject.name,
        **({"people": subject.people} if subject.people > 1 else {}),
        "model": subject.model,
        "scales": {name: {"factor": round(1 + scale.value, 6), "std": digits(scale.std)} for name, scale in subject.scales.items()},
        "segment_lengths_m": {name: round(float(length), 4) for name, length in subject.segment_lengths_m.items()},
        "keypoint_set": subject.keypoint_set,
        "keypoint_offsets": {
            name: {"offset_m": [round(x, 6) for x in entry.offset], "std_m": [digits(x) for x in entry.std]}
            for name, entry in subject.keypoint_offsets.items()
        },
        **({"detector_noise": noise_content(subject.noise)} if subject.noise else {}),
    }
    head = "# A person's body for biomech_fit. factor 1 = the model's own size; offsets are in the keypoint's body frame.\n"
    text = head + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=150, allow_unicode=True)
    if subject.correlation is not None:
        text += "# The lower triangle L: L L^T are the correlations of the scales and then the offsets (x, y, z), in the order above.\n"
        rows = np.linalg.cholesky(subject.correlation)
        text += f"{_COVARIANCE}: |\n" + "".join("  " + " ".join(f"{x:.5g}" for x in row[: i + 1]) + "\n" for i, row in enumerate(rows))
    write_text(Path(path), text)


def read_subject(path: str | Path) -> Subject:
    """Read subject.yaml. Raises InputError naming the entry that is missing or malformed."""
    path = Path(path)
    content = read_yaml(path, "subject")
    where = f"subject file {path}"
    if content.get("format", FORMAT_VERSION) != FORMAT_VERSION:
        raise InputError(f"The {where} has format {content['format']!r}; this version reads format {FORMAT_VERSION}.")
    if not isinstance(content.get("model"), str) or not content["model"]:
        raise InputError(f"The {where} must name its model.")
    people = content.get("people", 1)
    if isinstance(people, bool) or not isinstance(people, int) or people < 1:
        raise InputError(f"In {where}, people is {people!r}; it must be 1 for a person, or the number of people of a base model.")
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
            if not isinstance(value, list) or len(value) != 3 or not all(is_number(x) for x in value):
                raise InputError(f"In {where}, keypoint_offsets: {name}.{key} must be three numbers (m).")
            triples.append(_triple(value))
        if max(map(abs, triples[0])) > 0.5:
            raise InputError(f"In {where}, keypoint_offsets: {name}.offset_m is larger than 0.5 m.")
        _std(min(triples[1]), f"keypoint_offsets: {name}.std_m", where)
        offsets[name] = KeypointOffset(triples[0], triples[1])
    lengths = {name: float(length) for name, length in _entries(content, "segment_lengths_m", where).items() if is_number(length)}
    correlation = _read_correlation(content.get(_COVARIANCE), len(scales) + 3 * len(offsets), where)
    noise = read_noise(content.get("detector_noise"), where)
    name, keypoint_set = (str(content.get(key) or "") for key in ("name", "keypoint_set"))
    return Subject(name, content["model"], scales, keypoint_set, offsets, lengths, correlation, people, noise)


def _read_correlation(text: Any, size: int, where: str) -> np.ndarray | None:
    """(size, size); files of earlier versions have none."""
    if text is None:
        return None
    lines = text.splitlines() if isinstance(text, str) else []
    if len(lines) != size:
        raise InputError(f"In {where}, {_COVARIANCE} has {len(lines)} lines; it must have {size}, one for each scale and each axis of each keypoint offset.")
    factor = np.zeros((size, size))
    for i, line in enumerate(lines):
        try:
            row = np.array(line.split(), float)
        except ValueError:
            row = np.zeros(0)
        # Rows of a correlation's factor have the length 1; 5 digits keep it to far less than 1 %.
        if len(row) != i + 1 or not np.isfinite(row).all() or abs(np.linalg.norm(row) - 1) > 0.01 or row[i] <= 0:
            raise InputError(f"In {where}, line {i + 1} of {_COVARIANCE} must be {i + 1} numbers whose squares sum to 1, the last one above 0.")
        factor[i, : i + 1] = row / np.linalg.norm(row)
    return factor @ factor.T


def _entries(content: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = content.get(key) or {}
    if not isinstance(value, dict):
        raise InputError(f"In {where}, {key} must be a mapping of names to values.")
    return {str(name): entry for name, entry in value.items()}


def _number(entry: Any, key: str, label: str, where: str) -> float:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not is_number(value):
        raise InputError(f"In {where}, {label} needs the number {key}.")
    return float(value)


def _std(value: float, label: str, where: str) -> float:
    if value <= 0:
        raise InputError(f"In {where}, {label} is {value:g}; a standard deviation must be above 0.")
    return value


def _triple(values: Iterable[float]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
