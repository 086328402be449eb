"""What is stored about one person goes into one archive, and nothing of anybody else."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import pytest
from sqlalchemy import update

from service.crops import encode_crops
from service.errors import SubjectNotFound
from service.store.database import Database
from service.store.records import AuditedCandidate, AuditEvent
from service.store.tables import crops
from service.subjects import access_export
from service.subjects.access_export import export_subject
from tests.service.store.support import SPACE, new_sample, vector
from tests.service.store.test_terms import WHOLE, put
from tests.service.test_crops import crop

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


async def fill(db: Database) -> list[str]:
    """Two subjects of three samples each; returns the samples of the first one."""
    made = []
    async with db.write() as uow:
        for number, name in enumerate(("anna", "berta")):
            await uow.subjects.ensure(name, {"desk": name.upper()}, f"Señora {name}")
            for i in range(3):
                sample = await uow.samples.add(new_sample(name, f"{number}{i}" * 32))
                await uow.templates.add(SPACE, sample, vector(10 * number + i))
                await uow.crops.add(sample, encode_crops([crop()]))
                made.append(sample)
            await uow.audit.add("operator", "subject.enrol", name, {"samples": 3})
        await uow.commit()
    await put(db, "anna", WHOLE)

    def seen(best: str | None, *scores: tuple[str, float, bool]) -> AuditEvent:
        return AuditEvent(
            at=NOW,
            actor="gate",
            action="subject.identify",
            subject_id=best,
            detail={"decision": "unknown" if best is None else "match", "threshold": 0.5},
            candidates=tuple(AuditedCandidate(*one) for one in scores),
        )

    async with db.write() as uow:
        await uow.audit.extend(
            [
                seen("anna", ("anna", 0.875, True), ("berta", 0.125, False)),
                seen("berta", ("berta", 0.75, True), ("anna", 0.25, False)),
                seen("berta", ("berta", 0.625, True)),
                seen(None, ("anna", 0.375, False)),
            ]
        )
        await uow.commit()
    return made[:3]


async def exported(db: Database, subject_id: str) -> bytes:
    return b"".join([part async for part in await export_subject(db, subject_id, "admin")])


async def test_the_archive_holds_everything_of_the_subject_and_nothing_of_others(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_export, "SAMPLES_AT_ONCE", 2)
    monkeypatch.setattr(access_export, "ENTRIES_AT_ONCE", 2)
    mine = await fill(db)
    async with db.read() as uow:
        name, other = await uow.audit.find_name("anna"), await uow.audit.find_name("berta")
        kept = await uow.crops.of_samples(mine, crop().alignment_id)
        stored = await uow.samples.of_subject("anna")
    with zipfile.ZipFile(io.BytesIO(await exported(db, "anna"))) as archive:
        assert archive.testzip() is None
        files = {one: archive.read(one) for one in archive.namelist()}
    told: dict[str, Any] = json.loads(files["subject.json"])
    assert (told["subject_id"], told["display_name"]) == ("anna", "Señora anna")
    assert told["metadata"] == {"desk": "ANNA"}
    assert told["terms"]["hold"] == {
        "since": WHOLE.hold.since.isoformat() if WHOLE.hold else None,
        "by": "0123456789ab",
        "reason": "case 4711/26",
    }
    assert told["terms"]["consent"] == {"on": "2026-03-01", "reference": "form 12"}
    assert told["name_in_audit_log"] == name
    assert told["crops_that_do_not_open"] == []
    assert [one["sample_id"] for one in told["samples"]] == [one.sample_id for one in stored]
    first = told["samples"][0]
    assert (first["spectrum"], first["quality_score"], first["inter_eye_px"]) == ("vis", 80, 61.5)
    for sample in told["samples"]:
        (picture,) = sample["crops"]
        assert files[picture] == kept[sample["sample_id"]].png
        pixels = cv2.imdecode(np.frombuffer(files[picture], np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        assert np.array_equal(pixels, crop().pixels)
    templates = {one["sample_id"]: one for one in json.loads(files["templates.json"])}
    for i, sample_id in enumerate(mine):
        assert templates[sample_id]["space_id"] == SPACE
        assert np.array_equal(np.asarray(templates[sample_id]["vector"], np.float32), vector(i))
    assert set(templates) == set(mine)
    entries = json.loads(files["audit.json"])
    shown = [(one["action"], one["about"], one["detail"].get("candidates")) for one in entries]
    me, another = "this person", "a candidate among others"
    assert shown == [
        ("subject.enrol", me, None),
        ("subject.identify", me, [{"score": 0.875, "accepted": True}]),
        ("subject.identify", another, [{"score": 0.25, "accepted": False}]),
        ("subject.identify", another, [{"score": 0.375, "accepted": False}]),
        ("subject.export", me, None),
    ]
    assert "decision" in entries[1]["detail"]
    assert "decision" not in entries[2]["detail"]
    everything = b"".join(files.values())
    assert other is not None
    for foreign in (b"berta", b"BERTA", other.encode()):
        assert foreign not in everything
    assert set(files) == {
        *("README.txt", "subject.json", "templates.json", "audit.json"),
        *(one for sample in told["samples"] for one in sample["crops"]),
    }


async def test_a_subject_without_samples_has_a_short_archive(db: Database) -> None:
    async with db.write() as uow:
        await uow.subjects.ensure("anna", None)
        await uow.commit()
    with zipfile.ZipFile(io.BytesIO(await exported(db, "anna"))) as archive:
        assert json.loads(archive.read("templates.json")) == []
        assert [one["action"] for one in json.loads(archive.read("audit.json"))] == ["subject.export"]
        assert json.loads(archive.read("subject.json"))["samples"] == []
    with pytest.raises(SubjectNotFound):
        await export_subject(db, "nobody", "admin")


async def test_a_crop_that_does_not_open_is_named(db: Database) -> None:
    mine = await fill(db)
    async with db.write() as uow:
        await uow.connection.execute(
            update(crops).where(crops.c.sample_id == mine[0]).values(sealed=b"x" * 60)
        )
        await uow.commit()
    with zipfile.ZipFile(io.BytesIO(await exported(db, "anna"))) as archive:
        told = json.loads(archive.read("subject.json"))
        assert told["crops_that_do_not_open"] == [f"crops/{mine[0]}-{crop().alignment_id}.png"]
        assert len([one for one in archive.namelist() if one.endswith(".png")]) == 2


async def test_a_subject_that_is_erased_meanwhile_ends_the_archive_early(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_export, "SAMPLES_AT_ONCE", 1)
    await fill(db)
    await put(db, "anna", type(WHOLE)())
    parts = await export_subject(db, "anna", "admin")
    got = await anext(parts)
    async with db.write() as uow:
        await uow.subjects.delete("anna")
        await uow.commit()
    with pytest.raises(SubjectNotFound):
        async for part in parts:
            got += part
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(got))
