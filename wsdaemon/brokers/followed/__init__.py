"""The parts of a broker whose order is kept elsewhere: `remote` has the broker itself."""
