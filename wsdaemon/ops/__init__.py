"""The operator's side: logs, metrics, systemd and the admin pages."""
