"""Language: words, stop words, what names a thing. Text only: no corpus, no vectors, no answers."""
