"""A corpus in a Lance dataset: its columns and manifest, reading it and searching it."""
