"""API keys, and the limits that keep a busy service answering."""
