"""Makes synthetic masks and near-infrared light on visible-light photos, and renders faces."""
