"""Implements `halflight watch`: cameras in, tracks out."""

from __future__ import annotations

import importlib.util
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.table import Table

from service.cli.options import DEFAULT_URL, Json, Key, Url
from service.cli.output import (
    BAD,
    GOOD,
    UNSURE,
    Failure,
    print_json,
    print_status,
    stderr_console,
    strip_control,
)

if TYPE_CHECKING:
    from halflight.client import TrackDecision
    from service.watch.config import WatchConfig
    from service.watch.spool import Waiting
    from service.watch.status import WatchStatus

DECISIONS = ("match", "unknown", "undecided")


def watch(
    sources: Annotated[Path, typer.Argument(metavar="SOURCES.toml", help="What to watch.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only check the file, and open cameras of this machine.")
    ] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Watch cameras, recordings and folders, and report everybody who passes once, until Ctrl-C.

    A probe key is enough. Faces are found and compared by the service; this machine needs no bundle. A track
    that was decided to be sent is on disk until the service has answered, so nothing is lost over a restart
    of either.
    """
    if importlib.util.find_spec("av") is None:
        raise Failure(
            "watching needs PyAV, and it is not installed", hint="install it: pip install 'halflight[watch]'"
        )
    from service.watch.config import ConfigError, load_config
    from service.watch.watcher import Watcher

    try:
        config = load_config(sources)
    except (ConfigError, OSError) as error:
        said = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}"
        raise Failure(f"{strip_control(sources)} says nothing that can be watched", detail=said) from error
    if check:
        if missing := _missing(config):
            raise Failure("what some sources watch is not there", detail="; ".join(missing))
        _open_cameras(config)
        print_status(f"{len(config.source)} source{'s' * (len(config.source) > 1)}, no fault found", GOOD)
        return
    lock = threading.Lock()

    def report(waiting: Waiting, answer: TrackDecision) -> None:
        with lock:
            print_json(_row(waiting, answer)) if as_json else _say(waiting, answer)

    watcher = Watcher(config, url, key, report)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: watcher.stop())
    with _shown() as show:
        fine = watcher.run(show)
    if left := len(watcher.status.spool):
        print_status(f"{left} tracks wait in the spool for the next start", UNSURE)
    if not fine:
        troubles = [f"{one.name}: {one.trouble}" for one in watcher.status.sources if one.state == "failed"]
        raise Failure("a source could not be watched to its end", detail="; ".join(troubles))


def _missing(config: WatchConfig) -> list[str]:
    """The sources whose folder, recording or camera of this machine is not there."""
    found = []
    for one in config.source:
        path = getattr(one, "path", None) or getattr(one, "device", None)
        if path is not None and not Path(path).exists():
            found.append(strip_control(f"{one.name}: {path}"))
    return found


def _open_cameras(config: WatchConfig) -> None:
    """Says what each camera of this machine gives. Raises Failure for those that cannot be opened."""
    from service.watch.camera import CameraReader
    from service.watch.config import V4l2Source
    from service.watch.frames import SourceError

    faults = []
    for one in config.source:
        if isinstance(one, V4l2Source):
            try:
                print_status(f"{one.name}: {CameraReader(one).check()}", GOOD)
            except SourceError as error:
                faults.append(f"{one.name}: {error}")
    if faults:
        raise Failure("some cameras cannot be opened", detail="; ".join(faults))


def _row(waiting: Waiting, answer: TrackDecision) -> dict[str, object]:
    return {
        "camera": waiting.source,
        "track": waiting.track,
        "seen_at": waiting.seen_at.isoformat(),
        "decision": answer.decision,
        "repeat": answer.repeat,
        "subject_id": None if answer.subject is None else answer.subject.subject_id,
        "votes": {"agree": answer.votes.agree, "of": answer.votes.of, "needed": answer.votes.needed},
        "event_id": answer.event_id,
    }


def _say(waiting: Waiting, answer: TrackDecision) -> None:
    who = "-" if answer.subject is None else strip_control(answer.subject.subject_id)
    votes = f"{answer.votes.agree} of {answer.votes.of}"
    line = f"{waiting.seen_at.astimezone():%Y-%m-%d %H:%M:%S}  {waiting.source:<16}  {answer.decision:<10}"
    again = "  seen a moment before" if answer.repeat else ""
    print_status(f"{line}  {who:<24}  {votes}{again}", GOOD if answer.decision == "match" else UNSURE)


@contextmanager
def _shown() -> Iterator[Callable[[WatchStatus], None]]:
    """A table that is kept up to date on a terminal; nothing elsewhere: there is the status file."""
    if not sys.stderr.isatty():
        yield lambda _status: None
        return
    with Live(console=stderr_console(), auto_refresh=False, transient=True) as live:
        yield lambda status: live.update(_table(status), refresh=True)


def _table(status: WatchStatus) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in (
        "source",
        "state",
        "frames",
        "looked at",
        "dropped",
        "tracks",
        "match",
        "unknown",
        "undecided",
        "",
    ):
        table.add_column(name)
    for one in status.sources:
        style = {"watching": GOOD, "failed": BAD}.get(one.state, UNSURE)
        numbers = (one.frames, one.looked_at, sum(one.dropped.values()), one.tracks)
        decided = (one.decisions[name] for name in DECISIONS)
        cells = (*map(str, numbers), *map(str, decided), one.trouble or "")
        table.add_row(one.name, f"[{style}]{one.state}[/]", *cells)
    waits = "" if status.service is None else f", the service is waited for: {status.service}"
    table.caption = f"{len(status.spool)} tracks wait to be sent{waits}"
    return table
