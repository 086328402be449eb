"""Runs a retraining job: data, training, comparison, export. A resumed job skips finished steps."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from faces.bundle import BundleError, read, verify
from training.jobs.calibration_set import calibration_set
from training.jobs.comparison import Verdict, compare
from training.jobs.job_directory import JobDirectory, JobFailed
from training.jobs.job_files import MESSAGE_CHARACTERS, PRIVATE, Result
from training.jobs.request import RetrainRequest
from training.jobs.sets import RetrainSets, build_sets
from training.jobs.train import OnStep, train
from training.networks.encoders import load_encoder
from training.networks.torch_encoder import load_checkpoint_encoder

# Where each step begins, as a share of the whole job.
BEGINS = {"training": 0.2, "evaluating": 0.85, "exporting": 0.9}
BUNDLE = "bundle"
TEMPORARY = ("train/last.pt", "train/teacher.npy", "pace")


def retrain(request: RetrainRequest, job: JobDirectory) -> Result:
    """Leaves a calibrated bundle in the job's directory. Raises JobFailed if it cannot."""
    directory = job.path
    span = BEGINS["training"]
    private = directory / PRIVATE
    sets = build_sets(
        request, private, lambda part, message: job.report_progress(span * part, "data", message)
    )
    checkpoint = train(request, sets.train, directory, _on_step(job))
    job.report_progress(BEGINS["evaluating"], "evaluating", "against the active bundle, on held-out subjects")
    verdict = compare(
        load_checkpoint_encoder(checkpoint), load_encoder(request.base), sets.validation, seed=request.seed
    )
    metrics = verdict.as_metrics()
    job.report_progress(BEGINS["exporting"], "exporting", verdict.reason, metrics)
    _export(request, sets, checkpoint, verdict, directory)
    manifest = read(directory / BUNDLE).manifest
    for name in TEMPORARY:
        path = directory / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    metrics |= {"space_id": manifest.space_id, "bundle": manifest.name}
    return Result(state="succeeded", message=verdict.reason[:MESSAGE_CHARACTERS], metrics=metrics)


def _on_step(job: JobDirectory) -> OnStep:
    begin, end = BEGINS["training"], BEGINS["evaluating"]

    def step(done: int, total: int, loss: float) -> None:
        # JSON has no NaN.
        known = {"loss": round(loss, 4)} if loss == loss else {}
        fraction = begin + (end - begin) * done / total
        job.report_progress(
            fraction, "training", f"iteration {done} of {total}", {"iterations": done, **known}
        )

    return step


def _export(
    request: RetrainRequest, sets: RetrainSets, checkpoint: Path, verdict: Verdict, directory: Path
) -> None:
    """Exports in another process, because `export` imports `training` and not the other way round."""
    out = directory / BUNDLE
    if _is_whole(out):
        return
    calibration = calibration_set(sets.validation, directory / PRIVATE / "held")
    about = directory / "about.toml"
    about.write_text(_about(request, sets, verdict), encoding="utf-8")
    command = [sys.executable, "-m", "export", str(checkpoint), "--out", str(out), "--replace"]
    command += ["--base", str(request.base), "--calibration", str(calibration.root), "--about", str(about)]
    command += ["--name", directory.name.lower(), "--version", "1"]
    for fmr in sets.fmr_targets:
        command += ["--fmr", str(fmr)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    sys.stderr.write(done.stderr)
    if done.returncode != 0 or not _is_whole(out):
        last = done.stderr.strip().splitlines()[-1:] or [""]
        reason = "see the job's log" if "/" in last[0] or not last[0] else last[0]
        raise JobFailed(f"the network was not exported: {reason}")


def _is_whole(out: Path) -> bool:
    try:
        verify(read(out))
    except BundleError:
        return False
    return True


def _about(request: RetrainRequest, sets: RetrainSets, verdict: Verdict) -> str:
    """Returns the facts of the model card as TOML."""
    synthetic = f" ({sets.train.info.synthetic})" if sets.train.info.synthetic else ""
    facts = {
        "summary": f"Made by a retraining job of the service, preset {request.preset}.",
        "data": f"Prepared set {sets.train.info.name}{synthetic}, seed {request.seed}.",
        "method": f"Preset {request.preset}, from the configured trunk. Held-out result: {verdict.reason}.",
    }
    if request.smoke:
        facts["limits"] = "A smoke run: it shows that every part runs. Not for matching."
    quoted = (f"{name} = {_toml(text)}" for name, text in facts.items())
    return "\n".join(quoted) + "\n"


def _toml(text: str) -> str:
    plain = text.replace("\\", "/").replace('"', "'").replace("\n", " ")
    return f'"{plain}"'
