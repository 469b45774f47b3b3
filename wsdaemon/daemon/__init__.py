"""The assembly: builds a daemon of its settings, starts it, reloads it, drains it and stops it. This room alone sees all others."""
