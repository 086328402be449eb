"""Tests of service/live and of its routes."""
