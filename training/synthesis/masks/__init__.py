"""Masks in three dimensions: painted in the plane, laid over a fitted face mesh, lit like the face."""
