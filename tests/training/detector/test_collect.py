"""Tests which photos of a subject are used."""

from __future__ import annotations

from training.data.lfw import Photo
from training.data.photo_sources import Shot
from training.detector.collect import PHOTOS_EACH, select_photos


def test_first_and_further_photos_are_disjoint_and_complete() -> None:
    shots = [Shot(Photo(f"{name}{i}", b""), name) for name in "ab" for i in range(PHOTOS_EACH + 2)]
    first = list(select_photos(iter(shots), further=False))
    further = list(select_photos(iter(shots), further=True))
    assert [shot.photo.name for shot, viewed in first if viewed] == ["a0", "b0"]
    assert not any(viewed for _, viewed in further)
    names = [shot.photo.name for shot, _ in (*first, *further)]
    assert len(first) == 2 * PHOTOS_EACH
    assert sorted(names) == [shot.photo.name for shot in shots]
