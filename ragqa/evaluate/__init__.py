"""Evaluation: question sets with relevance judgements, and metrics over what a pipeline finds."""
