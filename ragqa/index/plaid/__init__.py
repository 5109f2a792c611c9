"""PLAID, RAGatouille's compressed index of token vectors, kept beside the corpus."""
