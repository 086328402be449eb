"""Trains the encoder of masked and NIR probes of `halflight-2`, from an open trunk."""
