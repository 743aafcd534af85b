"""`doctor`: whether this machine can do the whole way, each finding with the command that mends it."""
