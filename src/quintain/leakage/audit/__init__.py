"""Lower bounds on epsilon from the scores of canaries, and whether each was included."""
