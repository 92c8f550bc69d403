"""`biomech-fit fit --meta`: many people, each with a body of their own, and a base model learned from all of them."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from biomech_fit.core.errors import InputError
from biomech_fit.core.keypoint_noise import KeypointNoise
from biomech_fit.formats.folder import make_folder

MIN_PEOPLE = 2
EVIDENCE = 2
"""Counts the changes of what a person's evidence contains."""


def run_meta(args: argparse.Namespace) -> int:
    """Fits every person, learns the base model, and writes both."""
    from biomech_fit.offline.farm import Job, run_jobs

    opening = {"calibration": args.calibration, "keypoint_set": args.keypoint_set, "frame_rate": args.frame_rate}
    people = {path.resolve().name: _recordings(path, opening) for path in args.recordings}
    if len(people) < max(MIN_PEOPLE, len(args.recordings)):
        raise InputError(f"--meta needs at least {MIN_PEOPLE} people in folders of different names; given were {', '.join(str(p) for p in args.recordings)}.")
    make_folder(args.out)
    options = {name: _plain(value) for name, value in vars(args).items() if name not in ("recordings", "out", "run", "command", "workers", "scheduler")}
    jobs = []
    for name, recordings in people.items():
        done = args.out / name / f"evidence_{_fingerprint(recordings, options)}.npz"
        jobs.append(Job(name, done, fit_subject, (options, [str(path) for path in recordings], str(args.out / name), str(done))))
    _say(f"Fitting {len(people)} people ...")
    failed = run_jobs(jobs, args.workers, args.scheduler, _say)
    found = [job for job in jobs if job.done.exists()]
    if len(found) < MIN_PEOPLE:
        raise InputError(f"Only {len(found)} of {len(jobs)} people could be fitted: " + "; ".join(f"{name}: {why}" for name, why in failed.items()))
    _write_base(args.out, found, failed)
    _say(f"Base model of {len(found)} people: {args.out / 'base_model.yaml'} (for --subject of somebody new).")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def fit_subject(options: dict[str, Any], recordings: list[str], out: str, done: str) -> None:
    """One person's fit; last of all, what the data alone say of the body is written to `done`. Runs in a worker."""
    from biomech_fit.formats.atomic import replacing

    args = argparse.Namespace(**options)
    for name in ("subject", "calibration", "config"):
        value = getattr(args, name)
        setattr(args, name, Path(value) if value is not None else None)
    from biomech_fit.cli.fit import fit_and_write
    from biomech_fit.offline.base_noise import learn_noise

    name = Path(out).name
    person, body = fit_and_write(args, [Path(p) for p in recordings], Path(out), lambda text: print(f"{name}: {text}", file=sys.stderr, flush=True))
    body_evidence, prior, (noise, _) = person.evidence, person.prior, learn_noise(person.noise)
    with replacing(Path(done)) as path, path.open("wb") as file:
        np.savez(
            file,
            information=body_evidence.information,
            vector=body_evidence.vector,
            prior_mean=prior.mean,
            prior_covariance=prior.covariance,
            model=np.array(body.name),
            keypoint_set=np.array(person.keypoint_set),
            scale_names=np.array(body.scale_names),
            keypoint_names=np.array(person.keypoint_names),
            noise_px=np.array([noise.sigma_px.get(name, np.nan) for name in person.keypoint_names]),
            noise_confidence=np.array(noise.confidence),
            noise_factor=np.array(noise.factor),
            noise_correlation_time_s=np.array(noise.correlation_time_s),
        )


def _write_base(out: Path, jobs: list[Any], failed: dict[str, str]) -> None:
    from biomech_fit.formats.atomic import write_text
    from biomech_fit.formats.subject import KeypointOffset, Scale, Subject, write_subject
    from biomech_fit.offline.base_model import Evidence, Spread, learn_base
    from biomech_fit.offline.base_noise import learn_noise

    read = []
    for job in jobs:
        with np.load(job.done, allow_pickle=False) as content:
            read.append({name: content[name] for name in content.files})
    first = read[0]
    for job, one in zip(jobs, read, strict=True):
        if any(not np.array_equal(one[name], first[name]) for name in ("model", "keypoint_set", "keypoint_names", "scale_names")):
            raise InputError(f"{job.name} has another body model or keypoint set than {jobs[0].name}; a base model is of one of each.")
    scales = len(first["scale_names"])
    model = Spread(first["prior_mean"], first["prior_covariance"])
    base, common = learn_base([Evidence(one["information"], one["vector"]) for one in read], model, scales)
    noise, noise_spread = learn_noise([_noise(one) for one in read])
    std = np.sqrt(np.diag(base.covariance))
    offsets, offset_std = base.mean[scales:].reshape(-1, 3), std[scales:].reshape(-1, 3)
    subject = Subject(
        "",
        str(first["model"]),
        {str(name): Scale(float(base.mean[i]), float(std[i])) for i, name in enumerate(first["scale_names"])},
        str(first["keypoint_set"]),
        {
            str(name): KeypointOffset(tuple(offsets[k].tolist()), tuple(offset_std[k].tolist()))  # type: ignore[arg-type]
            for k, name in enumerate(first["keypoint_names"])
        },
        {},
        base.covariance / np.outer(std, std),
        len(read),
        noise,
    )
    write_subject(out / "base_model.yaml", subject)
    known = np.sqrt(np.diag(common.covariance))[scales:].reshape(-1, 3)
    figures = {
        "people": [job.name for job in jobs],
        "failed": failed,
        "keypoint_offsets_m": {str(n): {"mean": offsets[k].tolist(), "std": known[k].tolist()} for k, n in enumerate(first["keypoint_names"])},
        "scales": {str(n): {"mean": float(base.mean[i]), "std_between_people": float(std[i])} for i, n in enumerate(first["scale_names"])},
        "detector_noise_px": {name: {"sigma": sigma, "log_std_between_people": noise_spread[name]} for name, sigma in noise.sigma_px.items()},
    }
    write_text(out / "meta.json", json.dumps(figures, indent=2) + "\n")


def _noise(read: dict[str, np.ndarray]) -> KeypointNoise:
    """Of one person's evidence."""
    sigma = {str(name): float(px) for name, px in zip(read["keypoint_names"], read["noise_px"], strict=True) if np.isfinite(px)}
    law = (tuple(read[f"noise_{name}"].tolist()) for name in ("confidence", "factor"))
    return KeypointNoise(sigma, *law, float(read["noise_correlation_time_s"]))


def _recordings(path: Path, opening: dict[str, Any]) -> list[Path]:
    """A person's recordings: the path itself, or, where it is a folder of recordings, each of them. `opening`: options of `open_recording`."""
    from biomech_fit.formats.recording import open_recording

    try:
        open_recording(path, **opening)
        return [path]
    except InputError as error:
        if not path.is_dir():
            raise
        found = []
        for inner in sorted(path.iterdir()):
            try:
                open_recording(inner, **opening)
                found.append(inner)
            except InputError as problem:
                if inner.is_dir():
                    _say(f"{path.name}: '{inner.name}' is left out: {problem}")
        if not found:
            raise InputError(f"'{path}' is neither a recording nor a folder of recordings: {error}") from None
        return found


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _fingerprint(recordings: list[Path], options: dict[str, Any]) -> str:
    """Changes with the recordings' files, the calibrations and settings beside them, the options and the package's version, so that what was found from
    others is not taken for this."""
    from biomech_fit.config.version import version
    from biomech_fit.formats.project_folder import settings_files

    seen = hashlib.sha256(json.dumps([version(), EVIDENCE, options, [str(path.resolve()) for path in recordings]], sort_keys=True).encode())
    named = [Path(options[name]) for name in ("subject", "calibration", "config", "model", "keypoint_set") if options.get(name)]
    named += [path.with_suffix(suffix) for path in named if path.name for suffix in (".yaml", ".yml")]  # what a model says of itself
    named += sorted({path for recording in recordings for path in settings_files(recording)})
    for path in [*recordings, *named]:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                status = file.stat()
                seen.update(f"{file} {status.st_size} {status.st_mtime_ns}".encode())
    return seen.hexdigest()[:16]
