"""Networks by name: those of medjax, and those of a user, which are imported only because the user names them."""

import ast
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medjax.errors import refuse
from medjax.models.cnn import CNN
from medjax.models.densenet import densenet121
from medjax.models.efficientnet import efficientnet_lite0
from medjax.models.network import parameter_names
from medjax.models.resnet import resnet18, resnet50
from medjax.models.vgg import vgg16
from medjax.models.vision_transformer import vit_tiny

MODELS: dict[str, Callable[..., Any]] = {
    "cnn": CNN,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "densenet121": densenet121,
    "vgg16": vgg16,
    "efficientnet_lite0": efficientnet_lite0,
    "vit_tiny": vit_tiny,
}
"""Networks of medjax: from the number of classes and settings to a Linen module."""

_FORMS = "name package.module:name, or file.py:name, of a function or class that takes the number of classes"


class ModelFactory(NamedTuple):
    """A function from the number of classes to a model of any kind that `as_network` takes."""

    name: str  # as the user wrote it
    factory: Callable[..., Any]
    settings: Mapping[str, Any]

    def make(self, num_classes: int) -> Any:
        """The model; of NNX a factory that still takes `rngs`. RefusedError for settings that the factory does not take."""
        if "rngs" in parameter_names(self.factory):
            return functools.partial(self.factory, num_classes, **self.settings)
        try:
            return self.factory(num_classes, **self.settings)
        except TypeError as error:
            raise refuse(
                f"--model {self.name}", f"cannot be called: {error}", "see --model-set key=value"
            ) from error


def load_model(spec: str, settings: Sequence[str] = ()) -> ModelFactory:
    """The factory that `spec` names: in `MODELS`, in a module that Python finds, or in a file.

    `settings` are texts "key=value" whose values are Python literals, or else plain text. A module is imported, which runs
    its code: `spec` must come from the user, never from a file. Raises RefusedError where nothing is found.
    """
    parsed = dict(map(_parse_setting, settings))
    if spec in MODELS:
        return ModelFactory(spec, MODELS[spec], parsed)
    module_name, separator, attribute = spec.rpartition(":")
    if not separator or not module_name or not attribute:
        raise refuse(f"--model {spec}", f"is none of {', '.join(MODELS)}", _FORMS)
    module = (
        _import_file(spec, Path(module_name))
        if module_name.endswith(".py")
        else _import_module(spec, module_name)
    )
    factory = getattr(module, attribute, None)
    if not callable(factory):
        reason = f"{module_name} has no function or class {attribute}"
        raise refuse(f"--model {spec}", reason, _FORMS)
    return ModelFactory(spec, factory, parsed)


def _parse_setting(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise refuse(f"--model-set {text}", "is no key=value", "as --model-set width=32")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def _import_module(spec: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise  # a module that the user's own module imports
        remedy = "name a file, as model.py:name, or put its folder on PYTHONPATH"
        raise refuse(f"--model {spec}", f"there is no module {name}", remedy) from error


def _import_file(spec: str, path: Path) -> Any:
    if not path.is_file():
        raise refuse(f"--model {spec}", f"there is no file {path}", _FORMS)
    name = f"medjax_model_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None  # every .py file has one
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses, of which Linen modules are made, look their module up there
    folder = str(path.parent.absolute())
    if folder not in sys.path:
        sys.path.append(folder)  # at the end: the file may import its neighbors, which hide no other module
    found.loader.exec_module(module)
    return module
