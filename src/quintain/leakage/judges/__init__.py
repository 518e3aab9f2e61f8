"""One judge for each goal: it alone sees the answer, and compares all attacks of the goal with it alike."""
