"""The parts of Autobahn: its parser as the fallback, its protocol between a wire and a connection, and users' own classes."""
