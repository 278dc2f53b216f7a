"""`leaderlock run`: waits for the lock, then runs one command as a good PID 1 would."""
