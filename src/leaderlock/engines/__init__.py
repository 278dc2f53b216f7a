"""Engines hold elections: a candidate stands in an engine, which tells a leader of the term's end."""
