"""`make bench`: what ragqa does, timed against the libraries that a user would otherwise call.

One room per kind of work, each giving Rows; `measure` times and `report` prints. No figure is asserted:
a row says what was to be reached and whether it was.
"""
