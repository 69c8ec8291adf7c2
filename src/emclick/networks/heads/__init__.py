"""Heads: from a backbone's maps to cached features and a coarse mask at 1/4 resolution."""
