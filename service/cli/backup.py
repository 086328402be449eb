"""Implements `halflight backup`, `restore` and `backup-key`, on the service's database."""

from __future__ import annotations

import errno
import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.configuration import settings_from
from service.cli.keys import with_database
from service.cli.options import DatabaseUrl, DataDir, Json
from service.cli.output import (
    GOOD,
    UNSURE,
    Failure,
    print_json,
    print_line,
    print_status,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from service.moving.archive import ArchiveReader
    from service.moving.backup import Contents, Progress
    from service.moving.locks import For, Secret
    from service.store.database import Database

PASSPHRASE = "HALFLIGHT_BACKUP_PASSPHRASE"  # noqa: S105 - a name
File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]
Keys = Annotated[
    Path | None,
    typer.Option(help="Key book of the backups, apart from them and from the data [HALFLIGHT_BACKUP_KEYS]."),
]
PassphraseFile = Annotated[
    list[Path] | None,
    typer.Option(help=f"File with the passphrase, instead of {PASSPHRASE} or the terminal."),
]


def backup_key(to: Annotated[Path, typer.Argument(metavar="FILE", help="It must not exist.")]) -> None:
    """Make a key pair for backups: the secret key goes to FILE, the recipient to stdout."""
    from service.key_file import KeyFileError, read_or_create_key
    from service.moving.locks import WHAT, Identity

    if to.exists():
        raise Failure(f"{to} exists already", hint="choose another name", exit_code=2)
    try:
        print_line(Identity(read_or_create_key(to, WHAT)).recipient.public)
    except KeyFileError as error:
        raise Failure(str(error)) from error
    print_status(f"keep {to} apart from the backups: without it they cannot be opened")


def backup(
    to: File,
    keys: Keys = None,
    self_contained: Annotated[
        bool, typer.Option("--self-contained", help="Put the keys into the backup: no erasure reaches it.")
    ] = False,
    recipient: Annotated[
        str | None, typer.Option(help="Who may open it, as `halflight backup-key` printed it.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read it back (needs a passphrase).")] = False,
    data: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Back up the database, encrypted, while the service goes on; all of one moment."""
    from service.moving import backup as moving
    from service.moving.book import KeyBook
    from service.moving.locks import Passphrase, Recipient

    settings = settings_from(data_dir=data, database_url=database_url, backup_keys=keys)
    place = None if self_contained else settings.backup_keys
    if place is None and not self_contained:
        raise Failure(
            "choose where the keys of the backup lie",
            hint="--keys BOOK, on another disk than data and backup: an erasure then reaches the backup too\n"
            "or --self-contained: FILE and the passphrase are all it takes, and no erasure reaches it",
            exit_code=2,
        )
    _apart(to, *(passphrase_file or ()), *(() if place is None else (place,)))
    with _told(to):
        who: For = (
            Recipient(recipient)
            if recipient is not None
            else Passphrase(_passphrases(passphrase_file, new=True)[0])
        )

        async def work(db: Database) -> Contents:
            with _progress("backing up") as progress:
                return await moving.back_up(db, to, who, None if place is None else KeyBook(place), progress)

        contents = with_database(settings, work, sealed=True)
        if verify:
            if not isinstance(who, Passphrase):
                raise Failure("--verify needs what opens the backup", hint="use `halflight restore --verify`")
            reader, held = _open(to, place, [who])
            with _progress("verifying") as progress:
                if moving.verify(reader, held, progress) != contents:
                    raise Failure(f"{to} does not hold what was backed up", hint="make another one")
    _print(contents, as_json=as_json)
    print_status(f"{to} is written{' and verified' if verify else ''}", GOOD)


def restore(
    source: File,
    keys: Keys = None,
    identity: Annotated[
        list[Path] | None, typer.Option(help="Secret key of the recipient. Repeatable.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    verify: Annotated[bool, typer.Option("--verify", help="Only read and compare; write nothing.")] = False,
    data: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Restore a backup into an empty database: all of it or nothing. Stop the service before."""
    from service.access.private import make_private
    from service.moving import backup as moving
    from service.moving.locks import Identity, Passphrase

    settings = settings_from(data_dir=data, database_url=database_url, backup_keys=keys)
    with _told(source):
        opening: list[Secret] = [Identity.read(path) for path in identity or ()]
        if not opening or passphrase_file or os.environ.get(PASSPHRASE):
            opening += [Passphrase(text) for text in _passphrases(passphrase_file, new=False)]
        reader, held = _open(source, settings.backup_keys, opening)
        # Everything is read and compared before anything is written.
        with _progress("verifying") as progress:
            contents = moving.verify(reader, held, progress)

        async def work(db: Database) -> Contents:
            with _progress("restoring") as progress:
                return await moving.restore(db, reader, held, progress)

        if not verify:
            # The master key lies there, also if the database does not.
            make_private(settings.data_dir)
            try:
                contents = with_database(settings, work, create_missing=True, sealed=True)
            except moving.NotEmpty as error:
                raise Failure(
                    f"{error}; nothing was changed", hint="restore into a new data directory or database"
                ) from error
    _print(contents, as_json=as_json)
    if contents.unreadable:
        print_status(
            f"{contents.unreadable} subjects were erased after the backup: their keys are gone", UNSURE
        )
    print_status(f"{source} is whole" if verify else f"{source} is restored", GOOD)


def _open(path: Path, book: Path | None, secrets: list[Secret]) -> tuple[ArchiveReader, dict[str, bytes]]:
    from service.moving.archive import ArchiveReader
    from service.moving.book import KeyBook

    reader = ArchiveReader(path, secrets)
    if reader.header.keys == "inside":
        return reader, reader.inner_keys()
    if book is None:
        raise Failure(
            f"{path} needs the key book that it was made with",
            hint="name it with --keys or HALFLIGHT_BACKUP_KEYS",
            exit_code=2,
        )
    with _told(book):
        return reader, KeyBook(book).read(secrets)


def _apart(backup: Path, *keys: Path) -> None:
    for path in keys:
        if path.resolve().parent == backup.resolve().parent:
            raise Failure(
                f"{path} lies beside the backup",
                hint="nobody must get both at once: use another directory, better another disk",
                exit_code=2,
            )


def _passphrases(files: list[Path] | None, *, new: bool) -> list[str]:
    if files:
        return [path.read_text(encoding="utf-8").strip() for path in files]
    if given := os.environ.get(PASSPHRASE):
        return [given]
    if not sys.stdin.isatty():
        raise Failure(
            "no passphrase was given", hint=f"set {PASSPHRASE}, or give --passphrase-file", exit_code=2
        )
    typed = getpass.getpass("Passphrase of the backup: ")
    if new and getpass.getpass("Once more: ") != typed:
        raise Failure("the two passphrases differ", exit_code=2)
    return [typed]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns what can be wrong with a file into one sentence that names it."""
    from service.moving.backup import Damaged
    from service.moving.locks import LockError
    from service.moving.stream import ArchiveBroken

    try:
        yield
    except LockError as error:
        raise Failure(f"{path}: {error}", exit_code=2) from error
    except ArchiveBroken as error:
        raise Failure(f"{path}: {error}; nothing was written", hint="take another backup") from error
    except Damaged as error:
        hint = "erase what they belong to, or restore an older backup; nothing was written"
        raise Failure(str(error), hint=hint) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "make room, or name a file on another disk; nothing is left of it" if full else ""
        raise Failure(f"{error.filename or path}: {error.strerror}", hint=hint) from error


@contextmanager
def _progress(what: str) -> Iterator[Progress]:
    with progress_bar() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _print(contents: Contents, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(contents))
        return
    facts = asdict(contents)
    print_table(tuple(f">{name.replace('_', ' ')}" for name in facts), [tuple(facts.values())])
