"""Decodes photos in processes that may be killed: the worker's side, and the messages of both sides."""
