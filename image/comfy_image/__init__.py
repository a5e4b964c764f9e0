"""What runs while the image is built: custom nodes and models. Standard library only."""
