"""A secret orthogonal transform: what a vector index holds in clear, so that it fits no other index.

An orthogonal matrix keeps every cosine, so an index of transformed vectors answers as one of the vectors
themselves. Whoever takes the index without the key cannot compare its rows with faces or with another
deployment's rows. Who also knows as many vectors and their rows as there are dimensions can solve for the
matrix: it hides, and is no cipher.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

from service.sealing.keys import derive

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
WORD = np.dtype("<u8")
# Uniform numbers have so many bits, which float64 holds exactly.
BITS = 53


class OrthogonalTransform:
    """The transform that a key of 32 bytes gives for vectors of one dimension, the same on every machine.

    A Gaussian matrix from the key stream of ChaCha20, made orthogonal (QR with a positive diagonal), which
    draws evenly from all orthogonal matrices (Mezzadri, 2007).
    """

    __slots__ = ("_matrix", "dimension")

    def __init__(self, key: bytes, dimension: int) -> None:
        self.dimension = dimension
        q, r = np.linalg.qr(_gaussian(derive(key, "orthogonal transform"), dimension))
        self._matrix = np.asarray(q * np.sign(np.diag(r)), np.float64)

    def halves(self, vectors: Floats) -> Halves:
        """Transforms float32 [n, d] in float64 and rounds to half precision, float16 [n, d]."""
        return np.asarray(vectors.astype(np.float64) @ self._matrix, np.float16)

    def singles(self, vectors: Floats) -> Floats:
        """Transforms float32 [n, d] in float64 and rounds to single precision, float32 [n, d]."""
        return np.asarray(vectors.astype(np.float64) @ self._matrix, np.float32)


def _gaussian(key: bytes, dimension: int) -> NDArray[np.float64]:
    """Normal numbers [d, d] by the transform of Box and Muller. No library's generator, whose stream may
    change from one version to the next: rows are kept for years."""
    count = dimension * dimension
    encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    words = np.frombuffer(encryptor.update(bytes(2 * count * WORD.itemsize)), WORD)
    uniform = ((words >> np.uint64(64 - BITS)).astype(np.float64) + 0.5) / 2.0**BITS
    radius, angle = np.sqrt(-2 * np.log(uniform[:count])), 2 * np.pi * uniform[count:]
    return np.asarray((radius * np.cos(angle)).reshape(dimension, dimension))
