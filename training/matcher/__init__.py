"""The matcher of `halflight-2`: an open trunk, trained further for masked and NIR probes."""
