"""What the operating system tells and does: the lock table, file systems, flock, native threads."""
