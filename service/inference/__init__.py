"""ONNX Runtime sessions, batching, and the networks of one bundle."""
