"""`python -m local_comfyui`."""

import sys

from local_comfyui.command_line import main

sys.exit(main())
