"""ASGI applications (asgi.readthedocs.io, version 3): the www specification 2.5 and the lifespan specification 2.0."""
