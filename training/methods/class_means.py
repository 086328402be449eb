"""The mean template of each training subject: the first head weights of plain+, IDR and W-CNN."""

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
    """The mean unit embedding of each training subject's VIS and NIR photos: [classes, dimension]."""
    means = []
    for subject in sampler.subjects:
        vis = encoder.embed(prepared.crops(subject.vis), Spectrum.VIS)
        nir = encoder.embed(prepared.crops(subject.nir_masked or subject.nir), Spectrum.NIR)
        means.append(np.concatenate([vis, nir]).mean(axis=0))
    return torch.from_numpy(np.stack(means))


def cached_class_means(
    encoder: CropEncoder, prepared: PreparedSet, sampler: PairSampler, cache: Path | None
) -> torch.Tensor:
    """Class means [classes, dimension], read from the file `cache` if it exists, else written there.

    Raises DataSetError if the file belongs to another set.
    """
    if cache is None:
        return class_means(encoder, prepared, sampler)
    if not cache.is_file():
        buffer = io.BytesIO()
        torch.save(class_means(encoder, prepared, sampler), buffer)
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_whole(cache, buffer.getvalue())
    found: torch.Tensor = torch.load(cache, weights_only=True)
    if len(found) != len(sampler.subjects):
        raise DataSetError(f"{cache.name} is of another set: choose another folder")
    return found
