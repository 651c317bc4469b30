"""Files of weights as PyTorch writes them, byte by byte, for tests without PyTorch."""

import io
import json
import struct
import zipfile

import numpy as np

START, STOP = b"\x80\x02", b"."
TYPES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
}
MAGIC = START + b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19" + STOP
PROTOCOL = START + b"M\xe9\x03" + STOP


def text(word):
    return b"X" + struct.pack("<I", len(word.encode())) + word.encode()


def whole(number):
    return b"J" + struct.pack("<i", number)


def name(module, attribute):
    return b"c" + f"{module}\n{attribute}\n".encode()


def items(*values):
    return b"(" + b"".join(values) + b"t"


def sizes(numbers):
    return items(*map(whole, numbers))


def mapping(pairs, *, ordered=True):
    start = name("collections", "OrderedDict") + b")R" if ordered else b"}"
    return start + b"(" + b"".join(text(key) + value for key, value in pairs.items()) + b"u"


def storage(key="0", kind="FloatStorage", size=4, *, view=b""):
    return items(text("storage"), name("torch", kind), text(key), text("cpu"), whole(size), view) + b"Q"


def tensor(stored=None, offset=0, shape=(2, 2), strides=(2, 1), *, function="_rebuild_tensor_v2"):
    stored = storage() if stored is None else stored
    rest = b"" if function == "_rebuild_tensor" else b"\x89" + name("collections", "OrderedDict") + b")R"
    arguments = items(stored, whole(offset), sizes(shape), sizes(strides), rest)
    return name("torch._utils", function) + arguments + b"R"


def pickled(value):
    return START + value + STOP


def described(arrays, *, view=b"", function="_rebuild_tensor_v2"):
    """The opcodes of a state dict of arrays, each with a storage of its own named by its number."""
    return mapping(
        {
            key: tensor(
                storage(str(number), TYPES[array.dtype.name], array.size, view=view),
                0,
                array.shape,
                [stride // array.itemsize for stride in array.strides],
                function=function,
            )
            for number, (key, array) in enumerate(arrays.items())
        }
    )


def torch_zip(value, storages, *, extra=None, method=zipfile.ZIP_STORED, folder="archive/"):
    """The format since PyTorch 1.6; `storages` are bytes by key."""
    members = {
        f"{folder}data.pkl": pickled(value),
        **{f"{folder}data/{key}": content for key, content in storages.items()},
        **(extra or {}),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return buffer.getvalue()


def torch_pickles(value, rows, *, system=None, keys=None):
    """The format before; `rows` are (key, number of numbers, bytes)."""
    little = b"}" + b"(" + text("little_endian") + b"\x88" + b"u"
    listed = b"](" + b"".join(text(key) for key, _, _ in rows) + b"e"
    return (
        MAGIC
        + PROTOCOL
        + pickled(little if system is None else system)
        + pickled(value)
        + pickled(listed if keys is None else keys)
        + b"".join(struct.pack("<q", size) + content for _, size, content in rows)
    )


def write_torch(arrays, *, is_zip=True, **options):
    """A sound file of a state dict, of either format."""
    value = options.pop("value", None) or described(arrays, view=b"" if is_zip else b"N", **options)
    contents = [array.tobytes() for array in arrays.values()]
    if is_zip:
        return torch_zip(value, {str(number): each for number, each in enumerate(contents)})
    rows = [
        (str(number), array.size, each)
        for number, (array, each) in enumerate(zip(arrays.values(), contents, strict=True))
    ]
    return torch_pickles(value, rows)


def write_safetensors(header, data=b"", *, size=None):
    """A file with this header, a text or what becomes JSON."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded) if size is None else size) + encoded + data


def sample_arrays():
    generator = np.random.default_rng(0)
    return {
        "conv.weight": generator.normal(size=(3, 2, 3, 3)).astype(np.float32),
        "norm.running_mean": generator.normal(size=3).astype(np.float32),
        "norm.num_batches_tracked": np.array(7),
    }
