"""GitHub: events, outputs, annotations, summaries, pull requests."""
