"""An embedded stand-in for the ComfyUI server that really computes pictures, with Pillow on the CPU.

As a program: `python -m local_comfyui --port 8188 --directory DIR`. In Python: `LocalComfyUI`.
"""

from local_comfyui.embedded import LocalComfyUI
from local_comfyui.faults import Faults
from local_comfyui.journal import Journal

__all__ = ["Faults", "Journal", "LocalComfyUI"]
