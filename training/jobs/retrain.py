"""The steps of a retraining job: data, training, comparison, export. Each is kept, none is done twice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from faces.bundle import BundleError, read, verify
from training.jobs.calibration_set import calibration_set
from training.jobs.comparison import Verdict, compare
from training.jobs.job_directory import CannotDo, Journal
from training.jobs.job_files import MESSAGE_CHARACTERS, PRIVATE, Result
from training.jobs.learning import OnStep, learn
from training.jobs.request import Request
from training.jobs.sets import Sets, sets_of
from training.networks.encoders import load_encoder
from training.networks.torch_encoder import load_checkpoint_encoder

# Where each step begins, as a share of the whole.
BEGINS = {"training": 0.2, "evaluating": 0.85, "exporting": 0.9}
BUNDLE = "bundle"
WASTE = ("train/last.pt", "train/teacher.npy", "pace")


def retrain(request: Request, journal: Journal) -> Result:
    """Leaves a calibrated bundle in the job's directory. Raises CannotDo."""
    directory = journal.directory
    span = BEGINS["training"]
    private = directory / PRIVATE
    sets = sets_of(request, private, lambda part, what: journal.tell(span * part, "data", what))
    checkpoint = learn(request, sets.learn, directory, _training(journal))
    journal.tell(BEGINS["evaluating"], "evaluating", "against the active bundle, on held-out subjects")
    decided = compare(
        load_checkpoint_encoder(checkpoint), load_encoder(request.base), sets.held, seed=request.seed
    )
    metrics = decided.as_metrics()
    journal.tell(BEGINS["exporting"], "exporting", decided.why, metrics)
    _export(request, sets, checkpoint, decided, directory)
    manifest = read(directory / BUNDLE).manifest
    for name in WASTE:
        path = directory / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    metrics |= {"space_id": manifest.space_id, "bundle": manifest.name}
    return Result(state="succeeded", message=decided.why[:MESSAGE_CHARACTERS], metrics=metrics)


def _training(journal: Journal) -> OnStep:
    begin, end = BEGINS["training"], BEGINS["evaluating"]

    def step(done: int, total: int, loss: float) -> None:
        known = {"loss": round(loss, 4)} if loss == loss else {}
        fraction = begin + (end - begin) * done / total
        journal.tell(fraction, "training", f"iteration {done} of {total}", {"iterations": done, **known})

    return step


def _export(request: Request, sets: Sets, checkpoint: Path, decided: Verdict, directory: Path) -> None:
    """In a process of its own: `export` knows of training, and training not of it."""
    out = directory / BUNDLE
    if _whole(out):
        return
    held = calibration_set(sets.held, directory / PRIVATE / "held")
    about = directory / "about.toml"
    about.write_text(_about(request, sets, decided), encoding="utf-8")
    command = [sys.executable, "-m", "export", str(checkpoint), "--out", str(out), "--replace"]
    command += ["--base", str(request.base), "--calibration", str(held.root), "--about", str(about)]
    command += ["--name", directory.name.lower(), "--version", "1"]
    for fmr in sets.targets:
        command += ["--fmr", str(fmr)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    sys.stderr.write(done.stderr)
    if done.returncode != 0 or not _whole(out):
        last = done.stderr.strip().splitlines()[-1:] or [""]
        reason = "see the job's log" if "/" in last[0] or not last[0] else last[0]
        raise CannotDo(f"the network was not exported: {reason}")


def _whole(out: Path) -> bool:
    try:
        verify(read(out))
    except BundleError:
        return False
    return True


def _about(request: Request, sets: Sets, decided: Verdict) -> str:
    """Facts for the model card."""
    synthetic = f" ({sets.learn.info.synthetic})" if sets.learn.info.synthetic else ""
    facts = {
        "summary": f"Made by a retraining job of the service, preset {request.preset}.",
        "data": f"Prepared set {sets.learn.info.name}{synthetic}, seed {request.seed}.",
        "method": f"Preset {request.preset}, from the configured trunk. Held-out result: {decided.why}.",
    }
    if request.smoke:
        facts["limits"] = "A smoke run: it shows that every part runs. Not for matching."
    quoted = (f"{name} = {_toml(text)}" for name, text in facts.items())
    return "\n".join(quoted) + "\n"


def _toml(text: str) -> str:
    plain = text.replace("\\", "/").replace('"', "'").replace("\n", " ")
    return f'"{plain}"'
