"""The training loop, task protocol, devices, compilation, run records, recipe files, worker processes."""
