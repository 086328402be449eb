"""The parts of the compose profile `scale` as processes on loopback: PostgreSQL, replicas, DNS, HAProxy."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.settings import builtin_bundle
from tests.conftest import ANSWER_S, REPO, Service, free_port, sample_bytes
from tests.deploy.programs import accepts, find_program, name_server, running

CONFIGURATION = REPO / "deploy" / "proxy" / "haproxy.cfg"
REPLICAS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
# Mostly small limits, so that a test need not send 64 MiB or wait ten seconds to meet them.
LIMITS = {
    "HALFLIGHT_MAX_IMAGE_BYTES": str(1 << 20),
    "HALFLIGHT_MAX_BODY_BYTES": str(2 << 20),
    "HALFLIGHT_BODY_IDLE_S": "2",
    "HALFLIGHT_FAILED_LOGINS_BURST": "3",
    "HALFLIGHT_FAILED_LOGINS_PER_S": "0.001",
    # With the whole suite beside it, what is under way may take longer than the default of 10 s.
    "HALFLIGHT_DRAIN_S": "60",
}


@dataclass(frozen=True)
class Deployment:
    """A running deployment. `secrets`: the directory that `deploy/secrets.sh` made."""

    replicas: tuple[Service, ...]
    secrets: Path
    key: str
    tls_port: int
    plain_port: int
    status_port: int

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.secrets / "tls.pem")

    def client(self, key: str | None = None, *, source: str = "127.0.0.1") -> httpx.Client:
        """A client of the proxy that comes from the address `source`."""
        return httpx.Client(
            base_url=f"https://localhost:{self.tls_port}",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=ANSWER_S,
            transport=httpx.HTTPTransport(verify=self.trust, local_address=source),
        )

    def ready(self) -> int:
        """How many replicas the proxy sends requests to."""
        text = httpx.get(f"http://127.0.0.1:{self.status_port}/metrics", timeout=10).text
        name = 'haproxy_backend_active_servers{proxy="replicas"}'
        return int(float(next(line for line in text.splitlines() if line.startswith(name)).split()[-1]))

    def wait_for(self, count: int) -> None:
        end = time.monotonic() + 120
        while self.ready() != count:
            assert time.monotonic() < end, f"{self.ready()} of {count} replicas take requests"
            time.sleep(0.2)


def identify(client: httpx.Client, subject: str) -> httpx.Response:
    """Asks who the masked near-infrared sample of a subject is."""
    image = sample_bytes(subject, "nir_masked_1.jpg")
    return client.post("/v1/identify?spectrum=nir", files={"image": image})


def enrol(client: httpx.Client, subject: str) -> httpx.Response:
    return client.post(
        "/v1/enroll", data={"subject_id": subject}, files={"images": sample_bytes(subject, "vis_1.jpg")}
    )


def _port_on_each() -> int:
    while True:
        port = free_port()
        with ExitStack() as held:
            try:
                for host in REPLICAS:
                    held.enter_context(socket.create_server((host, port)))
            except OSError:
                continue
        return port


def make_secrets(place: Path, database_url: str) -> Path:
    subprocess.run([REPO / "deploy" / "secrets.sh", place], check=True, capture_output=True)
    (place / "database_url").unlink()
    (place / "database_url").write_text(database_url)
    return place


def _end(replica: Service) -> None:
    if replica.process is not None and replica.process.poll() is None:
        replica.kill()


@contextmanager
def running_deployment(database_url: str, place: Path) -> Iterator[Deployment]:
    """Starts what `docker compose --profile scale up proxy` starts, in the same order."""
    haproxy = find_program("haproxy", "haproxy")
    secrets, mounted = make_secrets(place / "secrets", database_url), place / "mounted"
    mounted.mkdir()
    for name in ("database_url", "master_key", "audit_key"):
        (mounted / name).symlink_to(secrets / name)
    env = {
        "HALFLIGHT_SECRETS_DIR": str(mounted),
        "HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()),
        "HALFLIGHT_TRUSTED_PROXIES": "127.0.0.1",
        **LIMITS,
    }
    port, data = _port_on_each(), place / "data"
    ensure = [sys.executable, "-m", "service.cli.main", "keys", "ensure", "--role", "admin"]
    made = subprocess.run(
        [*ensure, "--data", str(data)], env={**os.environ, **env}, check=True, capture_output=True, text=True
    )
    with ExitStack() as parts:
        replicas = tuple(Service(data, env, port, host=host) for host in REPLICAS)
        for one in replicas:
            parts.callback(_end, one)
            one.start(wait=False)
        for one in replicas:
            one.wait_ready()
        dns = parts.enter_context(name_server({"replica": REPLICAS}, place))
        tls, plain, status = free_port(), free_port(), free_port()
        settings = {
            "HALFLIGHT_TLS_BIND": f"127.0.0.1:{tls}",
            "HALFLIGHT_PLAIN_BIND": f"127.0.0.1:{plain}",
            "HALFLIGHT_STATUS_BIND": f"127.0.0.1:{status}",
            "HALFLIGHT_CERTIFICATE": str(secrets / "tls.pem"),
            "HALFLIGHT_DNS": f"127.0.0.1:{dns}",
            "HALFLIGHT_REPLICA_PORT": str(port),
        }
        command = [haproxy, "-db", "-f", str(CONFIGURATION)]
        parts.enter_context(running(command, place / "proxy.log", lambda: accepts(tls), settings))
        deployment = Deployment(replicas, secrets, made.stdout.strip(), tls, plain, status)
        deployment.wait_for(len(replicas))
        yield deployment
