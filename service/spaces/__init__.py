"""Embedding spaces: loading, readiness, backfill, activation and retirement."""
