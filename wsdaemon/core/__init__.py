"""Connections, handshakes, routes, the registry, timers and closing codes. This room knows no HTTP, no Autobahn and no settings file."""
