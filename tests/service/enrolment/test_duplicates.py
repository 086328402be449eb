"""A face has one subject, however many ask at once; and honest second photos are not refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from faces.calibration import Calibration, OperatingPoint, PairPoints
from faces.types import PAIRS, Condition, Pair, Spectrum
from service.enrolment.duplicates import duplicate_threshold
from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_errors import enroll

VIS = Pair.with_clear_reference(Condition(Spectrum.VIS, False))


def calibration(*points: tuple[float, float]) -> Calibration:
    """The same points (FMR, threshold) for every pair of conditions."""
    made = tuple(OperatingPoint(fmr=fmr, threshold=at, fmr_upper=1.0, fnmr=0.0) for fmr, at in points)
    pairs = tuple(
        PairPoints(reference=each.reference, probe=each.probe, subjects=2, mated=1, non_mated=1, points=made)
        for each in PAIRS
    )
    return Calibration(
        data="made up",
        synthetic="all of it",
        command="none",
        date="2026-11-28",
        default_fmr=points[-1][0],
        duplicate_fmr=points[-1][0],
        pairs=pairs,
    )


@pytest.mark.parametrize(
    ("templates", "expected"),
    [(0, 0.4), (1, 0.4), (10, 0.5), (100, 0.6), (1000, 0.7), (10_000_000, 1.0)],
)
def test_the_threshold_grows_with_the_gallery(templates: int, expected: float) -> None:
    made = calibration((1e-2, 0.3), (1e-3, 0.4))
    assert duplicate_threshold(made, VIS, templates, 1e-3) == pytest.approx(expected)


def test_a_calibrated_point_is_used_where_there_is_one() -> None:
    made = calibration((1e-2, 0.3), (1e-3, 0.4), (1e-4, 0.42), (1e-5, 0.5)).model_copy(
        update={"duplicate_fmr": 1e-3}
    )
    assert duplicate_threshold(made, VIS, 10, 1e-3) == pytest.approx(0.42)
    assert duplicate_threshold(made, VIS, 100, 1e-3) == pytest.approx(0.5)


def test_one_calibrated_point_is_not_extrapolated() -> None:
    assert duplicate_threshold(calibration((1e-3, 0.4)), VIS, 1000, 1e-3) == 0.4


def both_at_once(services: tuple[Service, Service], round_number: int) -> list[int]:
    """Two subjects ask for one face at the same moment; the statuses of the answers."""

    def ask(place: int) -> int:
        with services[place].client() as client:
            answer = enroll(
                client, f"race-{round_number}-{place}", sample_bytes("s09"), allow_duplicate="false"
            )
            assert answer.status_code in (201, 409), answer.text
            return answer.status_code

    with ThreadPoolExecutor(2) as pool:
        return sorted(pool.map(ask, (0, 1)))


@pytest.mark.parametrize("replicas", [1, 2])
def test_one_face_is_never_enrolled_under_two_subjects(start_service: StartService, replicas: int) -> None:
    first = start_service()
    services = (first, start_service(data=first.data) if replicas == 2 else first)
    for number in range(6):
        assert both_at_once(services, number) == [201, 409]
        with first.client() as client:
            for place in (0, 1):
                client.delete(f"/subjects/race-{number}-{place}")
            assert client.get("/subjects").json()["subjects"] == []


def test_a_second_photo_of_a_known_subject_is_never_a_duplicate_of_a_weaker_match(
    start_service: StartService,
) -> None:
    """`twin` holds the same face, so the subject's own photo and the twin's score alike."""
    service = start_service()
    with service.client() as client:
        photo, other = sample_bytes("s01"), sample_bytes("s01", "vis_2.jpg")
        assert enroll(client, "anna", photo, allow_duplicate="true").status_code == 201
        assert enroll(client, "twin", other, allow_duplicate="true").status_code == 201
        assert _again(client, "anna", photo) == 201
        assert _again(client, "stranger", photo) == 409


def _again(client: httpx.Client, subject: str, photo: bytes) -> int:
    return enroll(client, subject, photo, allow_duplicate="false").status_code
