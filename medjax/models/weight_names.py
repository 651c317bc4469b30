"""From names in published weights to parameters of our networks, as rules that are applied one after the other."""

import re
from collections.abc import Iterable, Mapping

from medjax.models.efficientnet import STAGES

Rule = tuple[str, str]  # a regular expression and what is put in the place of each match

UNUSED = re.compile(r"(^|\.)num_batches_tracked$")
"""Entries that PyTorch saves and nobody needs."""


def path_of(model: str, name: str, num_axes: int) -> str:
    """The path in our network of an entry with so many axes, such as "features/conv1/kernel"; of an unknown one any other."""
    for pattern, replacement in RULES[model]:
        name = re.sub(pattern, replacement, name)
    if not name.startswith("head."):
        name = f"features.{name}"
    module, _, leaf = name.rpartition(".")
    leaves = {"weight": "kernel" if num_axes > 1 else "scale", "running_mean": "mean", "running_var": "var"}
    return "/".join((*module.split("."), leaves.get(leaf, leaf)))


def _inside(module: str, names: Mapping[str, str]) -> Iterable[Rule]:
    """Rules for the parts of a module, which a regular expression names."""
    return [(rf"^({module})\.{old}\.", rf"\1.{new}.") for old, new in names.items()]


# timm numbers blocks within their stage, and calls parts of the first block as parts of others with another task.
_TIMM_STAGED = [(stage, number) for stage, row in enumerate(STAGES) for number in range(row[-1])]
_TIMM_FIRST = {
    "conv_dw": "depthwise_conv",
    "bn1": "depthwise_norm",
    "conv_pw": "project_conv",
    "bn2": "project_norm",
}
_TIMM_OTHERS = {
    "conv_pw": "expand_conv",
    "bn1": "expand_norm",
    "conv_dw": "depthwise_conv",
    "bn2": "depthwise_norm",
    "conv_pwl": "project_conv",
    "bn3": "project_norm",
}
_LUKEMELAS = {
    "_expand_conv": "expand_conv",
    "_bn0": "expand_norm",
    "_depthwise_conv": "depthwise_conv",
    "_bn1": "depthwise_norm",
    "_project_conv": "project_conv",
    "_bn2": "project_norm",
}

_RESNET: list[Rule] = [(r"^fc\.", "head.logits."), (r"\.(\d+)\.", r"_\1.")]

RULES: Mapping[str, list[Rule]] = {
    "resnet18": _RESNET,  # torchvision, timm
    "resnet50": _RESNET,
    "densenet121": [  # torchvision, its older files too, which have norm.1 for norm1; timm
        (r"^classifier\.", "head.logits."),
        (r"^features\.", ""),
        (r"^(denseblock\d+)\.", r"\1_"),
        (r"\.(norm|conv)\.(\d)\.", r".\1\2."),
    ],
    "vgg16": [
        (r"^features\.(\d+)\.", r"layer_\1."),
        (r"^(classifier\.0|pre_logits\.fc1)\.", "head.hidden_0."),  # torchvision, timm
        (r"^(classifier\.3|pre_logits\.fc2)\.", "head.hidden_1."),
        (r"^(classifier\.6|head\.fc)\.", "head.logits."),
    ],
    "efficientnet_lite0": [
        (r"^(_fc|classifier)\.", "head.logits."),  # lukemelas, timm
        (r"^_?conv_stem\.", "stem_conv."),
        (r"^(_bn0|bn1)\.", "stem_norm."),
        (r"^_?conv_head\.", "last_conv."),
        (r"^(_bn1|bn2)\.", "last_norm."),
        *(
            (rf"^blocks\.{stage}\.{number}\.", f"block_{index}.")
            for index, (stage, number) in enumerate(_TIMM_STAGED)
        ),
        *_inside("block_0", _TIMM_FIRST),
        *_inside(r"block_\d+", _TIMM_OTHERS),
        (r"^_blocks\.(\d+)\.", r"block_\1."),
        *_inside(r"block_\d+", _LUKEMELAS),
    ],
    "vit_tiny": [  # timm
        (r"^head\.", "head.logits."),
        (r"^patch_embed\.proj\.", "patch_embed."),
        (r"^blocks\.(\d+)\.", r"block_\1."),
        (r"\.(attn|mlp)\.", "."),
    ],
}
"""By the names of `MODELS`."""

FIRST_KERNELS: Mapping[str, str] = {
    "resnet18": "features/conv1/kernel",
    "resnet50": "features/conv1/kernel",
    "densenet121": "features/conv0/kernel",
    "vgg16": "features/layer_0/kernel",
    "efficientnet_lite0": "features/stem_conv/kernel",
    "vit_tiny": "features/patch_embed/kernel",
}
"""Of the convolution that is given the image."""
