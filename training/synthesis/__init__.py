"""Masks and near-infrared light put onto visible-light photos. Everything made here is synthetic."""
