"""What the service, the training and the export package must agree on to the last bit.

Decoding, alignment, network input, the bundle format and the metrics each live here once,
because a second copy of any of them is silent score drift.
"""
