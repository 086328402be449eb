"""Model bundles: the registry directory, remote origins, signatures, and the pinned reference files."""
