"""From requests to batches: the queue policy (pure) and the worker that runs it."""
