"""Whole ways from data that others made to a report; each in a folder with a README."""
