"""Experiments: the stand-in benchmark, the tables of the paper, and checks of the synthesis."""
