"""Mixes a trained network with the trunk it started from: a weighted mean of both networks' weights.

Fine-tuned networks lose on what they were not tuned on; the mean of both ends keeps more of it (Wortsman
et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from training.data.records import DataSetError
from training.networks.checkpoint import load_network, save_encoder


def mix(trunk: nn.Module, encoder: Path, out: Path, *, share: float) -> None:
    """Writes the encoder whose weights are `share` of the way from the trunk to `encoder`.

    Raises DataSetError if the encoder has another shape, ValueError if the share is not in 0 to 1.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the share of the trained weights lies between 0 and 1, got {share}")
    net, config = load_network(encoder)
    first, last = trunk.state_dict(), net.state_dict()
    if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in last.items()}:
        raise DataSetError(f"{encoder.name} was not trained from this trunk: its weights have other shapes")
    mixed = copy.deepcopy(net)
    mixed.load_state_dict({name: torch.lerp(first[name], last[name], share) for name in last})
    save_encoder(out, mixed, config)
