"""Jobs: what takes longer than a request. Leased, resumed after a kill, cancellable, told as events."""
