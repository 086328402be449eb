"""`python -m training COMMAND`: everything that training can do from a shell."""

from __future__ import annotations

import typer

from training.cli.assess import assess
from training.cli.builtin import builtin
from training.cli.compare import compare
from training.cli.detector import detector
from training.cli.evaluate import evaluate
from training.cli.masks import masks
from training.cli.matcher import matcher
from training.cli.prepare import prepare
from training.cli.pretrain import pretrain
from training.cli.rendered_family import rendered_family
from training.cli.retrain import retrain
from training.cli.scenes import scenes
from training.cli.smoke import smoke
from training.cli.standin import standin
from training.cli.synthesise import synthesise
from training.cli.tools import tools
from training.cli.train import train
from training.cli.verifier import verifier

MODELS, SERVICE = "The committed models", "Public files, a check, and what the service starts"

app = typer.Typer(
    help="HSST, its baselines, synthesis and evaluation.",
    no_args_is_help=True,
)
app.command("prepare")(prepare)
app.add_typer(synthesise, name="synthesise")
app.command("pretrain")(pretrain)
app.command("train")(train)
app.command("compare")(compare)
app.command("evaluate")(evaluate)
app.add_typer(builtin, name="builtin", rich_help_panel=MODELS)
detector.add_typer(verifier, name="verifier")
app.add_typer(detector, name="detector", rich_help_panel=MODELS)
app.add_typer(matcher, name="matcher", rich_help_panel=MODELS)
app.add_typer(standin, name="standin", rich_help_panel=MODELS)
app.command("tools", rich_help_panel=SERVICE)(tools)
app.command("smoke", rich_help_panel=SERVICE)(smoke)
app.command("retrain", rich_help_panel=SERVICE)(retrain)
app.command("assess", rich_help_panel=SERVICE)(assess)
# `synthesise` has these now.
app.command("masks", hidden=True)(masks)
app.command("scenes", hidden=True)(scenes)
app.command("rendered-family", hidden=True)(rendered_family)

if __name__ == "__main__":
    app()
