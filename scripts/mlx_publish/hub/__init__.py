"""The only room that talks to a Hub."""

import os

# Before huggingface_hub is loaded, which draws bars of its own else: our console alone shows progress.
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
