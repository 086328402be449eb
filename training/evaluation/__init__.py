"""How well an encoder recognises: scores, rates with intervals, matrices of conditions, reports."""
