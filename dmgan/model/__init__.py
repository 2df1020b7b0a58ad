"""The networks, Eq. 3–9 and 13, and what builds them from a configuration."""
