"""The least that RunPod's SDK starts: what the start of `handler.py` is compared with."""

import runpod

if __name__ == "__main__":
    runpod.serverless.start({"handler": lambda job: {}})
