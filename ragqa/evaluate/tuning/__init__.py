"""The parts of `ragqa eval tune`: the search space, its evaluation, working copies of a corpus."""
