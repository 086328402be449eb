"""Runs the networks of one bundle: ONNX Runtime sessions, batching, detection, embedding, quality."""
