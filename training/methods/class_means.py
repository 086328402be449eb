"""Where the heads of plain+, IDR and W-CNN start: the mean template of each training subject."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from faces.files import write_whole
from faces.types import Spectrum
from training.data.pairs import PairSampler
from training.data.prepared import PreparedSet
from training.data.records import DataSetError
from training.networks.crop_encoder import CropEncoder


def class_means(encoder: CropEncoder, prepared: PreparedSet, sampler: PairSampler) -> torch.Tensor:
    """Mean of the unit embeddings of each training subject's VIS and NIR photos: [classes, dimension]."""
    means = []
    for subject in sampler.subjects:
        vis = encoder.embed(prepared.crops(subject.vis), Spectrum.VIS)
        nir = encoder.embed(prepared.crops(subject.nir_masked or subject.nir), Spectrum.NIR)
        means.append(np.concatenate([vis, nir]).mean(axis=0))
    return torch.from_numpy(np.stack(means))


def kept_class_means(
    encoder: CropEncoder, prepared: PreparedSet, sampler: PairSampler, kept: Path | None
) -> torch.Tensor:
    """As `class_means`; `kept` is a file that they are written to once and read from afterwards.

    Raises DataSetError where it is another set's.
    """
    if kept is None:
        return class_means(encoder, prepared, sampler)
    if not kept.is_file():
        buffer = io.BytesIO()
        torch.save(class_means(encoder, prepared, sampler), buffer)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, buffer.getvalue())
    found: torch.Tensor = torch.load(kept, weights_only=True)
    if len(found) != len(sampler.subjects):
        raise DataSetError(f"{kept.name} is of another set: choose another folder")
    return found
