"""What every part stands on: errors, seeds, statistics, the registry, progress and the run store.

No torch here.
"""
