# SPDX-License-Identifier: Apache-2.0
"""What is compiled from which files, with which flags and libraries.

A recipe is data; :mod:`lmk.build.compiler` carries it out. Flags keep paths of
this machine and timestamps out of the result, so that one source gives one build id.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["ABIS", "ASSISTED", "HANDLERS", "PROGRAMS", "SERVICES", "Abi", "Recipe"]


@dataclass(frozen=True, slots=True)
class Abi:
    """An ABI of devices, under the names that uname, Debian and GCC give it."""

    name: str
    debian: str
    triplet: str


#: By the name that uname(2) gives on the device.
ABIS = {
    "x86_64": Abi("x86_64", "amd64", "x86_64-linux-gnu"),
    "aarch64": Abi("aarch64", "arm64", "aarch64-linux-gnu"),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One output file.

    :ivar output: its name.
    :ivar sources: globs of the files that are compiled, relative to the source root.
    :ivar exclude: files among them that belong to another output.
    :ivar headers: globs of the files that those include.
    :ivar include: directories for ``-I``, relative to the source root.
    :ivar flags: for every compilation.
    :ivar link: for the link step; libraries last.
    :ivar packages: Debian packages for headers and static libraries, by suite.
    """

    output: str
    sources: tuple[str, ...]
    headers: tuple[str, ...]
    include: tuple[str, ...]
    flags: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    packages: tuple[tuple[str, tuple[str, ...]], ...] = ()


_SHARED_HEADERS = ("bpf/include/**/*.h", "bpf/policy/*.h")
_WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
_LIBBPF = ("bookworm-backports", ("libbpf-dev",))
#: Static: the device has no libc of ours. No build id note, no symbols: same source, same bytes.
_STATIC = ("-static", "-s", "-Wl,--build-id=none", "-Wl,--gc-sections")
_C = ("-std=gnu11", "-O2", "-g0", "-ffunction-sections", "-fdata-sections", *_WARNINGS)

#: CO-RE: one object for all little-endian devices, so no __TARGET_ARCH_. v3 has 32-bit
#: compare and ALU instructions; every kernel and JIT since 5.1 knows them.
HANDLERS = Recipe(
    output="lmk.bpf.o",
    sources=("bpf/handlers/lmk.bpf.c",),
    headers=("bpf/handlers/*.h", *_SHARED_HEADERS),
    include=("bpf/include", "bpf", "bpf/handlers"),
    flags=(
        "-target",
        "bpf",
        "-mcpu=v3",
        "-O2",
        "-g",
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-Wno-unused-parameter",
        "-Werror",
        "-fno-ident",
    ),
    packages=(_LIBBPF,),
)

#: The handlers where the kernel cannot signal from BPF, or cannot call back into it.
ASSISTED = replace(HANDLERS, output="assisted.bpf.o", sources=("bpf/handlers/assisted.bpf.c",))

PROGRAMS = (
    Recipe(
        output="lmk-agent",
        sources=("bpf/agent/*.c", "bpf/agent/generated/lmk/v1/*.pb.c", "bpf/assist/*.c"),
        headers=("bpf/agent/**/*.h", "bpf/assist/*.h", *_SHARED_HEADERS),
        include=("bpf/include", "bpf", "bpf/agent", "bpf/agent/generated"),
        flags=(*_C, "-D_GNU_SOURCE"),
        link=(*_STATIC, "-lprotobuf-nanopb"),
        packages=(("bookworm", ("libnanopb-dev",)),),
    ),
    Recipe(
        output="lmk-loader",
        sources=("bpf/loader/*.c", "bpf/assist/*.c"),
        headers=("bpf/loader/*.h", "bpf/assist/*.h", *_SHARED_HEADERS),
        include=("bpf/include", "bpf", "bpf/loader"),
        flags=(*_C, "-D_GNU_SOURCE"),
        link=(*_STATIC, "-lbpf", "-lelf", "-lz"),
        packages=(_LIBBPF, ("bookworm", ("libelf-dev", "zlib1g-dev"))),
    ),
    Recipe(
        output="lmk-eater",
        sources=("bpf/workload/*.c",),
        exclude=("bpf/workload/population.c",),
        headers=("bpf/workload/*.h", *_SHARED_HEADERS),
        include=("bpf/include", "bpf", "bpf/workload"),
        flags=(*_C, "-D_GNU_SOURCE"),
        link=_STATIC,
    ),
    Recipe(
        output="lmk-population",
        sources=("bpf/workload/*.c",),
        exclude=("bpf/workload/eater.c",),
        headers=("bpf/workload/*.h", *_SHARED_HEADERS),
        include=("bpf/include", "bpf", "bpf/workload"),
        flags=(*_C, "-D_GNU_SOURCE"),
        link=_STATIC,
    ),
    Recipe(
        output="lmk-bench",
        sources=(
            "bpf/bench/*.c",
            "bpf/workload/identity.c",
            "bpf/workload/lines.c",
            "bpf/workload/memory.c",
        ),
        headers=("bpf/bench/*.h", "bpf/workload/*.h", *_SHARED_HEADERS),
        include=("bpf/include", "bpf", "bpf/bench", "bpf/workload"),
        flags=(*_C, "-D_GNU_SOURCE"),
        link=_STATIC,
    ),
)

#: Android's init as far as services go, for virtual devices: no device of anybody's gets it.
SERVICES = Recipe(
    output="lmk-services",
    sources=("bpf/services/*.c",),
    headers=("bpf/services/*.h",),
    include=("bpf/services",),
    flags=(*_C, "-D_GNU_SOURCE"),
    link=_STATIC,
)
