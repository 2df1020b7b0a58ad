"""Many runs: search spaces, the sweep over them, and its report."""
