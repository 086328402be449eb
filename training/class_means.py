"""Where the heads of plain+, IDR and W-CNN start: the mean template of each training subject."""

from __future__ import annotations

import numpy as np
import torch

from faces.types import Spectrum
from training.data.pairs import PairSampler
from training.data.prepared import PreparedSet
from training.encoders import CropEncoder


def class_means(encoder: CropEncoder, prepared: PreparedSet, sampler: PairSampler) -> torch.Tensor:
    """Mean of the unit embeddings of each training subject's VIS and NIR photos: [classes, dimension]."""
    means = []
    for subject in sampler.subjects:
        vis = encoder.embed(prepared.crops(subject.vis), Spectrum.VIS)
        nir = encoder.embed(prepared.crops(subject.nir_masked or subject.nir), Spectrum.NIR)
        means.append(np.concatenate([vis, nir]).mean(axis=0))
    return torch.from_numpy(np.stack(means))
