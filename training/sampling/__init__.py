"""Which rows form a batch, and in which order the batches come."""
