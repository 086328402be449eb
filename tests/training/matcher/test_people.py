"""The splits: the same on every machine, and nobody in two of them."""

from __future__ import annotations

from training.matcher.people import KEPT, first_digit, part_of_named, part_of_single


def test_a_single_photo_is_either_learnt_from_or_kept_for_thresholds() -> None:
    names = [f"photo_{i}.webp" for i in range(4000)]
    for of_set, sixteenths in (("aaf", KEPT["aaf"]), ("utkface_adults", 3)):
        kept = sum(part_of_single(name, of_set) == "thresholds" for name in names)
        assert abs(kept / len(names) - sixteenths / 16) < 0.03


def test_the_lists_do_not_move() -> None:
    # Changing the rule would put people that thresholds were drawn from into training.
    assert part_of_single("aaf_28292.webp", "aaf") == part_of_single("aaf_28292.webp", "scut")
    assert [first_digit(name) for name in ("p3e582f74", "a", "b")] == [11, 8, 14]
    assert first_digit("a", salt="thresholds:") == 8


def test_one_sixteenth_of_the_named_are_validation_people() -> None:
    parts = [part_of_named(f"p{i:08x}") for i in range(3000)]
    assert set(parts) == {"train", "validation"}
    assert 0.04 < parts.count("validation") / len(parts) < 0.09
