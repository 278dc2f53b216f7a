"""`leaderlock run`: waits for the lock, runs a command, and does a parent's duties by it."""
