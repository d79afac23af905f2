"""Hard negatives: candidates from a retriever, filters, sampling, and rows to train or evaluate on."""
