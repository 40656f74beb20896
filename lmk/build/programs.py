# SPDX-License-Identifier: Apache-2.0
"""The BPF programs in an object file: name, section, program type.

Sections name the type as libbpf reads it (tools/lib/bpf/libbpf.c: section_defs).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lmk.errors import ProtocolError

__all__ = ["BpfProgram", "read_programs"]

_EM_BPF = 247
_SHT_SYMTAB = 2
_STT_FUNC = 2
_STB_GLOBAL = 1
_SHF_EXECINSTR = 4

#: Section prefix -> BPF_PROG_TYPE, only as many as a mistake of ours could use.
_TYPES = {
    "tp_btf": "TRACING",
    "raw_tp": "RAW_TRACEPOINT",
    "raw_tracepoint": "RAW_TRACEPOINT",
    "tracepoint": "TRACEPOINT",
    "tp": "TRACEPOINT",
    "iter": "TRACING",
    "iter.s": "TRACING",
    "syscall": "SYSCALL",
    "kprobe": "KPROBE",
    "kretprobe": "KPROBE",
    "kprobe.multi": "KPROBE",
    "kretprobe.multi": "KPROBE",
    "kprobe.session": "KPROBE",
    "fentry": "TRACING",
    "fentry.s": "TRACING",
    "fexit": "TRACING",
    "fexit.s": "TRACING",
    "fmod_ret": "TRACING",
    "fmod_ret.s": "TRACING",
    "lsm": "LSM",
    "lsm.s": "LSM",
    "lsm_cgroup": "LSM",
    "struct_ops": "STRUCT_OPS",
    "struct_ops.s": "STRUCT_OPS",
    "perf_event": "PERF_EVENT",
}


@dataclass(frozen=True, slots=True)
class BpfProgram:
    """One program; `kind` is the section's prefix (``tp_btf``), `type` the kernel's type."""

    name: str
    section: str
    kind: str
    type: str


def read_programs(image: bytes) -> list[BpfProgram]:
    """Programs of a little-endian ELF64 BPF object, in the order of their sections.

    :raises lmk.errors.ProtocolError: not such an object.
    """
    try:
        return _read(image)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ProtocolError(f"damaged BPF object: {error}") from error


def _read(image: bytes) -> list[BpfProgram]:
    if image[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", image, 18)[0] != _EM_BPF:
        raise ProtocolError("not a little-endian BPF object file")
    (offset,) = struct.unpack_from("<Q", image, 40)
    size, count, names_at = struct.unpack_from("<HHH", image, 58)
    # name, type, flags, addr, offset, size, link, info, align, entry size
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, offset + i * size) for i in range(count)]
    names = [_string(image, headers[names_at][4] + header[0]) for header in headers]
    found: list[tuple[int, int, BpfProgram]] = []
    for header in headers:
        if header[1] != _SHT_SYMTAB:
            continue
        strings = headers[header[6]][4]
        for at in range(header[4], header[4] + header[5], 24):
            name, info, _other, section, value, _size = struct.unpack_from("<IBBHQQ", image, at)
            if info & 0xF != _STT_FUNC or section >= count:
                continue
            # .text holds subprograms; a program is global, in a section of its own type.
            kind = names[section].partition("/")[0].removeprefix("?")
            if info >> 4 != _STB_GLOBAL or not headers[section][2] & _SHF_EXECINSTR:
                continue
            if kind != ".text":
                program = BpfProgram(
                    _string(image, strings + name), names[section], kind, _TYPES.get(kind, "OTHER")
                )
                found.append((section, value, program))
    return [program for _section, _value, program in sorted(found, key=lambda entry: entry[:2])]


def _string(image: bytes, at: int) -> str:
    return image[at : image.index(b"\0", at)].decode()
