"""Servers that start many workers: one line in each one's configuration, one small file for each."""
