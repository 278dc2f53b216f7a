"""Where elections are held: what a candidate stands in, and what tells a leader that it is over."""
