"""Evaluation: the robot user, NoC and its company, datasets, tables and plots."""
