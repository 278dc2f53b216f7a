"""What ``/proc`` tells: locks and their queues, processes, mounts, containers, open files."""
