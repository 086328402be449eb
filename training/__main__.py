"""`python -m training COMMAND`: everything that training can do from a shell."""

from __future__ import annotations

import typer

from training.cli.assess import assess
from training.cli.builtin import builtin
from training.cli.detector import detector
from training.cli.evaluate import evaluate
from training.cli.masks import masks
from training.cli.matcher import matcher
from training.cli.prepare import prepare
from training.cli.pretrain import pretrain
from training.cli.rendered_family import rendered_family
from training.cli.reproduce import reproduce
from training.cli.retrain import retrain
from training.cli.scenes import scenes
from training.cli.smoke import smoke
from training.cli.standin import standin
from training.cli.train import train
from training.cli.verifier import verifier

app = typer.Typer(help="HSST training, its baselines, synthesis and evaluation.", no_args_is_help=True)
app.command("smoke")(smoke)
app.command("prepare")(prepare)
app.command("pretrain")(pretrain)
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("reproduce")(reproduce)
app.command("retrain")(retrain)
app.command("assess")(assess)
app.command("masks")(masks)
app.command("scenes")(scenes)
app.command("rendered-family")(rendered_family)
app.add_typer(builtin, name="builtin")
detector.add_typer(verifier, name="verifier")
app.add_typer(detector, name="detector")
app.add_typer(matcher, name="matcher")
app.add_typer(standin, name="standin")

if __name__ == "__main__":
    app()
