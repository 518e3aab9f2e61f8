"""Private sampling of batches: Poisson, shuffled epochs and balls-in-bins, over records or privacy units."""
