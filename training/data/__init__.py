"""Readers of data files and what is made of them before a model sees it."""
