"""One private step: clipped, summed, noised, and nothing else let through."""
