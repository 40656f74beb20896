# SPDX-License-Identifier: Apache-2.0
"""A bundle: one file with everything that a device is given.

It is a zip with ``manifest.json`` first::

    manifest.json
    lmk.bpf.o                       the handlers, for every ABI: those that kill in the kernel
    assisted.bpf.o                  those that choose and leave the signal to user space
    x86_64/lmk-agent                the agent, and beside it
    x86_64/lmk-loader               loads the handlers, then is gone
    x86_64/lmk-eater                memory eater of ``lmk pressure``
    x86_64/lmk-population           processes of the demo and the tests
    x86_64/lmk-bench                what `tools/bench killers` runs beside them
    aarch64/...

The manifest has the SHA-256 of each file, and for each ABI the build id: SHA-256
over agent, loader and handlers, by which host and agent know that they belong together.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmk.build.programs import BpfProgram, read_programs
from lmk.errors import ProtocolError, UnsupportedError, UsageError

__all__ = ["Bundle", "BundleFile", "build_id_of", "pack"]

_SCHEMA = 1
_MANIFEST = "manifest.json"
_HANDLERS = ("lmk.bpf.o", "assisted.bpf.o")
#: In this order they are hashed into the build id.
_IDENTITY = ("lmk-agent", "lmk-loader", *_HANDLERS)
#: Zip cannot say "no time": the first it can.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file as a device gets it.

    :ivar name: ``lmk-agent``, ``lmk.bpf.o`` …
    :ivar sha256: of the content, hex.
    :ivar mode: permission bits.
    """

    name: str
    content: bytes
    sha256: str
    mode: int


class Bundle:
    """A bundle file, opened and checked.

    :param path: where it is.
    :raises lmk.errors.UsageError: no such file.
    :raises lmk.errors.ProtocolError: not a bundle, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read the bundle {path}: {error.strerror}") from error
        try:
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                self._content = {name: archive.read(name) for name in archive.namelist()}
            self.manifest: dict[str, Any] = json.loads(self._content.pop(_MANIFEST))
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
            raise ProtocolError(f"{path} is not an lmk bundle: {error}") from error
        if self.manifest.get("schema") != _SCHEMA:
            raise ProtocolError(
                f"{path} has bundle schema {self.manifest.get('schema')}, "
                f"this lmk reads {_SCHEMA}: build it again"
            )
        self._check()

    @property
    def abis(self) -> tuple[str, ...]:
        """ABIs it serves, by uname's name."""
        return tuple(self.manifest["abis"])

    @property
    def programs(self) -> list[BpfProgram]:
        """The BPF programs, read from the objects themselves."""
        return [program for name in _HANDLERS for program in read_programs(self._content[name])]

    def build_id(self, abi: str) -> str:
        """SHA-256 over agent, loader and handlers for `abi`, hex.

        :raises lmk.errors.UnsupportedError: it has nothing for that ABI.
        """
        return str(self._of(abi)["build_id"])

    def files(self, abi: str) -> list[BundleFile]:
        """Everything a device of `abi` gets. Raises like :meth:`build_id`."""
        entries: dict[str, dict[str, Any]] = self._of(abi)["files"]
        return [
            BundleFile(name, self._content[entry["path"]], entry["sha256"], int(entry["mode"], 8))
            for name, entry in entries.items()
        ]

    def file(self, abi: str, name: str) -> BundleFile:
        """One file by name, for `abi`. Raises like :meth:`build_id`."""
        for entry in self.files(abi):
            if entry.name == name:
                return entry
        raise UsageError(f"{self.path} has no {name} for {abi}: build it again")

    def _of(self, abi: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.manifest["abis"][abi]
        except KeyError:
            raise UnsupportedError(
                f"{self.path} has no programs for {abi} (only {', '.join(self.abis)}): "
                f"lmk build --abi {abi}"
            ) from None
        return found

    def _check(self) -> None:
        try:
            for abi in self.abis:
                for file in self.files(abi):
                    if hashlib.sha256(file.content).hexdigest() != file.sha256:
                        raise ProtocolError(f"{self.path} is damaged: {file.name} for {abi}")
                content = {file.name: file.content for file in self.files(abi)}
                if build_id_of(content) != self.build_id(abi):
                    raise ProtocolError(f"{self.path} is damaged: build id of {abi}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"{self.path} has a damaged manifest: {error!r}") from error


def build_id_of(content: Mapping[str, bytes]) -> str:
    """SHA-256 over the SHA-256 of agent, loader and handlers, hex."""
    digest = hashlib.sha256()
    for name in _IDENTITY:
        digest.update(hashlib.sha256(content[name]).digest())
    return digest.hexdigest()


def pack(
    handlers: Mapping[str, bytes], programs: Mapping[str, Mapping[str, bytes]], version: str
) -> bytes:
    """The bytes of a bundle; the same input gives the same bytes.

    :param handlers: content of ``lmk.bpf.o`` and ``assisted.bpf.o``, by name.
    :param programs: ABI -> program name -> content.
    :param version: of the toolkit, for people.
    """
    contents: dict[str, bytes] = dict(handlers)
    abis: dict[str, Any] = {}
    for abi, files in programs.items():
        contents |= {f"{abi}/{name}": content for name, content in files.items()}
        entries = {name: _entry(f"{abi}/{name}", files[name], "0700") for name in files}
        entries |= {name: _entry(name, content, "0600") for name, content in handlers.items()}
        identity = {**files, **handlers}
        abis[abi] = {"build_id": build_id_of(identity), "files": entries}
    manifest = {
        "schema": _SCHEMA,
        "version": version,
        "abis": abis,
        "programs": [
            {"name": program.name, "section": program.section, "type": program.type}
            for content in handlers.values()
            for program in read_programs(content)
        ],
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, _MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode(), 0o644)
        for name, content in contents.items():
            _add(archive, name, content, 0o644 if name in handlers else 0o755)
    return packed.getvalue()


def _entry(path: str, content: bytes, mode: str) -> dict[str, Any]:
    return {
        "path": path,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "mode": mode,
    }


def _add(archive: zipfile.ZipFile, name: str, content: bytes, mode: int) -> None:
    info = zipfile.ZipInfo(name, _NO_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # Unix, wherever it is packed
    info.external_attr = (0o100000 | mode) << 16
    archive.writestr(info, content)
