"""Text that comes in and goes out: YAML, JSON, console, numbers, files."""
