"""From an accepted socket to an admitted handshake: listeners, the PROXY protocol, TLS, the request head, limits and authentication."""
