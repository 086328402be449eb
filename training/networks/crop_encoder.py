"""What every embedding network of aligned crops offers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels, Spectrum

Vectors = NDArray[np.float32]


class CropEncoder(Protocol):
    """An embedding network with its preprocessing."""

    @property
    def name(self) -> str:
        """For reports: what it is, without paths of the machine."""
        ...

    @property
    def alignment(self) -> str:
        """The template of `faces.align.ALIGNMENTS` that its crops are aligned to."""
        ...

    def embed(self, crops: Pixels, spectrum: Spectrum) -> Vectors:
        """uint8 [n, side, side, 3] blue-green-red, all of one spectrum -> unit float32 [n, dimension].

        The spectrum is known at test time; only an encoder with a statistic for each uses it.
        """
        ...
