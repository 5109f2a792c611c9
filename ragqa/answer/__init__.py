"""From ranked passages to an answer: context, prompt, the model's call, citations."""
