"""What takes over where one machine is not enough: Ray for the work, LanceDB for the search.

Both are optional (`pip install 'ragqa[scale]'`) and imported where they are used.
"""
