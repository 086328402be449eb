"""Backbones, encoders, ONNX import and frozen teachers."""
