"""`python -m training synthesise`: everything that makes pictures or sets that nobody photographed."""

from __future__ import annotations

import typer

from training.cli.casia_tree import casia_tree
from training.cli.masks import masks
from training.cli.rendered_family import rendered_family
from training.cli.scenes import scenes
from training.cli.standin import build, photos

synthesise = typer.Typer(
    help="Make synthetic masks, pseudo-NIR and rendered subjects. Everything made says SYNTHETIC.",
    no_args_is_help=True,
)
synthesise.command("masks")(masks)
synthesise.command("scenes")(scenes)
synthesise.command("rendered")(rendered_family)
synthesise.command("casia")(casia_tree)
synthesise.command("photos")(photos)
synthesise.command("standin")(build)
