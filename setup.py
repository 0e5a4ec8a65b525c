"""Builds the optional extension behind `method=native()`; everything else is in pyproject.toml.

Each instruction set is the same source compiled with its own flags; which one runs is decided when
a kernel is first called. Without a compiler the package installs all the same. The environment
variable RNNJAX_NATIVE=0 leaves the extension out on purpose (and switches it off when it is there);
RNNJAX_NATIVE_FLAGS adds flags for the compiler, such as those of a sanitizer.

Objects stay in `build/kernels`, each named by a digest of what it was made from: the next
installation, for another Python too, compiles only what has changed.
"""

import hashlib
import os
import platform
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

SOURCES = Path("rnnjax/methods/kernels")
KEPT = Path("build/kernels")
COMMON = ["-std=c++17", "-O3", "-ffp-contract=fast", "-Wall", "-Wextra", "-g0"]
AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"]
X86 = {
    "avx2": ["-mavx2", "-mfma", "-DRNNJAX_VECTOR_BYTES=32", "-DRNNJAX_VECTOR_REGISTERS=16"],
    "avx512": [*AVX512, "-DRNNJAX_VECTOR_BYTES=64", "-DRNNJAX_VECTOR_REGISTERS=32"],
}


class BuildKernels(build_ext):
    """Compile what computes once for every instruction set, then link all of it."""

    def build_extension(self, ext):
        """The steps of the usual build, with flags of their own for some objects."""
        try:
            import jaxlib  # needed only here: the headers of XLA's FFI
        except ImportError as error:
            raise CompileError(f"the headers of XLA's FFI come with jaxlib: {error}") from error

        headers_of_ffi = Path(*jaxlib.__path__[:1]) / "include"
        x86 = platform.machine().lower() in ("x86_64", "amd64")
        extra = os.environ.get("RNNJAX_NATIVE_FLAGS", "").split()
        common = [*COMMON, *extra, *(["-DRNNJAX_X86"] if x86 else [])]
        texts = {path.name: path.read_bytes() for path in sorted(SOURCES.iterdir())}

        def compile_to_object(name, flags, stem):
            headers = version("jaxlib") if name in ("ffi", "team") else ""  # of XLA's FFI
            sources = {n: t for n, t in texts.items() if n == f"{name}.cc" or n[-3:] != ".cc"}
            recipe = (sources, name, common, flags, self.compiler.compiler_so[0], headers)
            digest = hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]
            kept = KEPT / f"{stem}-{digest}.o"
            if not kept.exists():
                # The object's place follows the source's name: a copy for each instruction set.
                os.makedirs(self.build_temp, exist_ok=True)
                source = shutil.copy(f"{SOURCES}/{name}.cc", f"{self.build_temp}/{stem}.cc")
                (made,) = self.compiler.compile(
                    [source],
                    output_dir=self.build_temp,
                    include_dirs=[str(SOURCES)],
                    extra_postargs=[*common, f"-isystem{headers_of_ffi}", *flags],
                )
                KEPT.mkdir(parents=True, exist_ok=True)
                part = shutil.move(made, kept.with_suffix(f".{os.getpid()}"))
                os.replace(part, kept)
            return str(kept)

        # On x86, portable kernels are for processors from before 2013: compiled in half the time.
        portable = ["-O1"] if x86 else []
        jobs = [("ffi", [], "ffi"), ("team", [], "team")]
        for source in ("linear", "kernels"):
            jobs.insert(0, (source, portable, f"{source}_portable"))
            for name, flags in X86.items() if x86 else ():
                jobs.insert(0, (source, [*flags, f"-DRNNJAX_ISA={name}"], f"{source}_{name}"))
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # each runs one compiler
            objects = [*threads.map(lambda job: compile_to_object(*job), jobs)]
        path = self.get_ext_fullpath(ext.name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.compiler.link_shared_object(
            objects, path, extra_postargs=extra, target_lang="c++", libraries=["pthread"]
        )


switch = os.environ.get("RNNJAX_NATIVE", "")
if switch not in ("", "0", "1"):
    raise ValueError(
        f"the environment variable RNNJAX_NATIVE={switch} is neither 0 nor 1: set it to 0 to "
        "install without the compiled kernels, or unset it to compile them"
    )
extensions = []
if switch != "0":
    # Its sources are found by `BuildKernels`; `optional` turns a failure into a warning.
    extensions = [Extension("rnnjax.methods._kernels", sources=[], optional=True)]

setup(ext_modules=extensions, cmdclass={"build_ext": BuildKernels})
