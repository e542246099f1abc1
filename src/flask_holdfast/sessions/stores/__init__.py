"""Where session records are kept. `base` is the contract that every store obeys."""
