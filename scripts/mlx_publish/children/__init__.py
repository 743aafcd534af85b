"""The one way to start, limit, feed and end a process."""
