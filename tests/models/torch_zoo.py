"""Networks of torchvision, timm and efficientnet-lite-pytorch with random weights, run by a Python that has PyTorch.

    python -m tests.models.torch_zoo LIBRARY:NETWORK SIDE FILE

FILE (.npz) gets the weights, two random images and their logits in evaluation. Ends with status 3 where the library is missing.
"""

import importlib
import sys

import numpy as np
import torch


def import_torchvision():
    """torchvision's networks; a build for CUDA beside a PyTorch for CPUs lacks operations that it registers and we need not."""
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        global operations  # they are there as long as this object
        operations = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operations.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module("torchvision.models")


def make(library, network):
    torchvision = import_torchvision()  # timm needs it too
    if library == "torchvision":
        return getattr(torchvision, network)()
    if library == "timm":
        return importlib.import_module("timm").create_model(network)
    return importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name(network)


def main(which, side, path):
    torch.manual_seed(0)
    try:
        model = make(*which.split(":")).eval()
    except ModuleNotFoundError as error:
        print(f"{error}, of benchmarks/peers/requirements.txt", file=sys.stderr)
        sys.exit(3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # else all of them begin alike
            for tensor, low, high in (
                (module.weight, 0.8, 1.2),
                (module.bias, -0.1, 0.1),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.7, 1.3),
            ):
                torch.nn.init.uniform_(tensor, low, high)
    images = torch.rand(2, 3, int(side), int(side))
    with torch.no_grad():
        logits = model(images)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    np.savez(path, images=images.permute(0, 2, 3, 1).numpy(), logits=logits.numpy(), **weights)


if __name__ == "__main__":
    main(*sys.argv[1:])
