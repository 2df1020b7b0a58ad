"""Captioned emoji: pictures and texts from npm packages, laid out for `python -m datasets.pack folder`."""
