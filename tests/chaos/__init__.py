"""The chaos machine: random faults, leaders that mark their terms in shared memory, and a checker."""
