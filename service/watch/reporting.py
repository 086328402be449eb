"""Tells the service how a watcher fares, for the console. That it cannot be told stops nothing else."""

from __future__ import annotations

import threading

from halflight.client import Client, ClientError
from service.watch.sending import said
from service.watch.status import WatchStatus

EVERY_S = 10.0


class Reporter(threading.Thread):
    """Reports at once, then every 10 seconds, and once more at the end. A report that fails is not sent
    again: the next one says more. `client`: one that does not repeat anything itself."""

    def __init__(self, client: Client, name: str, status: WatchStatus) -> None:
        super().__init__(name="reporter", daemon=True)
        self._client, self._watcher, self._status = client, name, status
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ends the thread after a last report."""
        self._stopping.set()

    def run(self) -> None:
        self._tell()
        while not self._stopping.wait(EVERY_S):
            self._tell()
        self._tell()

    def _tell(self) -> None:
        try:
            self._client.report_watcher(self._watcher, self._status.as_report())
        except ClientError as error:
            # A service of an older release has no such route: the status says so, and tracks go on.
            self._status.untold = said(error)
        else:
            self._status.untold = None
