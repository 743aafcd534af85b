"""The only room that imports MLX, and always in a child process.

`child` runs a job from outside; `python -m mlx_publish.engine JOB RESULT` is the inside. The modules
`convert`, `generate`, `speed` and `fidelity` are imported there alone.
"""
