"""The workshop: where ragqa's own constants are fitted and its claims are measured, by `make` and by hand.

It uses the product as its users do and is no part of it: nothing in `ragqa/` may import from here, and the
wheel does not hold it.
"""
