"""`python -m tests.service.alone DATA BUNDLE PHOTO` says which names a service that identifies looks up.

Run it in namespaces of its own (`unshare --map-root-user --net --mount`): it makes itself the only name
server there is, asks for one name itself to show that it hears, and prints all names as a JSON list.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from faces.usage_reports import SWITCHES
from tests.conftest import Service

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
KNOWN = "known.test"
# A library sends what it has queued some seconds after it began.
WATCHED_S = 20.0


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack("16xH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def become_name_server(names: set[str]) -> None:
    """Answers that no name exists, and notes each."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as resolver:
        resolver.write("nameserver 127.0.0.1\n")
        resolver.flush()
        mount = ["mount", "--bind", resolver.name, str(Path("/etc/resolv.conf").resolve())]
        subprocess.run(mount, check=True)

    def answer() -> None:
        while True:
            question, caller = server.recvfrom(512)
            labels, at = [], 12
            while size := question[at]:
                labels.append(question[at + 1 : at + 1 + size].decode("ascii", "replace"))
                at += 1 + size
            names.add(".".join(labels))
            server.sendto(question[:2] + b"\x81\x83" + question[4:6] + bytes(6) + question[12:], caller)

    threading.Thread(target=answer, daemon=True).start()


def main() -> None:
    data, bundle, photo = map(Path, sys.argv[1:4])
    names: set[str] = set()
    loopback_up()
    become_name_server(names)
    with suppress(socket.gaierror):
        socket.getaddrinfo(KNOWN, 443)
    for name in SWITCHES:
        # The service under test must set them itself, and not get them from this process.
        os.environ.pop(name, None)
    service = Service(data, {"HALFLIGHT_BUNDLE_DIR": str(bundle)}).start()
    try:
        with service.client() as client:
            client.post("/v1/identify", files={"image": photo.read_bytes()}).raise_for_status()
        time.sleep(WATCHED_S)
    finally:
        service.stop()
    print(json.dumps(sorted(names)))


if __name__ == "__main__":
    main()
