"""The room that renders chat templates as transformers does, without MLX or transformers, in a child process."""
