"""Pictures from captions with a trained run: from Python, and what the command line makes of it."""
