"""What GitHub gives and takes: events, outputs, annotations, summaries."""
