"""What the commands of `rerank-training` are made of."""
