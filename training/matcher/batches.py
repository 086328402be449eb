"""Chooses the people and conditions of each batch.

The choice depends on the seed and the iteration alone, so a resumed run sees the same batches.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faces.types import Pixels
from training.data.records import DataSetError
from training.matcher.overlap import excluded
from training.matcher.recipe import BatchRecipe
from training.matcher.sources import OPEN_TERMS, RENDERED
from training.matcher.store import Store
from training.matcher.views import ViewMaker, Wanted, clean, trunk_input

Ids = NDArray[np.int64]
# LFW's photos may be used for research; a recipe with open terms takes them as open.
RESEARCH = frozenset({"LFW-research"})
# How far clear views are moved, as a share of how far probes are.
CLEAR = 0.4


@dataclass(frozen=True, eq=False)
class Others:
    """Clear views of another photo of a probe's subject: `pixels` [k, 3, h, w], 0 to 255; `row` int64 [k]:
    which probe of the batch each belongs to."""

    pixels: Tensor
    row: Tensor


@dataclass(frozen=True, eq=False)
class ProbeBatch:
    """`pixels` [B, 3, h, w], 0 to 255; `photo`, `subject` int64 [B]: rows of the cache and places of people;
    `clear` bool [B]: visible views without a mask; `others`: where they are asked for."""

    pixels: Tensor
    photo: Tensor
    subject: Tensor
    clear: Tensor
    others: Others | None = None


class People:
    """Training photos by person. `taught` bool [photos]: whose template is known.

    `subject` int64 [photos]: the place of each photo's person, -1 for none. `plain`: photos that can be
    references; `shown`: photos that are probes as they are, with real masks or rendered in NIR.
    """

    def __init__(
        self, store: Store, *, taught: NDArray[np.bool_] | None = None, terms_open: bool = False
    ) -> None:
        places: dict[str, int] = {}
        left_out = excluded(store.root)
        self.subject = np.full(len(store.photos), -1, np.int64)
        self.plain: dict[int, list[int]] = defaultdict(list)
        self.shown: dict[int, list[int]] = defaultdict(list)
        drawn: set[int] = set()
        for i, row in enumerate(store.photos):
            if (
                row.part != "train"
                or row.subject in left_out
                or (terms_open and row.terms not in OPEN_TERMS | RESEARCH)
            ):
                continue
            if row.reference and taught is not None and not taught[i]:
                continue
            place = places.setdefault(row.subject, len(places))
            self.subject[i] = place
            (self.plain if row.reference else self.shown)[place].append(i)
            if row.of_set == RENDERED:
                drawn.add(place)
        self.layers: dict[int, list[int]] = defaultdict(list)
        for number, mask in enumerate(store.masks):
            self.layers[mask.photo].append(number)
        photos = {place: len(own) for place, own in self.plain.items() if place not in drawn}
        self.several = np.array([place for place, count in photos.items() if count > 1], np.int64)
        self.alone = np.array([place for place, count in photos.items() if count == 1], np.int64)
        self.real = np.array([place for place in self.shown if place in photos], np.int64)
        self.rendered = np.array([place for place in self.shown if place in drawn], np.int64)
        if not len(self.several) + len(self.alone):
            raise DataSetError("the cache has no photo to learn from")


class Batches:
    """Draws batches of a cache. `others`: each comes with other photos of the people it shows."""

    def __init__(
        self,
        store: Store,
        recipe: BatchRecipe,
        *,
        taught: NDArray[np.bool_] | None = None,
        columns: tuple[int, int],
        size: tuple[int, int],
        seed: int,
        others: bool = False,
    ) -> None:
        self._store, self._recipe, self._seed, self._others = store, recipe, seed, others
        self._columns, self._size = columns, size
        self.people = People(store, taught=taught, terms_open=recipe.terms_open)
        self._views = ViewMaker(store, recipe.ingredients)

    def batch(self, iteration: int) -> ProbeBatch:
        """Different people throughout, but for those with real masks, who may come twice."""
        rng = np.random.default_rng([self._seed, iteration])
        recipe, people = self._recipe, self.people
        wanted: list[Wanted] = []
        chosen = _some(people.several, recipe.people, rng)
        singles = _some(people.alone, recipe.singles + recipe.people - len(chosen), rng)
        wanted += [self._dressed(int(p), rng) for p in (*chosen, *singles)]
        for p in _some(people.real, recipe.real, rng):
            wanted.append(Wanted(self._shown(int(p), rng), None, bool(rng.random() < recipe.real_nir)))
        for p in _some(people.rendered, recipe.rendered, rng):
            wanted.append(Wanted(self._shown(int(p), rng), None, True))
        short = recipe.size - recipe.clear - len(wanted)
        everybody = np.concatenate([people.several, people.alone])
        wanted += [self._dressed(int(p), rng) for p in rng.choice(everybody, max(short, 0))]
        crops = [self._views.view(one, rng) for one in wanted]
        photos = [one.photo for one in wanted]
        for person in rng.choice(everybody, recipe.clear, replace=False):
            plain = people.plain[int(person)]
            photos.append(plain[int(rng.integers(len(plain)))])
            crops.append(clean(self._store.frames[photos[-1]], rng, extent=CLEAR))
        shown = np.array(photos, np.int64)
        return ProbeBatch(
            self._input(crops),
            torch.from_numpy(shown),
            torch.from_numpy(people.subject[shown]),
            torch.arange(len(shown)) >= len(wanted),
            self._beside(photos[: len(wanted)], iteration) if self._others else None,
        )

    def _input(self, crops: list[Pixels]) -> Tensor:
        pixels = torch.from_numpy(trunk_input(np.stack(crops), self._columns, self._size))
        return pixels.contiguous(memory_format=torch.channels_last)

    def _beside(self, photos: list[int], iteration: int) -> Others | None:
        """None if nobody has another photo. It has draws of its own, so probes are the same without it."""
        rng = np.random.default_rng([self._seed, iteration, 1])
        crops, rows = list[Pixels](), list[int]()
        for row, photo in enumerate(photos):
            others = [p for p in self.people.plain[int(self.people.subject[photo])] if p != photo]
            if others:
                frame = self._store.frames[others[int(rng.integers(len(others)))]]
                crops.append(clean(frame, rng, extent=CLEAR))
                rows.append(row)
        return Others(self._input(crops), torch.tensor(rows)) if rows else None

    def _shown(self, place: int, rng: np.random.Generator) -> int:
        photos = self.people.shown[place]
        return photos[int(rng.integers(len(photos)))]

    def _dressed(self, place: int, rng: np.random.Generator) -> Wanted:
        """A photo of a person with a drawn mask or none."""
        plain = self.people.plain[place]
        photo = plain[int(rng.integers(len(plain)))]
        layers, kind = self.people.layers.get(photo), rng.random()
        recipe = self._recipe
        if not layers or kind > recipe.nir_masked + recipe.vis_masked:
            return Wanted(photo, None, True)
        mask = layers[int(rng.integers(len(layers)))]
        return Wanted(photo, mask, bool(kind < recipe.nir_masked))


def _some(places: Ids, count: int, rng: np.random.Generator) -> Ids:
    return np.asarray(rng.choice(places, min(count, len(places)), replace=False), np.int64)
