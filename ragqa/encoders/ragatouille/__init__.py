"""RAGatouille, and the Stanford ColBERT within it, as an encoder."""
