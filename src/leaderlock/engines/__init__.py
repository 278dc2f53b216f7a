"""Engines hold elections: a candidate stands in one, and it tells a leader that the term is over."""
