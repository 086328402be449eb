"""Checkpoint -> ONNX -> verified, calibrated bundle."""

from faces.usage_reports import turn_off

turn_off()
