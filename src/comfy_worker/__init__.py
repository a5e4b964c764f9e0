"""A RunPod serverless worker that turns ComfyUI into an API: one job in, one response out."""
