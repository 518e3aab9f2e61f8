"""A whole private run, what helps it, and what it resumes from."""
