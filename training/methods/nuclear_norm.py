"""The nuclear norm, the sum of singular values, by eigenvalues of the Gram matrix.

On a CPU this is up to twice as fast as a singular value decomposition, with the same gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

# As a share of the largest eigenvalue: float32 does not resolve smaller ones, so a second pass computes
# them after the larger ones are projected out.
WELL_KNOWN = 1e-3
# In units of precision times the largest singular value: everything below is rounding.
ROUNDING = 16.0


def nuclear_norm(matrix: Tensor) -> Tensor:
    """The sum of the singular values of a matrix [m, n], a scalar with gradient; fastest if m >= n.

    The gradient is the polar factor U V^T. It ignores the directions of singular values that are 0 up to
    rounding: it is the subgradient of least norm.
    """
    with torch.no_grad(), torch.autocast(matrix.device.type, enabled=False):
        factor = polar(matrix.detach())  # [m, n]
    # The norm is linear along its own matrix: <A, U V^T> is its value, and U V^T its gradient.
    return (matrix * factor).sum()


def polar(matrix: Tensor) -> Tensor:
    """U V^T [m, n] of the singular value decomposition, without singular values that are 0 up to rounding."""
    return _above(matrix, None)


def _above(matrix: Tensor, floor: float | None) -> Tensor:
    """U V^T [m, n] of the singular values above `floor`; None derives it from the largest one."""
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)  # [n], [n, n]
    largest = float(values[-1])
    if floor is None:
        floor = ROUNDING * torch.finfo(matrix.dtype).eps * max(largest, 0.0) ** 0.5
    known = values > max(WELL_KNOWN * largest, floor**2)  # [n], k of them true
    if not known.any():
        return torch.zeros_like(matrix)
    right, rest = vectors[:, known], vectors[:, ~known]  # [n, k], [n, n - k]
    left = matrix @ right / values[known].sqrt()  # [m, k]
    found: Tensor = left @ right.T  # [m, n]
    if rest.shape[1]:
        remainder = matrix @ rest  # [m, n - k]
        remainder -= left @ (left.T @ remainder)
        found += _above(remainder, floor) @ rest.T
    return found
