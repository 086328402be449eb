"""Evaluates labelled photos of a site: rates with intervals, mistakes, and thresholds to install."""
