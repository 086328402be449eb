"""Where `halflight evaluate` gets templates from: a service over HTTP, or a bundle in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from faces.bundle import Bundle, BundleError
from faces.bundle import read as read_bundle
from faces.types import CONDITIONS, Condition, Spectrum
from service.cli.client import Answer, ServiceClient
from service.cli.configuration import settings_from
from service.cli.output import Failure
from service.cli.problems import AFFECTS_EVERY_REQUEST, ServiceRefusal
from service.errors import RetryLater
from service.evaluation.described import Describer, Reason, Template
from service.evaluation.labelled import LabelledPhoto
from service.evaluation.measure import Setting
from service.evaluation.points import FMR_POINTS
from service.spaces.threshold_table import CameraThresholds

FORBIDDEN, NOT_FOUND = 403, 404
GOES_ON = "the same command goes on where it was"


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A describer and what the service says of itself. `note`: what could not be learnt."""

    describer: Describer
    setting: Setting
    note: str = ""


class HttpDescriber:
    """Sends photos to POST /embed."""

    def __init__(self, client: ServiceClient, space_id: str) -> None:
        self._client, self._space_id = client, space_id

    @property
    def space_id(self) -> str:
        return self._space_id

    async def describe(self, photo: LabelledPhoto, data: bytes) -> Template | Reason:
        """Raises Failure if the service refuses more than this photo, or serves another space by now."""
        options = {
            "role": photo.role.value,
            "spectrum": None if photo.spectrum is None else photo.spectrum.value,
        }
        try:
            answer = await asyncio.to_thread(self._client.embed, data, options)
        except ServiceRefusal as refusal:
            if refusal.status in AFFECTS_EVERY_REQUEST:
                raise
            return Reason(refusal.code, str(refusal.problem.get("detail", "")))
        if answer["space_id"] != self._space_id:
            raise Failure(
                "the service has changed its active space meanwhile",
                hint="run the command again: scores of two spaces cannot be compared",
            )
        return _template(answer["results"][0])


def _template(face: Mapping[str, Any]) -> Template:
    condition, (x, y, width, height) = face["condition"], face["face"]["box"]
    return Template(
        vector=np.array(face["embedding"], np.float32),
        condition=Condition(Spectrum(condition["spectrum"]), bool(condition["masked"])),
        mask_state=str(condition["mask_state"]),
        quality=int(face["quality"]["score"]),
        reasons=tuple(face["quality"]["reasons"]),
        box=(x, y, width, height),
        # A service of an older version names none.
        cohort=face.get("cohort"),
        taken={c: float(taken[str(c)]) for c in CONDITIONS} if (taken := face.get("taken")) else {},
    )


@asynccontextmanager
async def over_http(url: str, key: str | None, fmr_points: tuple[float, ...] | None) -> AsyncIterator[Opened]:
    """A service that answers. `fmr_points`: None for those that its requests may ask for. Raises Failure."""
    with ServiceClient(url, key) as client:
        ready = await asyncio.to_thread(client.ready)
        thresholds, note = await asyncio.to_thread(_thresholds, client)
        setting = Setting(
            space_id=ready["space_id"],
            bundle=ready["bundle"],
            gallery_templates=ready["templates"],
            fmr_points=fmr_points or _fmr_points(thresholds),
            **thresholds,
        )
        yield Opened(HttpDescriber(client, setting.space_id), setting, note)


def _thresholds(client: ServiceClient) -> tuple[dict[str, Any], str]:
    """The thresholds in force as options of `Setting`, and why they are missing if they are."""
    try:
        answer = client.thresholds()
    except ServiceRefusal as refusal:
        if refusal.status not in (FORBIDDEN, NOT_FOUND):
            raise
        return {}, "the report lacks the thresholds in force: only an admin key reads them"
    return {"in_force": _by_camera(answer), "default_fmr": answer["default_fmr"]}, ""


def _fmr_points(thresholds: Mapping[str, Any]) -> tuple[float, ...]:
    """The FMRs that every pair in force has; the usual ones where nobody may know them."""
    if "in_force" not in thresholds:
        return FMR_POINTS
    tables = thresholds["in_force"](None).values()
    shared = set.intersection(*({point.fmr for point in one.points} for one in tables))
    return tuple(sorted(shared, reverse=True))


def _by_camera(answer: Answer) -> Any:
    try:
        found = [CameraThresholds.model_validate(one) for one in answer["in_force"]]
    except (ValidationError, KeyError) as error:
        raise Failure(
            "the service describes its thresholds in a way that this command does not know"
        ) from error
    tables = {one.camera: {points.pair: points for points in one.pairs} for one in found}
    return lambda camera: tables.get(camera, tables.get(None, {}))


def bundle_of(bundle: Path | None, data: Path | None) -> tuple[Bundle, int | None]:
    """A bundle's directory, or the bundle that a data directory's active space is served from, with the
    number of templates of its gallery. Raises Failure."""
    from service.bundles.registry import bundle_store
    from service.cli.keys import with_database
    from service.store.database import Database

    async def active(db: Database) -> tuple[str | None, int]:
        async with db.read() as uow:
            record, serving = await uow.spaces.active(), await uow.spaces.newest_bundles()
            if record is None or record.space_id not in serving:
                return None, 0
            return serving[record.space_id].digest, await uow.templates.count(record.space_id)

    try:
        if bundle is not None:
            return read_bundle(bundle), None
        settings = settings_from(data_dir=data)
        digest, templates = with_database(settings, active)
        if digest is None:
            raise Failure("no space is active in this data directory", hint="start the service once")
        return bundle_store(settings).find_by_digest(digest), templates
    except BundleError as error:
        raise Failure(str(error)) from error


@asynccontextmanager
async def in_process(
    bundle: Bundle, templates: int | None, fmr_points: tuple[float, ...] | None
) -> AsyncIterator[Opened]:
    """A bundle in this process. Raises Failure."""
    # The networks take a second to import, which the HTTP way does not need.
    from service.evaluation.local import opened_bundle
    from service.inference.session import ProviderError

    calibration = bundle.manifest.calibration
    tables = {points.pair: points for points in calibration.pairs} if calibration else {}
    try:
        async with opened_bundle(bundle, settings_from()) as describer:
            setting = Setting(
                space_id=describer.space_id,
                bundle=f"{bundle.manifest.name} {bundle.manifest.version}",
                gallery_templates=templates,
                default_fmr=calibration.default_fmr if calibration else None,
                in_force=lambda _camera: tables,
                fmr_points=fmr_points or (calibration.common if calibration else FMR_POINTS),
            )
            yield Opened(describer, setting)
    except (BundleError, ProviderError) as error:
        raise Failure(str(error)) from error
    except RetryLater as error:
        raise Failure(error.detail, hint=GOES_ON) from error
