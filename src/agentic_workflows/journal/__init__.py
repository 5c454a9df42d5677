"""Where runs are kept: the database of checkpoints and of requests to running processes."""
