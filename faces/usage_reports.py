"""Keeps libraries from reporting to their makers what is run here.

ONNX Runtime's wheels for Linux and macOS queue events since 1.29 (names of models, the machine, a lasting id
of the device) in the user's cache folder, and send them, unless a variable says no before the library starts.
Packages that run a network call `turn_off` in their `__init__`, which comes before any of their imports.
"""

from __future__ import annotations

import os

SWITCHES = {"ORT_DISABLE_TELEMETRY": "1"}


def turn_off() -> None:
    """Sets the switches for this process and for those it starts, whatever was set before."""
    os.environ.update(SWITCHES)
