"""The hub: with `workers`, the one process that holds the state that all workers share, and a worker's side of the link to it."""
