"""A question's way to its passages: the contracts of stages, their registry, one search and many."""
