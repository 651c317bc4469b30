"""Compiles LLVM IR to machine code in memory for the CPU at hand, cached on disk where JAX caches its programs."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import jax
import llvmlite
import llvmlite.binding as llvm

_DIGEST_BYTES = 32


class MachineCode:
    """Compiled functions; their code stays in memory as long as this object."""

    def __init__(self, object_file: bytes) -> None:
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(object_file))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """The address of a function."""
        return self._engine.get_function_address(name)


def load(write: Callable[[], str], identity: Sequence[str], *, is_thorough: bool = True) -> MachineCode:
    """Load the code cached under `identity`; where there is none, compile the LLVM IR that `write` returns, and cache it.

    Unless it is to be thorough, LLVM runs only the two passes that loops written with care need, in half the time.

    The cache is `jax_compilation_cache_dir`, whose owner is trusted as JAX trusts it. Files are for one processor and
    one version of LLVM.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    path = _cache_path(identity)
    object_file = None if path is None else _read_cached(path)
    if object_file is None:
        object_file = _compile(write(), is_thorough)
        if path is not None:
            _write_cached(path, object_file)
    return MachineCode(object_file)


def add_symbol(name: str, address: int) -> None:
    """Give a name to an address, for code that is loaded after this and calls it."""
    llvm.add_symbol(name, address)


def _compile(text: str, is_thorough: bool = True) -> bytes:
    module, machine = llvm.parse_assembly(text), _target_machine()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    # Loops are written as they should run: unrolling them brings nothing and takes two fifths of the time.
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    if is_thorough:
        passes = builder.getModulePassManager()
    else:
        passes = llvm.create_new_module_pass_manager()
        passes.add_sroa_pass()  # variables to registers
        passes.add_simplify_cfg_pass()
    passes.run(module, builder)
    return machine.emit_object(module)


def _target_machine() -> llvm.TargetMachine:
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )


def _cache_path(identity: Sequence[str]) -> Path | None:
    """The cached object file of an identity, for this processor and version of LLVM; None without a cache directory."""
    folder = jax.config.values["jax_compilation_cache_dir"]
    if not folder or not jax.config.values["jax_enable_compilation_cache"] or not os.path.isdir(folder):
        return None
    versions = [llvmlite.__version__, str(llvm.llvm_version_info)]
    processor = [llvm.get_default_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
    name = hashlib.sha256("\0".join([*versions, *processor, *identity]).encode()).hexdigest()
    return Path(folder) / f"medjax-{name}.o"


def _read_cached(path: Path) -> bytes | None:
    """Read a cached object file; None if its SHA-256 does not match (LLVM aborts on corrupt objects)."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, object_file = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return object_file if digest == hashlib.sha256(object_file).digest() else None


def _write_cached(path: Path, object_file: bytes) -> None:
    """Write a file under a temporary name, then rename it. A full disk is no error: the next process compiles again."""
    with suppress(OSError):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(object_file).digest() + object_file)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
