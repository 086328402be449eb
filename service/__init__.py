"""The HTTP service: enrol visible-light references, identify and verify near-infrared probes."""
