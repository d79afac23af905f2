"""Encoders run over rows laid end to end, without padding, on the weights of a transformers model."""
