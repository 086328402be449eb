"""Warns of samples whose comparisons the bundle's thresholds do not cover."""

from __future__ import annotations

from collections.abc import Sequence

from faces.calibration import Calibration
from faces.types import CONDITIONS, Pair
from service.enrolment.types import Accepted, EnrolmentWarning


def uncalibrated(
    calibration: Calibration, stored: Sequence[tuple[str, Accepted]]
) -> tuple[EnrolmentWarning, ...]:
    """A warning for each sample (its id, and its image) whose condition is not calibrated for references."""
    warnings = []
    for sample_id, one in stored:
        reference = one.description.condition
        missing = [str(probe) for probe in CONDITIONS if not calibration.has(Pair(reference, probe))]
        if missing:
            warnings.append(
                EnrolmentWarning(
                    sample_id,
                    "uncalibrated_reference",
                    f"the sample is {reference}, and the active bundle has no thresholds for"
                    f" {', '.join(missing)} probes against such references: comparisons answer"
                    " `uncalibrated` without a `threshold`, and duplicates are not looked for among them;"
                    " enrol an unmasked visible photo as well, or calibrate the bundle for it",
                )
            )
    return tuple(warnings)
