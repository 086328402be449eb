"""Retraining as a job of the service: from a data set to a bundle, in a process of its own."""
