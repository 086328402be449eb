"""Runs the service until a signal stops it, for `halflight serve`."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import ssl
import sys
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import TextIO

import uvicorn

from faces.bundle import BundleError, read
from service.access.private import make_private
from service.allocator import limit_arenas
from service.api.connections import ConnectionLimits, GuardedProtocol
from service.api.deps import is_loopback
from service.app import create_app
from service.audit.signing import open_signer
from service.bundles.origin import OriginError
from service.bundles.registry import bundle_store
from service.crops import CropKeyError, OldCropKey
from service.delivery.receivers import ReceiversError, receivers_of
from service.doors.building import build
from service.doors.document import DoorsError
from service.gallery.search import use_threads
from service.key_file import KeyFileError
from service.sealing.keys import MasterKeyError
from service.sealing.sources import KEY_FILE, MasterKeys
from service.settings import Settings
from service.state import State
from service.store.database import Database
from service.store.errors import StoreError
from service.store.search_schema import GalleryOptions, GalleryRefused
from service.telemetry import configure_logs
from service.tracing import TracingUnavailable, check_tracing
from service.workers.accepting import Acceptor
from service.workers.shares import cores_of_each, of_worker, refused
from service.workers.supervisor import Place, Supervisor

REFUSED, LOAD_FAILED = 2, 3


OPEN_HERE = "loopback: while no key exists, access is open to this machine"


class _Server(uvicorn.Server):
    """Marks the state as draining as soon as nobody can connect any more: who has, is answered.

    `acceptor`: of a worker that shares its listener. Such a one accepts nothing before it is `loaded`: until
    then others do, which can answer.
    """

    state: State | None = None
    acceptor: Acceptor | None = None

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.loaded = asyncio.Event()
        self._accepting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.acceptor is None:
            await super().startup(sockets)
            return
        # No socket for uvicorn, which would accept by itself.
        await super().startup([])
        self._accepting = asyncio.create_task(self._accept(self.acceptor), name="accept")

    async def _accept(self, acceptor: Acceptor) -> None:
        await self.loaded.wait()
        await acceptor.run(self._protocol, self.config.ssl)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        if self.state is not None:
            self.state.draining = True
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        # As uvicorn makes it for the connections that it accepts.
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn has it
        # uvicorn's own handler raises the signal again after the drain, and a supervisor would take
        # a clean stop for a crash.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def say(text: str, stream: TextIO | None = None) -> None:
    """Writes a line on stderr, or on `stream`; that nobody can be told is no reason to stop."""
    stream = stream or sys.stderr
    with suppress(OSError, ValueError):
        stream.write(text + "\n")
        stream.flush()


async def _has_keys(settings: Settings) -> bool:
    db = await Database.open(settings.sqlalchemy_url, MasterKeys(settings.key_source))
    try:
        await db.migrate()
        await db.use_gallery(GalleryOptions.of(settings))
        async with db.read() as uow:
            return await uow.keys.any_active()
    finally:
        await db.close()


def refusal(settings: Settings) -> str | None:
    """Why the service does not start with these settings, and what to do; None if it can start."""
    try:
        if settings.doors_file is not None:
            build(settings.doors_file)
        read(settings.bundle_dir)
        make_private(settings.data_dir)
        OldCropKey(settings.given_crop_key, settings.data_dir)
        open_signer(settings.given_audit_key, settings.data_dir)
        bundle_store(settings)
        _check_certificate(settings)
        check_tracing(settings.otel_endpoint)
        receivers_of(settings)
        keyed = asyncio.run(_has_keys(settings))
        if not is_loopback(settings.host) and not keyed:
            return (
                f"refusing to listen on {settings.host} without keys: anyone on the network could"
                " enrol and identify.\nCreate one with `halflight keys create --role admin --data"
                f" {shlex.quote(str(settings.data_dir))}`, or listen on 127.0.0.1."
            )
    except BundleError as error:
        return f"{error}\nProvision the models with `halflight models pull`."
    except DoorsError as error:
        return f"{error}\nLook at it with `halflight doors check`."
    except CropKeyError as error:
        return f"{error}: set HALFLIGHT_CROP_KEY, or look at crop.key in the data directory"
    except KeyFileError as error:
        return f"{error}: set HALFLIGHT_AUDIT_KEY, or look at audit.key in the data directory"
    except ReceiversError as error:
        return f"{error}: look at HALFLIGHT_RECEIVERS_FILE, HALFLIGHT_WEBHOOK_* and HALFLIGHT_MQTT_*"
    except MasterKeyError as error:
        places = f"HALFLIGHT_MASTER_KEY, HALFLIGHT_MASTER_KEY_FILE, or {KEY_FILE} in the data directory"
        return f"{error}: look at {places}"
    except TracingUnavailable as error:
        return str(error)
    except OriginError as error:
        return f"{error}: look at HALFLIGHT_BUNDLE_URL"
    except GalleryRefused as error:
        return str(error)
    except StoreError as error:
        return f"the database cannot be opened: {error}\nLook at HALFLIGHT_DATABASE_URL and the server's log."
    except ssl.SSLError as error:
        return f"the certificate or its key cannot be used: {error.reason}: look at HALFLIGHT_TLS_CERT"
    except OSError as error:
        return f"{error.filename or settings.data_dir}: {error.strerror}"
    return None


def _check_certificate(settings: Settings) -> None:
    """Raises ssl.SSLError, OSError."""
    if settings.tls_cert is not None:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            settings.tls_cert, settings.tls_key
        )


def run(settings: Settings) -> int:
    """Serves and returns the exit code. A line on stdout says when the service answers requests."""
    configure_logs(settings.log_level)
    if (why := refused(settings) or refusal(settings)) is not None:
        say(why)
        return REFUSED
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            say(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}")
            return REFUSED
        if settings.workers == 1:
            return _serve(settings, listener)
        return _supervise(settings, listener)


def _supervise(settings: Settings, listener: socket.socket) -> int:
    """Serves by several processes, and returns the exit code."""
    if is_loopback(settings.host):
        say(OPEN_HERE)

    def ready(what: str) -> None:
        who = f"{what}, {settings.workers} workers, pid {os.getpid()}"
        say(f"halflight ready on {_url(settings, listener)} ({who})", sys.stdout)

    return Supervisor(settings, listener, work, ready).serve()


def work(settings: Settings, place: Place) -> None:
    """What a worker process does. Ends the process with the exit code."""
    configure_logs(settings.log_level)
    use_threads(cores_of_each(settings.workers))
    sys.exit(_serve(of_worker(settings, place.worker), place.listener, place))


def _url(settings: Settings, listener: socket.socket) -> str:
    scheme = "http" if settings.tls_cert is None else "https"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


def _serve(settings: Settings, listener: socket.socket, place: Place | None = None) -> int:
    """Serves in this process. `place`: of one of several workers."""
    limit_arenas()
    line = None if place is None else place.line()

    def loaded(state: State) -> None:
        server.state = state
        space = state.registry.active
        if space is None:
            say(f"cannot start: {state.failure}")
            server.should_exit = True
            return
        what = f"space {space.space_id}, {space.engine.provider}, {space.gallery.size} templates"
        if line is not None:
            server.loaded.set()
            line.ready(what)
            return
        say(f"halflight ready on {_url(settings, listener)} ({what}, pid {os.getpid()})", sys.stdout)

    def alone() -> None:
        # Without a supervisor nobody would start it anew, and its port would be taken.
        server.handle_exit(signal.SIGTERM, None)

    rates = None if place is None else place.rates
    app = create_app(settings, when_loaded=loaded, line=line, rates=rates, when_alone=alone)
    limits, acceptor = ConnectionLimits.of(settings), None
    if place is not None:
        acceptor = Acceptor(listener, place.counts, place.worker)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=round(settings.drain_s),
            http=partial(GuardedProtocol, limits=limits, count=acceptor and acceptor.count),  # type: ignore[arg-type]
            ws="none",
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
        )
    )
    server.acceptor = acceptor
    if place is None and is_loopback(settings.host):
        say(OPEN_HERE)
    server.run(sockets=[listener])
    failed = server.state is not None and server.state.failure is not None
    return LOAD_FAILED if failed or not server.started else 0
