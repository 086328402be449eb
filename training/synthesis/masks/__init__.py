"""Draws masks in three dimensions: painted flat, laid over a fitted face mesh, lit like the face."""
