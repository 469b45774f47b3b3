"""Apps: one object per mount, which opens a session for each connection. An app imports core and brokers, never another app."""
