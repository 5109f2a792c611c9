"""Everything that touches RAGatouille: its models as an engine, its PLAID index, and what tames both."""
