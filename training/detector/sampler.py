"""Draws which picture a cell of a scene shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from faces.strict import Strict
from training.data.records import DataSetError
from training.detector.pictures import Entry, Kind, Pictures
from training.detector.placement import Rectangle

# In a picture with room around its faces, the largest face has at most this share of the area.
ROOMY_SHARE = 0.3


class HardNegative(Strict):
    """A part of a picture that a detector took for a face.

    `source` names the picture, `box` is in its pixels.
    """

    source: str
    box: Rectangle
    score: float


class PictureSampler:
    """Draws pictures by the weights of their kinds.

    `roomy` and `crowded` are the probabilities of a picture with room around its faces, and of one with
    several sure faces; `hard` is the probability of a hard negative, and the hard negatives. Raises
    DataSetError if a hard negative is in none of the pictures.
    """

    def __init__(
        self,
        pictures: Pictures,
        kinds: Mapping[Kind, float],
        *,
        roomy: float,
        crowded: float,
        hard: tuple[float, Sequence[HardNegative]],
    ) -> None:
        self.of = _by_kind(pictures, lambda _: True)
        self._kinds = [kind for kind in self.of if kinds.get(kind, 0.0) > 0]
        weights = np.array([kinds[kind] for kind in self._kinds])
        self._weights = weights / weights.sum()
        self._special = [
            (share, _by_kind(pictures, suits))
            for share, suits in ((crowded, _crowded), (roomy, _roomy))
            if share > 0
        ]
        self._hard_share, places = hard
        numbers = {entry.source: index for index, entry in enumerate(pictures)} if places else {}
        if any(place.source not in numbers for place in places):
            raise DataSetError("the hard places are of other pictures: mine them in these")
        self._hard = [(numbers[place.source], place.box) for place in places]

    def draw(self, rng: np.random.Generator) -> tuple[int, Rectangle | None]:
        """Returns the number of a picture, and the hard negative in it that must be visible, if any."""
        if self._hard and self._hard_share and rng.random() < self._hard_share:
            return self._hard[int(rng.integers(len(self._hard)))]
        kind = self._kinds[int(rng.choice(len(self._kinds), p=self._weights))]
        among = self.of[kind]
        for share, special in self._special:
            if kind in special and rng.random() < share:
                among = special[kind]
                break
        return among[int(rng.integers(len(among)))], None


def _by_kind(pictures: Pictures, suits: Callable[[Entry], bool]) -> Mapping[Kind, list[int]]:
    found: dict[Kind, list[int]] = defaultdict(list)
    for index, entry in enumerate(pictures):
        if suits(entry):
            found[entry.kind].append(index)
    return dict(found)


def _crowded(entry: Entry) -> bool:
    return sum(face.sure for face in entry.faces) > 1


def _roomy(entry: Entry) -> bool:
    height, width = entry.shape[:2]
    areas = [face.box[2] * face.box[3] for face in entry.faces]
    return bool(areas) and max(areas) < ROOMY_SHARE * height * width
