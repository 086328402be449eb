"""The HTTP edge: routers, wire types, dependencies, middleware and problem documents."""
