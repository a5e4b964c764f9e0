"""All that knows ComfyUI's protocol: events, refusals, HTTP client, websocket listener, server process, its folders."""
