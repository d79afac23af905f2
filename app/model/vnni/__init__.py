"""A cross-encoder in fixed-point arithmetic, for processors that multiply and add small integers in one instruction."""
