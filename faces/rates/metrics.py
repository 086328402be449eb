"""Computes recognition rates from arrays of comparison scores (higher means more alike).

Terms of ISO/IEC 2382-37 and 19795-1: FMR and FNMR for 1:1, FPIR and FNIR for open-set 1:N, rank-k
for closed-set 1:N. A comparison is accepted where its score is at least the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Labels = NDArray[np.integer]
# Doddington's rule of 30: with this many errors a rate is within about a third of its value.
ERRORS_NEEDED = 30


def fmr(non_mated: Scores, threshold: float) -> float:
    """Returns the share of non-mated comparisons that are accepted (ISO/IEC 19795-1).

    Raises ValueError if a score is not finite or there is none.
    """
    return float(np.mean(_checked(non_mated) >= threshold))


def fnmr(mated: Scores, threshold: float, *, failed: int = 0) -> float:
    """Returns the share of mated comparisons that are rejected, `failed` probes (no face) among them."""
    scores = _checked(mated)
    return float((np.count_nonzero(scores < threshold) + failed) / (len(scores) + failed))


def threshold_at_fmr(non_mated: Scores, target: float) -> float:
    """Returns the smallest threshold whose FMR is at most `target`: just above the first score too many."""
    scores = _checked(non_mated)
    if not 0 < target < 1:
        raise ValueError("an FMR lies between 0 and 1")
    allowed = math.floor(target * len(scores) + 1e-9)
    # The (allowed + 1)-th largest score is the first that must be rejected.
    first_rejected = np.partition(scores, len(scores) - 1 - allowed)[len(scores) - 1 - allowed]
    return float(np.nextafter(np.float64(first_rejected), np.inf))


def tar_at_fmr(mated: Scores, non_mated: Scores, target: float, *, failed: int = 0) -> float:
    """Returns 1 - FNMR at the threshold for this FMR (the papers call it VR@FAR)."""
    return 1.0 - fnmr(mated, threshold_at_fmr(non_mated, target), failed=failed)


@dataclass(frozen=True, slots=True, eq=False)
class DetCurve:
    """FMR and FNMR at each threshold, all [n], thresholds ascending."""

    thresholds: Scores
    fmr: Scores
    fnmr: Scores


def det_curve(mated: Scores, non_mated: Scores) -> DetCurve:
    """Returns every distinct operating point, for a detection error trade-off plot."""
    good, bad = np.sort(_checked(mated)), np.sort(_checked(non_mated))
    thresholds = np.unique(np.concatenate([good, bad]))
    accepted = 1.0 - np.searchsorted(bad, thresholds, side="left") / len(bad)
    rejected = np.searchsorted(good, thresholds, side="left") / len(good)
    return DetCurve(thresholds, accepted, rejected)


def rank_k(
    scores: Scores,
    probe_ids: Labels,
    gallery_ids: Labels,
    *,
    k: int = 1,
    ties: Literal["miss", "expected"] = "miss",
) -> float:
    """Returns the share of probes [m] whose identity is among the k best gallery identities (scores [m, n]).

    The score of an identity is that of its best sample. A tie counts as a miss, or with `expected` as
    the chance of a random order. Raises ValueError if a probe has no mate in the gallery.
    """
    identities, column = np.unique(gallery_ids, return_inverse=True)
    best = np.full((len(scores), len(identities)), -np.inf)
    for i in range(scores.shape[1]):
        np.maximum(best[:, column[i]], scores[:, i], out=best[:, column[i]])
    place = np.searchsorted(identities, probe_ids)
    known = (place < len(identities)) & (identities[np.minimum(place, len(identities) - 1)] == probe_ids)
    if not known.all():
        raise ValueError("a closed-set rank needs every probe's identity in the gallery")
    own = best[np.arange(len(scores)), place][:, None]
    ahead, level = np.sum(best > own, axis=1), np.sum(best == own, axis=1) - 1
    if ties == "miss":
        return float(np.mean(ahead + level < k))
    return float(np.mean(np.clip((k - ahead) / (level + 1), 0.0, 1.0)))


@dataclass(frozen=True, slots=True)
class OpenSet:
    """FPIR and FNIR at one threshold (ISO/IEC 19795-1; NIST IR 8271)."""

    fpir: float
    fnir: float


def open_set(
    scores: Scores,
    probe_ids: Labels,
    gallery_ids: Labels,
    threshold: float,
    *,
    rank: int = 1,
    failed_mated: int = 0,
) -> OpenSet:
    """Returns the open-set rates of scores [m, n]. A probe without a mate is a non-mated search.

    FNIR counts a mate that is below the threshold or not among the `rank` best; failed probes
    count as missed. Raises ValueError unless there are searches of both kinds.
    """
    # In float32 the threshold would be rounded, and the score just below it accepted.
    scores = np.asarray(scores, np.float64)
    enrolled = np.isin(probe_ids, gallery_ids)
    if enrolled.all() or not enrolled.any():
        raise ValueError("open-set rates need searches with and without a mate")
    false_positive = float(np.mean(scores[~enrolled].max(axis=1) >= threshold))
    mated = scores[enrolled]
    same = probe_ids[enrolled][:, None] == gallery_ids[None, :]
    own = np.where(same, mated, -np.inf).max(axis=1)
    ahead = np.sum(np.where(same, -np.inf, mated) >= own[:, None], axis=1)
    found = int(np.count_nonzero((own >= threshold) & (ahead < rank)))
    total = int(enrolled.sum()) + failed_mated
    return OpenSet(false_positive, (total - found) / total)


def supports_fmr(subjects: int, target: float) -> bool:
    """Tells whether this many subjects support a threshold at this FMR, by the rule of 30 on their pairs."""
    return subjects * (subjects - 1) / 2 * target >= ERRORS_NEEDED


def _checked(scores: Scores) -> Scores:
    flat = np.asarray(scores, np.float64).ravel()
    if not len(flat) or not np.isfinite(flat).all():
        raise ValueError("scores must be finite, and at least one")
    return flat
