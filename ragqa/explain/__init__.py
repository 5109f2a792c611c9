"""Why a passage was found: which of its words met which words of the question, and what each was worth."""
