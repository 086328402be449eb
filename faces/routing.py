"""Says which of a bundle's two encoders a crop passes through. Service, training and export ask here."""

from __future__ import annotations

from faces.bundle import EncoderSpec
from faces.types import Condition, Role, Spectrum


def is_single(encoder: EncoderSpec) -> bool:
    """Whether both roles have the same file."""
    return encoder.probe.sha256 == encoder.reference.sha256


def needs_mask_state(encoder: EncoderSpec, role: Role, spectrum: Spectrum) -> bool:
    """Whether the choice of the encoder waits for the mask state of the face."""
    by_condition = encoder.routing == "condition" and not is_single(encoder)
    return by_condition and role is Role.PROBE and spectrum is Spectrum.VIS


def encoders_of(
    encoder: EncoderSpec, role: Role, condition: Condition, *, uncertain: bool = False
) -> tuple[Role, ...]:
    """Names the encoders that embed a crop, each by the role whose file it is; one, or two if `uncertain`.

    `role`: the side of the comparison that the template is for. With the routing `role` it names the encoder.
    With `condition`, references and clear visible probes take the reference encoder, masked and NIR probes
    the probe encoder. A visible probe with an `uncertain` mask state takes both, that of `condition` first,
    and its better score counts. The condition of a reference never matters, so that a kept crop gives the
    same template again.
    """
    if encoder.routing == "role" or role is Role.REFERENCE:
        return (role,)
    clear = condition.spectrum is Spectrum.VIS and not condition.masked
    if uncertain and needs_mask_state(encoder, role, condition.spectrum):
        return (Role.REFERENCE, Role.PROBE) if clear else (Role.PROBE, Role.REFERENCE)
    return (Role.REFERENCE if clear else Role.PROBE,)
