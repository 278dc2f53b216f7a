"""The directory in which Django looks for commands."""
