# SPDX-License-Identifier: Apache-2.0
"""The ``lmk`` command: parse, call the API, print. No logic lives here.

Data goes to standard output, everything else to standard error. An error is one line and
an exit code of :class:`lmk.errors.ExitCode`; ``-v`` adds the long story.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from importlib import import_module
from typing import Any, NoReturn

import click

from lmk.errors import ExitCode, LmkError

__all__ = ["cli", "main", "run"]

#: Command -> module and attribute, imported when it is asked for: `lmk --version` and
#: `lmk policy` need neither QEMU's set-up nor the adb transport.
_COMMANDS = {
    "attach": "lmk.cli.attach:attach",
    "build": "lmk.cli.build:build",
    "detach": "lmk.cli.attach:detach",
    "devices": "lmk.cli.devices:devices",
    "doctor": "lmk.cli.doctor:doctor",
    "kill": "lmk.cli.kill:kill",
    "package": "lmk.cli.package:package",
    "policy": "lmk.cli.policy:policy",
    "pressure": "lmk.cli.pressure:pressure",
    "report": "lmk.cli.report:report",
    "status": "lmk.cli.status:status",
    "stream": "lmk.cli.stream:stream",
    "top": "lmk.cli.top:top",
    "virtual": "lmk.cli.virtual:virtual",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
#: Commands that take no -s, and what there is instead.
_WITHOUT_DEVICE = {
    "build": "",
    "devices": "",
    "package": "",
    "report": "",
    "virtual": "; give it after the command: lmk virtual up NAME",
}
#: `lmk --help`: in the order in which a person meets them.
_SECTIONS = {
    "The main job": {
        "attach": "Push handlers and agent, start them, leave them running.",
        "stream": "Print kill reports as they come.",
        "status": "Show what an attached device sees and would do.",
        "top": "The same, kept up to date until q.",
        "detach": "Give the device back: handlers unpinned, agent ended.",
    },
    "Before it": {
        "devices": "List the devices there are.",
        "doctor": "Probe what a device can do, and which kill path that gives.",
        "policy": "Look at policies, check them, send one to a device.",
        "build": "Compile handlers and agent into one bundle file.",
        "package": "Write files that install them for good.",
    },
    "Trying it out": {
        "virtual": "Boot, list and end virtual devices.",
        "pressure": "Make memory pressure on a device.",
        "kill": "Have the handlers kill one process now.",
    },
    "Afterwards": {
        "report": "Show or convert captures of the stream.",
    },
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [name for names in _SECTIONS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(8), words) for name, words in commands.items()])


_EPILOG = """\b
Exit codes:
    0  done
    1  a bug of lmk            4  worth another try (link, timeout)
    2  wrong use; says how     5  the other side broke the protocol
    3  the device cannot       6  a check found something
  130  interrupted

\b
Devices (-s, else $ANDROID_SERIAL, else the one there is; `lmk devices` lists them):
  virtual, virtual:7.3, virtual:7.3-arm64     lmk virtual up
  tcp:HOST:PORT                               an adbd that listens there
  local                                       this machine
  as `adb devices` calls it                   USB, Wi-Fi, emulators
"""


@click.group(
    cls=_LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("-s", "--serial", metavar="SERIAL", help="Device; same as after the command.")
@click.option("-v", "--verbose", is_flag=True, help="Show the long story of an error.")
@click.version_option(package_name="lmk", prog_name="lmk")
@click.pass_context
def cli(context: click.Context, serial: str | None, verbose: bool) -> None:
    """Android low-memory kills, decided in the kernel by BPF.

    \b
    Push the handlers to a device, attach them, and watch who dies and why:
      lmk virtual up                a virtual device, if you have no other
      lmk doctor                    can the device do it?
      lmk attach                    handlers and agent, for 15 minutes
      lmk stream                    kill reports as they come
      lmk detach                    as it was before
    """
    state = context.ensure_object(dict)
    state["verbose"] = verbose
    if serial:
        if context.invoked_subcommand in _WITHOUT_DEVICE:
            raise click.UsageError(
                f"{context.invoked_subcommand} works on no device that -s could name"
                + _WITHOUT_DEVICE[context.invoked_subcommand]
            )
        os.environ["ANDROID_SERIAL"] = serial


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run ``lmk`` and end the process with its exit code."""
    sys.exit(run(cli, arguments, "lmk"))


def run(command: click.Command, arguments: list[str] | None, name: str) -> int:
    """Run `command` as `name` and return its exit code; errors are said, not raised."""
    state: dict[str, Any] = {}
    for stream in (sys.stdout, sys.stderr):
        # A locale without our arrows and dots shows question marks; it ends nothing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        # Not command.main(): it turns Ctrl-C and a closed pipe into its own messages and codes.
        words = sys.argv[1:] if arguments is None else arguments
        with command.make_context(name, list(words), obj=state) as context:
            result = command.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        path = getattr(getattr(error, "ctx", None), "command_path", name)
        _say(f"error: {_one_line(error.format_message())} (`{path} --help` has the options)")
        return ExitCode.USAGE
    except LmkError as error:
        _say(f"error: {_one_line(str(error))}")
        if error.detail and error.detail.strip() not in str(error):
            if state.get("verbose"):
                print(error.detail.rstrip(), file=sys.stderr)
            else:
                _say("-v shows more")
        return error.exit_code
    except BrokenPipeError:
        _discard_output()  # its reader has enough
        return ExitCode.OK
    except OSError as error:
        if error.errno not in _FULL:
            return _bug(error, state)
        # What is written cannot be: standard output, or a file whose name says which.
        where = error.filename or "standard output"
        _say(f"error: cannot write {where}: {error.strerror}")
        _discard_output()
        return ExitCode.USAGE
    except Exception as error:  # noqa: BLE001  # the last line: a bug, said as one
        return _bug(error, state)
    return result if isinstance(result, int) else ExitCode.OK


def _bug(error: Exception, state: dict[str, Any]) -> int:
    if state.get("verbose"):
        traceback.print_exc()
    _say(f"a bug of lmk: {type(error).__name__}: {_one_line(str(error))} (-v shows where)")
    return ExitCode.BUG


def _discard_output() -> None:
    """What is left in the buffer has nowhere to go, and must not be tried again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(line: str) -> None:
    try:
        print(f"lmk: {line}", file=sys.stderr)
    except OSError:
        return  # nobody listens any more


def _one_line(text: str) -> str:
    """What a device says may hold line ends and escape sequences: show them, do not obey them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
