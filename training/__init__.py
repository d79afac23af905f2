"""Trains, evaluates and exports cross-encoders; `rerank-training --help` is the way in."""
