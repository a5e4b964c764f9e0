"""Nodes that need models. The validator knows them, so that a client gets the refusals of a ComfyUI without models;
none of them can run here, and none pretends to."""

from __future__ import annotations

from typing import Any

from local_comfyui.nodes.declaration import (
    MAX_RESOLUTION,
    Input,
    NodeCall,
    NodeResult,
    NodeType,
    choice,
    files,
    integer,
    number,
)


def _refuse(call: NodeCall, **inputs: Any) -> NodeResult:
    class_type = call.prompt[call.node_id]["class_type"]
    raise RuntimeError(
        f"The embedded server computes without models and cannot run {class_type}. Point COMFY_HOST or COMFYUI_PATH "
        f"to a real ComfyUI for workflows that load a model."
    )


_SAMPLERS = [
    "euler",
    "euler_cfg_pp",
    "euler_ancestral",
    "euler_ancestral_cfg_pp",
    "heun",
    "heunpp2",
    "exp_heun_2_x0",
    "exp_heun_2_x0_sde",
    "dpm_2",
    "dpm_2_ancestral",
    "lms",
    "dpm_fast",
    "dpm_adaptive",
    "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp",
    "dpmpp_sde",
    "dpmpp_sde_gpu",
    "dpmpp_2m",
    "dpmpp_2m_cfg_pp",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu",
    "dpmpp_2m_sde_heun",
    "dpmpp_2m_sde_heun_gpu",
    "dpmpp_3m_sde",
    "dpmpp_3m_sde_gpu",
    "ddpm",
    "lcm",
    "ipndm",
    "ipndm_v",
    "deis",
    "res_multistep",
    "res_multistep_cfg_pp",
    "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp",
    "gradient_estimation",
    "gradient_estimation_cfg_pp",
    "er_sde",
    "seeds_2",
    "seeds_3",
    "sa_solver",
    "sa_solver_pece",
    "ddim",
    "uni_pc",
    "uni_pc_bh2",
]

_SCHEDULERS = [
    "simple",
    "sgm_uniform",
    "karras",
    "exponential",
    "ddim_uniform",
    "beta",
    "normal",
    "linear_quadratic",
    "kl_optimal",
]

_CLIP_TYPES = [
    "stable_diffusion",
    "stable_cascade",
    "sd3",
    "stable_audio",
    "mochi",
    "ltxv",
    "pixart",
    "cosmos",
    "lumina2",
    "wan",
    "hidream",
    "chroma",
    "ace",
    "omnigen2",
    "qwen_image",
    "hunyuan_image",
    "flux2",
    "ovis",
    "longcat_image",
    "cogvideox",
    "lens",
    "pixeldit",
    "ideogram4",
    "boogu",
    "krea2",
]


def _node(
    name: str, display_name: str | None, category: str, inputs: tuple[Input, ...], outputs: str, module: str = "nodes"
) -> NodeType:
    return NodeType(
        name=name,
        display_name=display_name,
        category=f"model/{category}",
        inputs=inputs,
        outputs=tuple(outputs.split()),
        run=_refuse,
        module=module,
        modern=module != "nodes",
    )


NODES = (
    _node(
        "CheckpointLoaderSimple", "Load Checkpoint", "loaders", (files("ckpt_name", "checkpoints"),), "MODEL CLIP VAE"
    ),
    _node(
        "UNETLoader",
        "Load Diffusion Model",
        "loaders",
        (
            files("unet_name", "diffusion_models"),
            choice("weight_dtype", "default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2", advanced=True),
        ),
        "MODEL",
    ),
    _node(
        "CLIPLoader",
        "Load CLIP",
        "loaders",
        (
            files("clip_name", "text_encoders"),
            choice("type", *_CLIP_TYPES),
            choice("device", "default", "cpu", optional=True, advanced=True),
        ),
        "CLIP",
    ),
    _node("VAELoader", "Load VAE", "loaders", (files("vae_name", "vae", "pixel_space"),), "VAE"),
    _node(
        "LoraLoader",
        "Load LoRA (Model and CLIP)",
        "loaders",
        (
            Input("model", "MODEL"),
            Input("clip", "CLIP"),
            files("lora_name", "loras"),
            number("strength_model", 1.0, -100.0, 100.0, 0.01),
            number("strength_clip", 1.0, -100.0, 100.0, 0.01),
        ),
        "MODEL CLIP",
    ),
    _node(
        "CLIPTextEncode",
        "CLIP Text Encode (Prompt)",
        "conditioning",
        (Input("text", "STRING", {"multiline": True, "dynamicPrompts": True}), Input("clip", "CLIP")),
        "CONDITIONING",
    ),
    _node(
        "EmptyLatentImage",
        "Empty Latent Image",
        "latent",
        (
            integer("width", 512, 16, MAX_RESOLUTION, 8),
            integer("height", 512, 16, MAX_RESOLUTION, 8),
            integer("batch_size", 1, 1, 4096),
        ),
        "LATENT",
    ),
    _node(
        "EmptySD3LatentImage",
        None,
        "latent/stable diffusion",
        (
            integer("width", 1024, 16, MAX_RESOLUTION, 16),
            integer("height", 1024, 16, MAX_RESOLUTION, 16),
            integer("batch_size", 1, 1, 4096),
        ),
        "LATENT",
        "comfy_extras.nodes_sd3",
    ),
    _node(
        "FluxGuidance",
        None,
        "conditioning/flux",
        (Input("conditioning", "CONDITIONING"), number("guidance", 3.5, 0.0, 100.0, 0.1)),
        "CONDITIONING",
        "comfy_extras.nodes_flux",
    ),
    _node(
        "KSampler",
        "KSampler",
        "sampling",
        (
            Input("model", "MODEL"),
            integer("seed", 0, 0, 0xFFFFFFFFFFFFFFFF, control_after_generate=True),
            integer("steps", 20, 1, 10000),
            number("cfg", 8.0, 0.0, 100.0, 0.1, round=0.01),
            choice("sampler_name", *_SAMPLERS),
            choice("scheduler", *_SCHEDULERS),
            Input("positive", "CONDITIONING"),
            Input("negative", "CONDITIONING"),
            Input("latent_image", "LATENT"),
            number("denoise", 1.0, 0.0, 1.0, 0.01),
        ),
        "LATENT",
    ),
    _node("VAEDecode", "VAE Decode", "latent", (Input("samples", "LATENT"), Input("vae", "VAE")), "IMAGE"),
    _node("VAEEncode", "VAE Encode", "latent", (Input("pixels", "IMAGE"), Input("vae", "VAE")), "LATENT"),
)
