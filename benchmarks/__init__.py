"""What wsdaemon spends per message, beside other servers on the same machine in the same minutes: `python -m benchmarks`."""
