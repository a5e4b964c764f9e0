"""The HTTP and websocket routes of the embedded server."""
