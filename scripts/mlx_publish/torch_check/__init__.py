"""The only room that imports PyTorch, always in a child process, of another Python where the user names one.

`child` starts it; `python -m mlx_publish.torch_check FOLDER` is the inside. It needs nothing of the other rooms.
"""
