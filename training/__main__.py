"""`python -m training COMMAND`: everything that training can do from a shell."""

from __future__ import annotations

import typer

from training.builtin.command import builtin
from training.cli_masks import masks
from training.data.prepare_command import prepare
from training.detector.command import detector
from training.evaluation.command import evaluate
from training.pretrain.command import pretrain
from training.rendered.family import rendered_family
from training.reproduce.command import reproduce
from training.retrain.assessing import assess
from training.retrain.command import retrain
from training.smoke import smoke
from training.standin.command import standin
from training.synthesis.scenes import scenes
from training.train.command import train

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
app.add_typer(detector, name="detector")
app.add_typer(standin, name="standin")

if __name__ == "__main__":
    app()
