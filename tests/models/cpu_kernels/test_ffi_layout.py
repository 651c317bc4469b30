"""Offsets and sizes against the header that jaxlib ships."""

import re
from pathlib import Path

import jax
import pytest

from medjax.models.cpu_kernels import ffi_handler
from medjax.models.cpu_kernels.ffi_layout import API_VERSION, ENUMERATORS, OFFSETS, SIZES

TEXT = (Path(jax.ffi.include_dir()) / "xla/ffi/api/c_api.h").read_text(encoding="utf-8")
CODE = re.sub(r"//[^\n]*|/\*.*?\*/", "", TEXT, flags=re.DOTALL)
STRUCTS = dict(re.findall(r"struct XLA_FFI_(\w+) \{([^}]*)\}", CODE))
ENUMS = set(re.findall(r"enum \{[^}]*\} (\w+);", CODE))
NUMBERS = {"size_t": 8, "int64_t": 8, "int": 4, "int32_t": 4, "uint32_t": 4}
NUMBERS |= {name: NUMBERS[base] for base, name in re.findall(r"typedef (u?int\d+_t) (\w+);", CODE)}


def size_and_alignment(type_name):
    if "*" in type_name:
        return 8, 8
    name = type_name.removeprefix("const ").removeprefix("struct ").strip()
    if name in ENUMS:
        return 4, 4
    if name in NUMBERS:
        return NUMBERS[name], NUMBERS[name]
    fields = layout(name.removeprefix("XLA_FFI_"))
    alignment = max(size_and_alignment(type_name)[1] for type_name, _ in fields.values())
    last_type, last_offset = list(fields.values())[-1]
    return round_up(last_offset + size_and_alignment(last_type)[0], alignment), alignment


def round_up(number, multiple):
    return -(-number // multiple) * multiple


def layout(struct):
    """Type and offset of every field of a structure, in order, by C's rules."""
    fields, offset = {}, 0
    declarations = re.sub(r"_XLA_FFI_API_STRUCT_FIELD\((\w+)\)", r"\1* \1", STRUCTS[struct])
    for declaration in filter(None, (text.strip() for text in declarations.split(";"))):
        type_name, field = re.fullmatch(r"(.*?)(\w+)", declaration, re.DOTALL).groups()
        size, alignment = size_and_alignment(type_name)
        offset = round_up(offset, alignment)
        fields[field] = type_name, offset
        offset += size
    return fields


def offset_of(path):
    """Offset of `Struct.field`, or of `Struct.field.field` where the first field is a structure itself."""
    struct, *fields = path.split(".")
    total = 0
    for field in fields:
        type_name, offset = layout(struct)[field]
        struct = type_name.strip().removeprefix("XLA_FFI_")
        total += offset
    return total


@pytest.mark.parametrize("path", OFFSETS)
def test_offsets_are_those_of_the_header(path):
    assert OFFSETS[path] == offset_of(path)


@pytest.mark.parametrize("struct", SIZES)
def test_sizes_are_those_that_the_header_defines(struct):
    [last] = re.findall(rf"XLA_FFI_DEFINE_STRUCT_TRAITS\(XLA_FFI_{struct},\s*(\w+)\)", CODE)
    type_name, offset = layout(struct)[last]
    assert SIZES[struct] == offset + size_and_alignment(type_name)[0]


@pytest.mark.parametrize("name", ENUMERATORS)
def test_enumerators_are_those_of_the_header(name):
    assert re.findall(rf"XLA_FFI_{name} = (\d+)", CODE) == [str(ENUMERATORS[name])]


def test_the_version_is_not_newer_than_the_header():
    major, minor = (int(re.search(rf"XLA_FFI_API_{part} (\d+)", CODE)[1]) for part in ("MAJOR", "MINOR"))
    assert (major, minor) >= API_VERSION
    assert major == API_VERSION[0]


def test_the_runner_gets_every_offset_from_here():
    assert not re.findall(r"getelementptr i8, ptr \S+, i64 \d", ffi_handler._RUNNER)
    text = ffi_handler.write_runner()
    used = set(map(int, re.findall(r"getelementptr i8, ptr \S+, i64 (\d+)", text)))
    assert used == set(OFFSETS.values())


def test_the_layout_follows_the_rules_of_c():
    # By hand: int32_t after size_t, pointer, padding to 8 before a pointer, nested structures aligned as their fields.
    assert [offset for _, offset in layout("Buffer").values()] == [0, 8, 16, 24, 32, 40]
    assert layout("CallFrame")["args"][1] == 40
    assert size_and_alignment("XLA_FFI_Args") == (40, 8)
