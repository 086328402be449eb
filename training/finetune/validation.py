"""Measures rank-1 of validation subjects during training, and keeps the best network."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from faces.files import write_whole
from training.data.prepared import PreparedSet
from training.engine.devices import OnDevice
from training.evaluation.closed_set import closed_set
from training.evaluation.pools import split_pool
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import save_encoder
from training.networks.torch_encoder import TorchEncoder

VALIDATION, BEST = "validation.jsonl", "best.pt"


class Validator:
    """Evaluates, writes a line to `validation.jsonl`, keeps the best network as `best.pt`.

    The first condition decides which network is best: masked NIR probes if the set has any. `iteration`: of
    a resumed run; later lines are dropped, because the run repeats them. Raises DataSetError if the set has
    no validation subjects.
    """

    def __init__(self, prepared: PreparedSet, backbone: BackboneConfig, out: Path, *, iteration: int) -> None:
        self._prepared, self._backbone, self._out = prepared, backbone, out
        # Raises before the first iteration instead of hours later.
        split_pool(prepared, "validation")
        path = out / VALIDATION
        lines = path.read_text().splitlines() if path.is_file() else []
        self._lines = [line for line in map(json.loads, lines) if line["iteration"] <= iteration]

    def evaluate(self, net: nn.Module, device: torch.device, iteration: int) -> None:
        encoder = TorchEncoder(OnDevice(net, device), self._backbone, name="validated")
        # A compiled network is compiled for the batches of training alone.
        with torch.compiler.set_stance("force_eager"):
            found = closed_set(encoder, self._prepared, "validation")
        rates = {one.condition: round(100 * one.counts.rate, 3) for one in found}
        wanted = next(iter(rates))
        best = max((line["rank1"].get(wanted, 0.0) for line in self._lines), default=-1.0)
        if rates[wanted] > best:
            save_encoder(self._out / BEST, net, self._backbone)
        self._lines.append({"iteration": iteration, "rank1": rates})
        text = "".join(json.dumps(line) + "\n" for line in self._lines)
        write_whole(self._out / VALIDATION, text.encode())
