"""Comparisons of methods as plans: the paper's tables and figure, and the stand-in benchmark."""
