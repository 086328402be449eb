"""Holds the HTTP API: routers, wire types, dependencies, middleware and problem documents."""
