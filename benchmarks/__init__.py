"""The CPU time and memory of wsdaemon, beside other servers on the same machine in the same minutes: `python -m benchmarks`."""
