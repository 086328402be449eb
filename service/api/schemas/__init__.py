"""Defines the wire types: what goes over HTTP, and nothing else. Field names are the contract."""
