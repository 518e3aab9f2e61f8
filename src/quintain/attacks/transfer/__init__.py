"""Transfer attacks: gradient attacks whose points carry over to other models."""
