"""What happened: the journal, its databases, and the lease that says who may write."""
