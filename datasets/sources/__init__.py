"""Readers of captioned images as people have them."""
