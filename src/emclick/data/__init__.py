"""Labelled images: samples, the sources that yield them, and what training does to them."""
