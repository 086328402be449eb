"""A track is decided by the votes of its frames, and never by one frame."""

from __future__ import annotations

import numpy as np
import pytest

from faces.masks import MaskReading, MaskState
from faces.types import AlignedCrop, Box, Condition, Face, Pair, Spectrum
from service.errors import NoFace
from service.inference.engine import Description
from service.inference.quality import Pose, Quality
from service.matching.comparison import Candidate, Identified
from service.matching.rules import Rule
from service.matching.voting import Frame, vote

NIR_MASKED = Condition(Spectrum.NIR, True)
PAIR = Pair(Condition(Spectrum.VIS, False), NIR_MASKED)
RULE = Rule(PAIR, True, 0.4, 1e-3)
CROP = AlignedCrop(np.full((112, 112, 3), 127, np.uint8), "arcface-112", 40.0, Spectrum.NIR)
FACE = Face(Box(0, 0, 80, 80), ((20.0, 30.0),) * 5, 0.9)


def frame(index: int, *scores: tuple[str, float], rule: Rule = RULE, quality: int = 50) -> Frame:
    """A frame whose candidates have these scores, in order."""
    mask, measured = (
        MaskReading(MaskState.MASKED, True, 0.99),
        Quality(quality, (), 40.0, 1.0, 0.5, Pose(0.0, 0.0)),
    )
    candidates = tuple(
        Candidate(rank, subject, score, rule, rule.accepts(score), rule.margin(score), {})
        for rank, (subject, score) in enumerate(scores, start=1)
    )
    return Frame(
        index, Identified(Description(FACE, CROP, (), mask, measured), rule, candidates, "c", 9, None)
    )


def blind(index: int) -> Frame:
    return Frame(index, None, NoFace("no face was found"))


ANNA, BERT, NOBODY = ("anna", 0.5), ("bert", 0.45), ("bert", 0.1)


@pytest.mark.parametrize(
    ("votes", "needed", "decision", "agree", "of"),
    [
        ([ANNA, ANNA], 2, "match", 2, 2),
        ([ANNA, NOBODY, NOBODY, ANNA], 2, "match", 2, 4),
        ([ANNA, ANNA, BERT], 2, "match", 2, 3),
        ([ANNA], 1, "match", 1, 1),
        ([ANNA], 2, "undecided", 1, 1),
        ([ANNA, NOBODY], 2, "undecided", 1, 2),
        ([ANNA, NOBODY, NOBODY], 2, "unknown", 2, 3),
        ([NOBODY, NOBODY], 2, "unknown", 2, 2),
        ([NOBODY], 2, "undecided", 1, 1),
        ([ANNA, BERT], 1, "undecided", 1, 2),
        ([ANNA, ANNA, BERT, BERT, NOBODY, NOBODY, NOBODY], 2, "undecided", 3, 7),
        ([ANNA, ANNA, BERT, NOBODY, NOBODY, NOBODY], 3, "unknown", 3, 6),
        ([], 2, "undecided", 0, 0),
    ],
)
def test_votes(votes: list[tuple[str, float]], needed: int, decision: str, agree: int, of: int) -> None:
    frames = [frame(i, one) for i, one in enumerate(votes)]
    found = vote([*frames, blind(len(votes))], needed)
    assert (found.decision, found.votes.agree, found.votes.of) == (decision, agree, of)
    assert (found.winner is not None) == (decision == "match")
    assert found.votes.needed == needed


def test_the_frame_that_passes_by_most_stands_for_a_match_and_the_best_picture_for_nobody() -> None:
    match = vote([frame(0, ("anna", 0.45)), frame(1, ("anna", 0.7)), frame(2, ("anna", 0.6))], 2)
    assert match.shown is not None
    assert (match.shown.index, match.winner and match.winner.score) == (1, 0.7)
    nobody = vote([frame(0, NOBODY, quality=20), frame(1, NOBODY, quality=70), blind(2)], 2)
    assert nobody.shown is not None
    assert nobody.shown.index == 1


def test_only_the_best_candidate_of_a_frame_has_its_vote() -> None:
    found = vote([frame(0, ("anna", 0.6), ("bert", 0.5)), frame(1, ("anna", 0.6), ("bert", 0.5))], 2)
    assert [found.decision, found.winner and found.winner.subject_id] == ["match", "anna"]
    assert [found.agrees(one) for one in found.frames] == [True, True]


def test_a_frame_without_a_threshold_may_not_vote() -> None:
    uncalibrated = Rule(PAIR, False, None)
    found = vote([frame(i, ANNA, rule=uncalibrated) for i in range(3)], 2)
    assert (found.decision, found.votes.of) == ("undecided", 0)
    assert found.shown is not None


def test_a_track_without_any_face_has_no_frame_to_show() -> None:
    found = vote([blind(0), blind(1)], 2)
    assert (found.decision, found.shown, found.votes.of) == ("undecided", None, 0)


def test_a_frame_says_one_thing_and_nobody_decides_alone() -> None:
    with pytest.raises(ValueError, match="identification or a refusal"):
        Frame(0, None)
    with pytest.raises(ValueError, match="at least one frame"):
        vote([], 0)
