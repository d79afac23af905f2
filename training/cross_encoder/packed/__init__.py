"""Packed networks in training: rows cut into chunks, dropout, and attention with its gradient on a CPU."""
