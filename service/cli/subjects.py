"""Implements `halflight subjects`: list, show, change, merge and erase subjects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.cli.client import Answer, ServiceClient
from service.cli.enrol import parse_metadata
from service.cli.options import DEFAULT_URL, ConsentDate, ConsentReference, Json, Key, Url, check_consent
from service.cli.output import GOOD, Failure, print_json, print_status, print_table

app = typer.Typer(no_args_is_help=True, help="List, show, change, merge and erase subjects.")

SubjectId = Annotated[str, typer.Argument(metavar="ID", help="The subject's id.")]


@app.command("list")
def list_(
    id_prefix: Annotated[str | None, typer.Option(help="How the id begins.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Part of the display name; case and accents do not count.")
    ] = None,
    metadata: Annotated[
        str | None,
        typer.Option(metavar="KEY[=VALUE]", help="A key of the metadata, with or without its value."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Enrolled at this time (ISO 8601, UTC without a zone) or later.")
    ] = None,
    spectrum: Annotated[
        Literal["vis", "nir"] | None, typer.Option(help="With a sample of this spectrum.")
    ] = None,
    masked: Annotated[
        bool | None, typer.Option("--masked/--unmasked", help="With a sample that is masked, or that is not.")
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List the subjects that fit everything asked for; without options, every subject."""
    about, equals, value = (metadata or "").partition("=")
    wanted = {
        "id_prefix": id_prefix,
        "name": name,
        "metadata_key": about if metadata is not None else None,
        "metadata_value": value if equals else None,
        "enrolled_since": since,
        "spectrum": spectrum,
        "masked": None if masked is None else str(masked).lower(),
    }
    with ServiceClient(url, key) as client:
        if as_json:
            for subject in client.subjects(wanted):
                print_json(subject)
            return
        found = list(client.subjects(wanted))
    print_table(
        ("subject", "name", ">samples", "created", "metadata"),
        (
            (s["subject_id"], _name(s), s["samples"], _when(s["created_at"]), _compact(s["metadata"]))
            for s in found
        ),
    )
    print_status(f"{len(found)} subjects")


@app.command("show")
def show_(subject_id: SubjectId, url: Url = DEFAULT_URL, key: Key = None, as_json: Json = False) -> None:
    """Show one subject with its samples."""
    with ServiceClient(url, key) as client:
        found = client.subject(subject_id)
    if as_json:
        print_json(found)
        return
    print_table(
        ("subject", "name", "created", "updated", "metadata"),
        [
            (
                *(found["subject_id"], _name(found)),
                *(_when(found["created_at"]), _when(found["updated_at"]), _compact(found["metadata"])),
            )
        ],
    )
    print_table(
        ("sample", "spectrum", "masked", ">quality", ">inter-eye px", "created"),
        (
            (
                *(s["sample_id"], s["spectrum"], "yes" if s["masked"] else "no", s["quality_score"]),
                *(f"{s['inter_eye_px']:.0f}", _when(s["created_at"])),
            )
            for s in found["samples"]
        ),
    )
    _print_terms(found)


@app.command("set")
def set_(
    subject_id: SubjectId,
    metadata: Annotated[str | None, typer.Option(help="JSON object that replaces what is kept.")] = None,
    display_name: Annotated[
        str | None, typer.Option(help="What people call the subject; an empty one removes it.")
    ] = None,
    consent_date: ConsentDate = None,
    consent_reference: ConsentReference = None,
    no_consent: Annotated[bool, typer.Option("--no-consent", help="Remove the consent.")] = False,
    expires_at: Annotated[
        str | None,
        typer.Option(help="When retention erases the subject (ISO 8601, with a zone); empty: never."),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Change the display name, the metadata, the consent or the end of a subject."""
    check_consent(consent_date, consent_reference)
    if no_consent and consent_date is not None:
        raise typer.BadParameter("--no-consent and --consent-date say different things")
    change: dict[str, Any] = {}
    if metadata is not None:
        change["metadata"] = parse_metadata(metadata)
    if display_name is not None:
        change["display_name"] = display_name or None
    if consent_date is not None or no_consent:
        change["consent"] = None if no_consent else {"date": consent_date, "reference": consent_reference}
    if expires_at is not None:
        change["expires_at"] = expires_at or None
    if not change:
        raise typer.BadParameter(
            "give --metadata, --display-name, --consent-date, --no-consent or --expires-at"
        )
    _change(subject_id, change, url, key, as_json=as_json)


@app.command()
def rename(
    subject_id: SubjectId,
    new_id: Annotated[str, typer.Argument(metavar="NEW_ID", help="An id that no other subject has.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Give a subject another id; it keeps its samples."""
    _change(subject_id, {"subject_id": new_id}, url, key, as_json=as_json)


@app.command()
def hold(
    subject_id: SubjectId,
    reason: Annotated[str, typer.Option(help="Why nothing may be erased, such as the number of a case.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Put a subject on legal hold: until `release`, nothing of it is erased. Needs an admin key."""
    with ServiceClient(url, key) as client:
        _show_terms(client.hold(subject_id, reason), as_json=as_json)


@app.command()
def export(
    subject_id: SubjectId,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The zip archive; it must not exist.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Write everything that is stored about a subject, for that person. Needs an admin key.

    The archive is not encrypted and shows the face: hand it over safely, then delete it.
    """
    from service.moving.backup import new_file

    try:
        with ServiceClient(url, key) as client, new_file(to) as file:
            client.export(subject_id, file)
    except OSError as error:
        raise Failure(f"{error.filename or to}: {error.strerror}", exit_code=2) from error
    print_status(f"{to} holds everything that is stored about {subject_id}", GOOD)


@app.command()
def release(subject_id: SubjectId, url: Url = DEFAULT_URL, key: Key = None, as_json: Json = False) -> None:
    """Lift a legal hold. Needs an admin key."""
    with ServiceClient(url, key) as client:
        _show_terms(client.release(subject_id), as_json=as_json)


def _show_terms(subject: Answer, *, as_json: bool) -> None:
    if as_json:
        print_json(subject)
    else:
        _print_terms(subject)


def _print_terms(subject: Answer) -> None:
    hold, consent = subject["hold"] or {}, subject["consent"] or {}
    print_table(
        ("on hold since", "by", "reason", "consent", "reference", "expires", "last match"),
        [
            (
                *(_when(hold.get("since") or "-"), hold.get("by") or "-", hold.get("reason") or "-"),
                *(consent.get("date") or "-", consent.get("reference") or "-"),
                *(_when(subject[name] or "-") for name in ("expires_at", "last_matched_at")),
            )
        ],
    )


def _change(subject_id: str, change: dict[str, Any], url: str, key: str | None, *, as_json: bool) -> None:
    with ServiceClient(url, key) as client:
        changed = client.change(subject_id, change)
    if as_json:
        print_json(changed)
        return
    row = (changed["subject_id"], _name(changed), _compact(changed["metadata"]))
    print_table(("subject", "name", "metadata"), [row])


@app.command()
def merge(
    into: Annotated[str, typer.Argument(metavar="ID", help="The subject that stays.")],
    source: Annotated[str, typer.Argument(metavar="OTHER", help="The subject whose samples move; it goes.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Merge two subjects that are one person. It cannot be undone."""
    with ServiceClient(url, key) as client:
        merged = client.merge(into, source)
    if as_json:
        print_json(merged)
        return
    print_table(
        ("subject", "merged", ">moved", ">there already", ">samples"),
        [
            (
                *(merged["subject_id"], merged["merged"], merged["moved"]),
                *(merged["already_there"], merged["samples"]),
            )
        ],
    )


@app.command()
def delete(
    subject_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="1 to 400 subjects.")],
    sample: Annotated[str | None, typer.Option(help="Erase only this sample of the one subject.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Erase subjects with everything measured from them, at once and for good.

    Several are erased together, or none if it fails; exit code 1 if any of several is not enrolled.
    """
    if sample is not None and len(subject_ids) > 1:
        raise typer.BadParameter("--sample takes one subject")
    missing: list[str] = []
    with ServiceClient(url, key) as client:
        if len(subject_ids) == 1:
            receipts = [{"subject_id": subject_ids[0]} | client.erase(subject_ids[0], sample)]
        else:
            answer = client.erase_many(subject_ids)
            receipts, missing = answer["receipts"], answer["not_found"]
    if as_json:
        for receipt in receipts:
            print_json(receipt)
    elif receipts:
        print_table(
            ("erased", ">samples", ">templates", ">crops", ">audit entry"),
            (_receipt_row(receipt, sample) for receipt in receipts),
        )
    if missing:
        raise Failure(
            f"{len(missing)} of {len(subject_ids)} subjects are not enrolled", detail="\n".join(missing)
        )


def _receipt_row(receipt: Answer, sample: str | None) -> tuple[object, ...]:
    subject_id, erased = receipt["subject_id"], receipt["erased"]
    name = subject_id if sample is None else f"{subject_id} / {sample}"
    return name, erased["samples"], erased["templates"], erased["crops"], receipt["audit_id"]


def _name(subject: Answer) -> str:
    return subject.get("display_name") or ""


def _when(stamp: str) -> str:
    return stamp[:19].replace("T", " ")


def _compact(metadata: object) -> str:
    return json.dumps(metadata, ensure_ascii=False) if metadata else ""
