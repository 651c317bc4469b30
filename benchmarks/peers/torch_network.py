"""A tree of layers as a PyTorch module, for images in channels-last memory."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from benchmarks import layers
from benchmarks.layers import Layer

Shape = tuple[int, ...]  # of one image: channel, height, width; or of one row

_ACTIVATIONS = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
}


class TorchNetwork(nn.Module):
    """The network, and its layers under the names that Linen gives them."""

    def __init__(self, tree: Layer, shape: Shape) -> None:
        super().__init__()
        builder = _Builder()
        self.root, _ = builder.build(tree, shape)
        self.named_layers = builder.named

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.root(images)

    def load(self, arrays: Mapping[str, Tensor]) -> None:
        """Take parameters and statistics under Linen's names, as `Conv_0/kernel`; all of them, or KeyError."""
        for name, layer in self.named_layers.items():
            for key, tensor in layer.state_dict().items():
                if key == "num_batches_tracked":
                    continue
                array = arrays[f"{name}/{_find_linen_name(key, tensor)}"]
                tensor.copy_(array.permute(_LINEN_AXES[array.ndim]))


_LINEN_AXES = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}  # Linen's axes in PyTorch's order, by their number


def _find_linen_name(key: str, tensor: Tensor) -> str:
    names = {"bias": "bias", "running_mean": "mean", "running_var": "var"}
    return names.get(key) or ("scale" if tensor.ndim == 1 else "kernel")


class _Builder:
    def __init__(self) -> None:
        self.named: dict[str, nn.Module] = {}
        self._counts: Counter[str] = Counter()

    def build(self, layer: Layer, shape: Shape) -> tuple[nn.Module, Shape]:
        """The module, and the shape of what it makes of `shape`."""
        match layer:
            case layers.Chain():
                return self._build_chain(layer.layers, shape)
            case layers.Residual():
                branch, out = self.build(layer.branch, shape)
                shortcut, _ = self.build(layer.shortcut, shape)
                last = layer.branch.layers[-1]
                return _Sum(branch, shortcut, in_place=_leaves_output_free(last)), out
            case layers.Gate():
                return _Product(self.build(layer.branch, shape)[0]), shape
            case layers.Concatenate():
                branches, shapes = zip(*(self.build(each, shape) for each in layer.branches), strict=True)
                return _Concatenation(branches), (sum(each[0] for each in shapes), *shapes[0][1:])
        module = self._build_leaf(layer, shape)
        with torch.no_grad():
            return module, tuple(module.eval()(torch.zeros(1, *shape)).shape[1:])

    def _build_chain(self, chain: Sequence[Layer], shape: Shape) -> tuple[nn.Module, Shape]:
        modules = []
        ordered = _pool_first(chain)
        for before, layer in zip((None, *ordered), ordered, strict=False):
            module, shape = self.build(layer, shape)
            if isinstance(module, nn.ReLU | nn.ReLU6):
                module.inplace = before is not None and _leaves_output_free(before)
            modules.append(module)
        return nn.Sequential(*modules), shape

    def _build_leaf(self, layer: Layer, shape: Shape) -> nn.Module:
        channels = shape[0]
        match layer:
            case layers.Conv():
                padding = _find_padding(layer, shape[1])
                sizes = layer.kernel, layer.stride, padding, layer.dilation, layer.groups, layer.use_bias
                return self._name("Conv", nn.Conv2d(channels, layer.features, *sizes))
            case layers.Norm(kind="batch"):
                return self._name("BatchNorm", nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1))
            case layers.Norm(kind="group"):
                return self._name("GroupNorm", nn.GroupNorm(layer.groups, channels, eps=1e-6))
            case layers.Norm(kind="layer"):
                return _OverChannels(self._name("LayerNorm", nn.LayerNorm(channels, eps=1e-6)))
            case layers.Dense():
                return _OverChannels(self._name("Dense", nn.Linear(channels, layer.features)))
            case layers.Activation():
                return _ACTIVATIONS[layer.kind]()
            case layers.Pool():
                pool = nn.MaxPool2d if layer.kind == "max" else nn.AvgPool2d
                return pool(layer.window, layer.stride, layer.padding)
            case layers.GlobalMean():
                return _Mean(layer.keeps_axes)
            case layers.Flatten():
                return _Rows()
        raise TypeError(f"no layer: {layer}")

    def _name(self, kind: str, module: nn.Module) -> nn.Module:
        self.named[f"{kind}_{self._counts[kind]}"] = module
        self._counts[kind] += 1
        return module


def _leaves_output_free(layer: Layer) -> bool:
    """Whether the output is the layer's own and no gradient needs it, so that the next layer may overwrite it."""
    return isinstance(layer, layers.Conv | layers.Dense | layers.Norm | layers.Pool | layers.Residual)


def _pool_first(chain: Sequence[Layer]) -> list[Layer]:
    """Max-pooling before ReLU instead of after it: the same function, and up to 1.2 times as fast."""
    ordered = list(chain)
    for index in range(1, len(ordered)):
        before, layer = ordered[index - 1 : index + 1]
        is_relu = isinstance(before, layers.Activation) and before.kind in ("relu", "relu6")
        if is_relu and isinstance(layer, layers.Pool) and layer.kind == "max":
            ordered[index - 1 : index + 1] = layer, before
    return ordered


def _find_padding(layer: layers.Conv, side: int) -> int | str:
    """As Linen pads, but the same at all edges where a stride of SAME would pad unequally.

    That shifts the windows by a pixel, and is what a PyTorch user writes; to pad by itself would cost a copy.
    """
    if isinstance(layer.padding, int):
        return layer.padding
    if layer.padding == "VALID":
        return 0
    extent = (layer.kernel - 1) * layer.dilation + 1
    total = max((-(-side // layer.stride) - 1) * layer.stride + extent - side, 0)
    return "same" if layer.stride == 1 and total % 2 else (total + 1) // 2


class _OverChannels(nn.Module):
    """A layer over the last axis; of images in channels-last memory that is a view."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if x.ndim == 4 else self.layer(x)


class _Rows(nn.Module):
    """In the order of channels-last memory, which is a view."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class _Mean(nn.Module):
    def __init__(self, keeps_axes: bool) -> None:
        super().__init__()
        self.keeps_axes = keeps_axes

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=self.keeps_axes)


class _Sum(nn.Module):
    def __init__(self, branch: nn.Module, shortcut: nn.Module, *, in_place: bool) -> None:
        super().__init__()
        self.branch, self.shortcut, self.in_place = branch, shortcut, in_place

    def forward(self, x: Tensor) -> Tensor:
        branch, shortcut = self.branch(x), self.shortcut(x)
        return branch.add_(shortcut) if self.in_place else branch + shortcut


class _Product(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x * self.branch(x)


class _Concatenation(nn.Module):
    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)
