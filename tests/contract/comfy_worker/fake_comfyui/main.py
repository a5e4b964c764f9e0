"""As little of a ComfyUI as can be launched: it answers /system_stats, and misbehaves as FAKE_COMFYUI_DIR says.

`behaviour.json` in that folder is read at each start: {"exit_at_start": 3, "bad_starts": [0, 1], "deaf": true,
"ignore_sigterm": true, "child": true}; without "bad_starts" all starts exit. Each start appends what it was given to
`starts.jsonl`.
"""

import argparse
import http.server
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

folder = Path(os.environ["FAKE_COMFYUI_DIR"])
behaviour = json.loads((folder / "behaviour.json").read_text())
# The same options as ComfyUI's.
parser = argparse.ArgumentParser()
parser.add_argument("--listen", nargs="?", default="127.0.0.1", const="0.0.0.0,::")
parser.add_argument("--port", type=int, default=8188)
parser.add_argument("--verbose", nargs="?", default="INFO", const="DEBUG")
parser.add_argument("--cpu", action="store_true")
options = parser.parse_args()

if behaviour.get("ignore_sigterm"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"]) if behaviour.get("child") else None
start = {
    "at": time.monotonic(),
    "pid": os.getpid(),
    "child": child.pid if child else None,
    "argv": sys.argv,
    "listen": options.listen,
    "verbose": options.verbose,
    "folder": os.getcwd(),
    "environment": sorted(os.environ),
}
with (folder / "starts.jsonl").open("a+") as starts:
    starts.seek(0)
    number = len(starts.readlines())
    starts.write(json.dumps(start) + "\n")
sys.stdout.write("fake ComfyUI says hello\n")
sys.stdout.flush()

if "exit_at_start" in behaviour and number in behaviour.get("bad_starts", [number]):
    sys.exit(behaviour["exit_at_start"])
if behaviour.get("deaf"):
    time.sleep(600)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path == "/system_stats"
        body = b'{"system": {"comfyui_version": "fake"}, "devices": []}' if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


http.server.ThreadingHTTPServer((options.listen, options.port), Handler).serve_forever()
