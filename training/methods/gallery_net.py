"""The gallery-net of HSST and SST: a copy of the probe-net that makes prototypes and gets no gradient."""

from __future__ import annotations

import copy

from torch import nn

DROPOUT = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


def gallery_net(encoder: nn.Module) -> nn.Module:
    """Copies the encoder without gradient and without dropout.

    A prototype stands for a photo, so the same photo must give the same prototype; dropout would draw another
    one each time. Normalisation layers stay in training mode: the task's `bn_mode` decides their statistics.
    """
    copied = copy.deepcopy(encoder).requires_grad_(False)
    for layer in copied.modules():
        if isinstance(layer, DROPOUT):
            # Not `eval()`: the loop's `task.train()` would undo it.
            layer.p = 0.0
    return copied
