"""Ray, where one machine is not enough: a cluster, its workers, indexing and searching on them.

Ray is optional (`pip install 'ragqa[scale]'`) and imported where it is used. Nothing below may know of it.
"""
