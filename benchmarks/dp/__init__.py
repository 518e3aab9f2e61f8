"""Private training beside plain training and Opacus: time and memory of a step, choice of norms, utility."""
