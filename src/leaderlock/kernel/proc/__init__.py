"""Reads ``/proc``: locks and their queues, processes, mounts, containers, open files."""
