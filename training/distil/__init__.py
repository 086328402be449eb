"""Distillation of the built-in embedder from a teacher's templates and feature maps."""
