"""`python -m wsdaemon`: the command."""

from __future__ import annotations

from .command.main import main

if __name__ == "__main__":
    main()
