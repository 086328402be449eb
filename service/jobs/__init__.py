"""The job engine: a leased, durable queue, its runner, and child processes."""
