"""Checkpoint -> ONNX -> verified, calibrated bundle."""
