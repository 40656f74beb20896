# SPDX-License-Identifier: Apache-2.0
"""What a BPF object calls, read from its instructions and relocations.

For tests that say what an object must not do on a kernel that the test does not run.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

__all__ = ["Calls", "read_calls"]

_SHT_SYMTAB, _SHT_REL = 2, 9
_SHF_EXECINSTR = 4
_STB_WEAK = 2
_STT_FUNC, _STT_SECTION = 2, 3
#: linux/bpf.h: BPF_JMP | BPF_CALL, and the first half of a 64-bit immediate.
_CALL, _LD_IMM64 = 0x85, 0x18
_PSEUDO_CALL = 1


@dataclass
class Calls:
    """:ivar helpers: numbers of enum bpf_func_id.
    :ivar kfuncs: kernel functions by name; True: a weak symbol.
    :ivar callbacks: places that take the address of a BPF function, to hand it to the kernel.
    """

    helpers: set[int] = field(default_factory=set)
    kfuncs: dict[str, bool] = field(default_factory=dict)
    callbacks: list[str] = field(default_factory=list)


def read_calls(image: bytes) -> Calls:
    """The calls of a little-endian ELF64 BPF object."""
    (offset,) = struct.unpack_from("<Q", image, 40)
    count, names_at = struct.unpack_from("<HH", image, 60)
    # name, type, flags, addr, offset, size, link, info, align, entry size
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, offset + i * 64) for i in range(count)]

    def text(table: int, at: int) -> str:
        begin = headers[table][4] + at
        return image[begin : image.index(b"\0", begin)].decode()

    symbols = next(header for header in headers if header[1] == _SHT_SYMTAB)
    found = Calls()
    for index, header in enumerate(headers):
        if not header[2] & _SHF_EXECINSTR:
            continue
        section = text(names_at, header[0])
        relocated = {
            at: struct.unpack_from("<IBBHQQ", image, symbols[4] + (info >> 32) * 24)
            for other in headers
            if other[1] == _SHT_REL and other[7] == index
            for at, info in struct.iter_unpack("<QQ", image[other[4] : other[4] + other[5]])
        }
        for at in range(0, header[5], 8):
            code, registers, _off, immediate = struct.unpack_from("<BBhi", image, header[4] + at)
            symbol = relocated.get(at)
            if code == _CALL and symbol is not None and symbol[3] == 0:
                found.kfuncs[text(symbols[6], symbol[0])] = symbol[1] >> 4 == _STB_WEAK
            elif code == _CALL and symbol is None and registers >> 4 != _PSEUDO_CALL:
                found.helpers.add(immediate)
            elif code == _LD_IMM64 and symbol is not None and symbol[3] != 0:
                target = headers[symbol[3]] if symbol[3] < count else None
                kind = symbol[1] & 0xF
                if kind == _STT_FUNC or (
                    kind == _STT_SECTION and target is not None and target[2] & _SHF_EXECINSTR
                ):
                    found.callbacks.append(f"{section}+{at}")
    return found
