"""A run to take away: networks and tokenizer in formats of others, with a model card."""
