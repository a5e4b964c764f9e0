# A real ComfyUI on this machine, and the image. Included by the Makefile.
COMFYUI_FOLDER ?= comfyui
export COMFYUI_REPOSITORY COMFYUI_COMMIT COMFYUI_VERSION TORCH TORCH_INDEX_URL

.PHONY: comfyui image check-image lock

comfyui:  ## install a real ComfyUI into ./comfyui, for CPU or the GPU found (COMFYUI_VERSION=... TORCH_INDEX_URL=...)
	@PYTHON=$(PYTHON) image/local-comfyui $(COMFYUI_FOLDER)

image:  ## build the worker-cpu image with Docker
	docker build --target worker-cpu --tag comfyui-worker-cpu .

check-image:  ## lint, build and try the image without Docker (Debian, as root)
	@.ci/image

# The image's pins, made anew from requirements.txt and from the ComfyUI in COMFYUI_FOLDER. Needs uv.
lock:
	@image/lock $(COMFYUI_FOLDER)
