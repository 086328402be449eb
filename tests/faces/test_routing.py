"""Tests which encoder a crop passes through."""

from __future__ import annotations

from itertools import product

import pytest

from faces.bundle import EncoderSpec, parse_manifest
from faces.routing import encoders_of, needs_mask_state
from faces.types import CONDITIONS, Condition, Role, Spectrum
from service.bundles.reference import MANIFEST_FILE

CLEAR, VIS_MASKED = Condition(Spectrum.VIS, masked=False), Condition(Spectrum.VIS, masked=True)
NIR, NIR_MASKED = Condition(Spectrum.NIR, masked=False), Condition(Spectrum.NIR, masked=True)


def spec(*, routing: str, two: bool = True) -> EncoderSpec:
    encoder = parse_manifest(MANIFEST_FILE.read_bytes()).encoder
    data = encoder.model_dump() | {"routing": routing}
    data["reference"] = data["reference"] | ({"path": "reference.onnx", "sha256": "0" * 64} if two else {})
    return EncoderSpec.model_validate(data)


@pytest.mark.parametrize(("role", "condition", "uncertain"), list(product(Role, CONDITIONS, (False, True))))
def test_the_role_alone_chooses_where_the_manifest_says_so(
    role: Role, condition: Condition, uncertain: bool
) -> None:
    assert encoders_of(spec(routing="role"), role, condition, uncertain=uncertain) == (role,)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_reference_takes_the_reference_encoder_in_any_condition(condition: Condition) -> None:
    encoder = spec(routing="condition")
    assert encoders_of(encoder, Role.REFERENCE, condition, uncertain=True) == (Role.REFERENCE,)
    assert not needs_mask_state(encoder, Role.REFERENCE, condition.spectrum)


@pytest.mark.parametrize(
    ("condition", "uncertain", "expected"),
    [
        (CLEAR, False, (Role.REFERENCE,)),
        (VIS_MASKED, False, (Role.PROBE,)),
        (NIR, False, (Role.PROBE,)),
        (NIR_MASKED, False, (Role.PROBE,)),
        (CLEAR, True, (Role.REFERENCE, Role.PROBE)),
        (VIS_MASKED, True, (Role.PROBE, Role.REFERENCE)),
        (NIR, True, (Role.PROBE,)),
        (NIR_MASKED, True, (Role.PROBE,)),
    ],
)
def test_spectrum_and_mask_choose_the_encoder_of_a_probe(
    condition: Condition, uncertain: bool, expected: tuple[Role, ...]
) -> None:
    encoder = spec(routing="condition")
    assert encoders_of(encoder, Role.PROBE, condition, uncertain=uncertain) == expected
    assert needs_mask_state(encoder, Role.PROBE, condition.spectrum) is (condition.spectrum is Spectrum.VIS)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_one_file_is_never_run_twice(condition: Condition) -> None:
    encoder = spec(routing="condition", two=False)
    assert len(encoders_of(encoder, Role.PROBE, condition, uncertain=True)) == 1
    assert not needs_mask_state(encoder, Role.PROBE, condition.spectrum)
