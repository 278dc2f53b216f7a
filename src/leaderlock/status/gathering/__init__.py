"""Gathers the facts about locks: opens files, reads ``/proc``, and judges nothing."""
