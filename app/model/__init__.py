"""Inference library: artifact, tokeniser, backends and `CrossEncoder`; no web and no training dependency."""
