"""The authors' released weights: their names, and runs from them and back."""
