"""The table of the built-in bundle: rank-1, TAR, thresholds and groups over HTTP, bundle beside bundle."""
