"""Training: checkpoints that fit a corpus, and what their training pairs are made of."""
