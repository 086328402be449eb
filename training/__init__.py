"""HSST and its baselines, data sets, mask and NIR synthesis, and the synthetic subject renderer."""
