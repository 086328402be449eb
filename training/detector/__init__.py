"""Trains the built-in face detector: labelled pictures, scenes, network, training, evaluation."""
