"""The nuclear norm, the sum of singular values, by eigenvalues of the Gram matrix: on a CPU up to twice as
fast as by singular values, with the same gradient."""

from __future__ import annotations

import torch
from torch import Tensor

# Of the largest eigenvalue: those below are not known well enough in float32, and are looked for again with
# the larger ones taken out.
WELL_KNOWN = 1e-3
# Of the largest singular value, in units of the precision: what is left below it is rounding.
ROUNDING = 16.0


def nuclear_norm(matrix: Tensor) -> Tensor:
    """Sum of the singular values of [m, n], a scalar with gradient; fastest where m >= n.

    The gradient is the polar factor U V^T. Where singular values are 0 to rounding it is the subgradient of
    least norm, which leaves their directions alone.
    """
    with torch.no_grad(), torch.autocast(matrix.device.type, enabled=False):
        factor = polar(matrix.detach())
    # The norm is linear along its own matrix: <A, U V^T> is its value, and U V^T its gradient.
    return (matrix * factor).sum()


def polar(matrix: Tensor) -> Tensor:
    """U V^T of the singular value decomposition of [m, n], without singular values that are 0 to rounding."""
    return _above(matrix, None)


def _above(matrix: Tensor, floor: float | None) -> Tensor:
    """The part of singular values above `floor`; None: of the whole matrix, whose largest one sets it."""
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)
    largest = float(values[-1])
    if floor is None:
        floor = ROUNDING * torch.finfo(matrix.dtype).eps * max(largest, 0.0) ** 0.5
    known = values > max(WELL_KNOWN * largest, floor**2)
    if not known.any():
        return torch.zeros_like(matrix)
    right, rest = vectors[:, known], vectors[:, ~known]
    left = matrix @ right / values[known].sqrt()
    found: Tensor = left @ right.T
    if rest.shape[1]:
        remainder = matrix @ rest
        remainder -= left @ (left.T @ remainder)
        found += _above(remainder, floor) @ rest.T
    return found
