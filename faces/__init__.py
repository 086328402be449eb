"""Holds what the service, the training and the export package must agree on to the last bit.

Decoding, alignment, network input and the bundle format are each defined here once, because a
second copy of any of them would let scores drift unnoticed. A module belongs here only if two
packages import it.
"""
