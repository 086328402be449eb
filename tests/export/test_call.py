"""The call on a bundle's card makes the bundle again and has no path of the machine."""

from __future__ import annotations

from pathlib import Path

from export.build import Request
from tests.export.parts import prepared


def request(folder: Path, **changed: object) -> Request:
    return Request(checkpoint=folder / "e.pt", out=folder / "out", base=folder, name="b", **changed)  # type: ignore[arg-type]


def test_the_call_on_the_card_names_no_default(tmp_path: Path) -> None:
    assert request(tmp_path).call == "python -m export e.pt --out DIR"


def test_the_call_on_the_card_names_each_choice_and_no_path_of_the_machine(tmp_path: Path) -> None:
    chosen = request(
        tmp_path,
        variant="int8",
        mirrored=True,
        least_int8=0.98,
        detector=tmp_path / "detector.json",
        sets=[prepared(tmp_path / "blocks", subjects=2)],
        splits=["train", "validation"],
        targets=(1e-2, 1e-3),
    ).call
    assert chosen == (
        "python -m export e.pt --out DIR --variant int8 --mirrored --least-cosine 0.98"
        " --detector detector.json --calibration blocks --split train"
        " --split validation --fmr 0.01 --fmr 0.001"
    )


def test_the_call_on_the_card_is_that_of_another_command_if_one_asked(tmp_path: Path) -> None:
    assert request(tmp_path, command="halflight models build it").call == "halflight models build it"
