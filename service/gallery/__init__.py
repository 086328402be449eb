"""Vector indexes of one embedding space, behind one protocol."""
