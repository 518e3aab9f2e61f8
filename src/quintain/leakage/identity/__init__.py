"""Model inversion: pictures of the people behind a model's classes, by gradients, scores or labels."""
