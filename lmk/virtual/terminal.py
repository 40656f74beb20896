# SPDX-License-Identifier: Apache-2.0
"""An interactive shell of a device on this terminal."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
import termios
import threading
import tty

from lmk.device.interface import ByteStream, Device
from lmk.errors import UsageError

__all__ = ["interact"]


def interact(device: Device) -> None:
    """Join standard input and output with a shell of `device` until either side ends.

    The plain ``shell:`` service gives the shell a pseudo-terminal of its own,
    so this one goes raw: Ctrl-C is the device's. The size is told once.

    :raises lmk.errors.UsageError: standard input is not a terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("an interactive shell needs a terminal; name a command to run instead")
    columns, rows = shutil.get_terminal_size()
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    # adbd makes the terminal of a command raw, as for a program; a person wants it sane.
    shell = f"shell:stty sane rows {rows} cols {columns}; exec sh -i"
    with device.open(shell) as stream:
        over_read, over_write = os.pipe()
        typing = threading.Thread(target=_type, args=(stream, keyboard, over_read), daemon=True)
        try:
            tty.setraw(keyboard)
            typing.start()
            while data := stream.read():
                os.write(sys.stdout.fileno(), data)
        finally:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
            os.write(over_write, b".")
            typing.join()
            os.close(over_read)
            os.close(over_write)


def _type(stream: ByteStream, keyboard: int, over: int) -> None:
    """Send what is typed until the shell is over."""
    with contextlib.suppress(OSError):
        while over not in (ready := select.select([keyboard, over], [], [])[0]) and ready:
            data = os.read(keyboard, 4096)
            if not data:
                stream.close()
                return
            stream.write(data)
