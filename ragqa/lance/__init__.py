"""A corpus as a Lance dataset: its tables, opening and reading it, conditions in its SQL.

LanceDB is optional (`pip install 'ragqa[scale]'`) and imported where it is used.
"""
