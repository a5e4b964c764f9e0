"""`python $COMFYUI_PATH/main.py ...`: started the way a checkout of ComfyUI is.

Python puts this file's folder in front of sys.path, where `cache.py` and the like could be taken for somebody else's
modules; the package is found through its parent instead.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [path for path in sys.path if os.path.abspath(path or os.curdir) != _HERE]
sys.path.insert(0, os.path.dirname(_HERE))

from local_comfyui.command_line import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
