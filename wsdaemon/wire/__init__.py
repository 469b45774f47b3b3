"""The Autobahn side of connections: bytes, frames and messages in both directions. Only this room imports autobahn."""
