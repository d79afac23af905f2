"""The parts of `CrossEncoder.fit` and `CrossEncoder.old_fit`."""
