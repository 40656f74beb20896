# SPDX-License-Identifier: Apache-2.0
"""The RSA keys by which a device knows this host, shared with ``adb``.

They lie where adb keeps them: ``$ANDROID_USER_HOME``, else ``~/.android``;
``adbkey`` is the private key, ``adbkey.pub`` the public one. A device that
has accepted this host's ``adb`` therefore accepts ``lmk`` too. Nothing is read
or made before a device asks for it: the virtual device never does.
"""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from adb_shell.auth import keygen
from adb_shell.auth.sign_pythonrsa import PythonRSASigner

from lmk.errors import UsageError

__all__ = ["HostKey", "host_keys", "key_directory"]


def key_directory() -> Path:
    """Where adb and lmk keep their keys."""
    chosen = os.environ.get("ANDROID_USER_HOME")
    return Path(chosen) if chosen else Path.home() / ".android"


def host_keys() -> list[HostKey]:
    """The keys to try, in adb's order: the user's own, then those of ``$ADB_VENDOR_KEYS``."""
    keys = [HostKey(key_directory() / "adbkey", generate=True)]
    for entry in os.environ.get("ADB_VENDOR_KEYS", "").split(os.pathsep):
        if not entry:
            continue
        path = Path(entry)
        found = sorted(path.glob("*.adb_key")) if path.is_dir() else [path]
        keys += [HostKey(each, generate=False) for each in found]
    return keys


class HostKey:
    """A signer for adb-shell that touches the disk only when a device asks it to sign.

    :param path: the private key; its public half is at the same path with ``.pub``.
    :param generate: make the pair when there is none.
    """

    def __init__(self, path: Path, *, generate: bool) -> None:
        self.path = path
        self._generate = generate
        self._loading = threading.Lock()
        self._signer: Any = None

    def Sign(self, data: bytes) -> bytes:  # noqa: N802  # adb-shell's name
        """Sign the device's token.

        :raises lmk.errors.UsageError: the key cannot be read, or not be made.
        """
        return bytes(self._load().Sign(data))

    def GetPublicKey(self) -> bytes:  # noqa: N802  # adb-shell's name
        """The public key as a device stores it: base64 of Android's own struct, user@host."""
        public: str = self._load().GetPublicKey()
        return public.encode()

    def _load(self) -> Any:
        with self._loading:
            if self._signer is None:
                self._signer = self._read()
            return self._signer

    def _read(self) -> Any:
        try:
            if self._generate and not self.path.exists():
                _generate_pair(self.path)
            private = self.path.read_text("ascii")
            return PythonRSASigner(pub=self._read_public(), priv=private)
        except OSError as error:
            raise UsageError(f"cannot use the adb key {self.path}: {error.strerror}") from error
        except (ValueError, TypeError, IndexError) as error:
            raise UsageError(
                f"{self.path} is not an adb key (PKCS#8 RSA in PEM): move it away for a new one",
                detail=str(error),
            ) from error

    def _read_public(self) -> str:
        public = self.path.with_name(self.path.name + ".pub")
        if public.exists():
            return public.read_text("ascii", errors="replace").strip()
        # adb too derives it when the file is missing.
        encoded = base64.b64encode(keygen.encode_pubkey(str(self.path))).decode()
        return encoded + str(keygen.get_user_info())


def _generate_pair(path: Path) -> None:
    """Make a key pair: directory 0700, private key 0600, whatever the umask.

    adb-shell's ``keygen`` writes the private key by the umask (0644, often), so it
    works in a fresh directory that is closed to others. ``link`` never overwrites:
    of two processes that do this at once, both end up with the key of the first.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=".adbkey-", dir=path.parent))
    try:
        made = workshop / "adbkey"
        keygen.keygen(str(made))
        made.chmod(0o600)
        try:
            os.link(made, path)
        except FileExistsError:
            return
        (workshop / "adbkey.pub").replace(path.with_name(path.name + ".pub"))
    finally:
        shutil.rmtree(workshop)
