"""The stand-in benchmark: the paper's comparison on LFW with pseudo-NIR and synthetic masks."""
