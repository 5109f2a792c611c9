"""One corpus for programs that ask again and again: a library, a conversation, what models are handed."""
