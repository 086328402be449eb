"""The audit log: records what happened in batches, signs its head, verifies and exports its chain."""
