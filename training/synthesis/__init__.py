"""Synthetic masks and near-infrared light on visible-light photos, and rendered faces."""
