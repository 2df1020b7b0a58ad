"""The command line: it stands on top of everything and imports the jobs it starts, when it starts them."""
