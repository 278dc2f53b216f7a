"""Judges the facts about a lock: pure functions, without files, ``/proc`` or a clock."""
