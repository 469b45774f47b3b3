"""The `wsdaemon` command. No process of a daemon imports this room, nor the libraries that only it needs: click and rich."""
