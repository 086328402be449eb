"""The training loop, devices, compilation, run records and worker processes. It knows nothing of faces."""
