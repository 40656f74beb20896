# SPDX-License-Identifier: Apache-2.0
"""Policies as text: protobuf's text format, read with errors that say what to write instead.

A file may leave anything out; the preset ``default`` fills it in, so that what
:func:`parse` returns is complete.
"""

from __future__ import annotations

import difflib
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import text_format

from lmk.errors import UsageError
from lmk.policy.check import Finding, check_policy
from lmk.proto.policy_pb2 import Policy

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

__all__ = ["check", "dump", "load", "parse", "preset", "presets", "read"]

_PRESETS = Path(__file__).parent / "presets"
_SUFFIX = ".textpb"

#: A field name's last words -> the unit it counts in.
_UNITS = {
    "_mb_per_s": "mebibytes per second",
    "_ms": "milliseconds",
    "_kb": "kibibytes",
    "_pct": "percent",
    "_percentage": "percent",
    "_score": "oom_score_adj, 1001 for off",
}
_UNKNOWN = re.compile(r'Message type "([\w.]+)" has no field named "([^"]*)"')
_TWICE = re.compile(r'should not have multiple "(\w+)" fields')
_TWO_OF = re.compile(r'Field "(\S+)" is specified along with field "(\S+)", another member')
_NOT_A_NUMBER = re.compile(r"(?:Couldn't parse integer|Value out of range): (\S+)")
_NO_SUCH_VALUE = re.compile(r'Enum type "([\w.]+)" has no value named (\w+)')
_PLACE = re.compile(r"^\d+:\d+ : (?:'.*': )?", re.DOTALL)


def presets() -> list[str]:
    """Names of the policies that come with the toolkit."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in _PRESETS.glob(f"*{_SUFFIX}"))


def preset(name: str) -> Policy:
    """The preset `name`, complete.

    :raises lmk.errors.UsageError: there is none of that name.
    """
    if name not in presets():
        raise UsageError(f"no preset {name!r}; there are: {', '.join(presets())}")
    return parse(_preset_text(name), source=f"preset {name}")


def load(source: str | Path) -> Policy:
    """A complete policy from a preset's name or a file in text format.

    :raises lmk.errors.UsageError: neither a preset nor a readable file, or what
        :func:`check` finds wrong with it (the first in one line, all in ``detail``).
    """
    if isinstance(source, str) and source in presets():
        return preset(source)
    if not str(source) or Path(source).is_dir():
        raise UsageError(
            f"policy {str(source)!r} is neither a file nor a preset ({', '.join(presets())})"
        )
    path = Path(source)
    try:
        text = read(path)
    except UsageError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise UsageError(
            f"policy {str(source)!r} is neither a file nor a preset ({', '.join(presets())})"
        ) from None
    return parse(text, source=str(path), name=path.stem)


def read(path: Path) -> str:
    """The text of a policy file; ``-`` is standard input.

    :raises lmk.errors.UsageError: it cannot be read, or is no text.
    """
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return content.decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the policy {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no policy: not text (UTF-8)") from error


def parse(text: str, *, source: str = "policy", name: str = "unnamed") -> Policy:
    """A complete policy from text format.

    :param source: what errors call it.
    :param name: what it is called when it does not say so itself.
    :raises lmk.errors.UsageError: see :func:`load`.
    """
    policy, findings = _read(text, name)
    if findings or policy is None:
        lines = [f"{source}:{finding}" for finding in findings]
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise UsageError(lines[0] + more, detail="\n".join(lines))
    return policy


def check(text: str) -> list[Finding]:
    """Everything that is wrong with a policy in text format, in the order of its lines."""
    return _read(text)[1]


def dump(policy: Policy) -> str:
    """Text format that :func:`parse` reads back to the same policy."""
    head = "# proto-file: lmk/v1/policy.proto\n# proto-message: lmk.v1.Policy\n\n"
    return head + text_format.MessageToString(policy)


def _read(text: str, name: str = "unnamed") -> tuple[Policy | None, list[Finding]]:
    stated = Policy()
    try:
        text_format.Parse(text, stated)
    except text_format.ParseError as error:
        return None, [_explain(error, text)]
    complete = _default()
    complete.name = name.encode()[:63].decode("utf-8", "ignore")
    complete.MergeFrom(stated)
    return complete, check_policy(complete, text)


def _default() -> Policy:
    policy = Policy()
    text_format.Parse(_preset_text("default"), policy)
    return policy


@cache
def _preset_text(name: str) -> str:
    return (_PRESETS / f"{name}{_SUFFIX}").read_text("utf-8")


# -- saying it better ------------------------------------------------------------------------


def _explain(error: text_format.ParseError, text: str) -> Finding:
    line, column = error.GetLine() or 1, error.GetColumn() or 1
    said = _PLACE.sub("", str(error))
    field = _field_before(text, line, column)
    if match := _UNKNOWN.search(said):
        said = _unknown_field(match[1].removeprefix("lmk.v1."), match[2])
    elif match := _TWICE.search(said):
        said = f"{match[1]} is given twice"
        field = match[1]
    elif match := _TWO_OF.search(said):
        field = match[1].rpartition(".")[2]
        said = f"{field} and {match[2].rpartition('.')[2]} in one rule: it is for one of them"
    elif match := _NOT_A_NUMBER.search(said):
        said = f"{field} is a whole number{_of_unit(field)}, not {match[1]}"
    elif match := _NO_SUCH_VALUE.search(said):
        names = [name for name in _enum_names(match[1]) if not name.endswith("_UNSPECIFIED")]
        said = f"{field} is one of {', '.join(names)}, not {match[2]}"
    else:
        said = said[:1].lower() + said[1:]
    return Finding(line, column, field, said.rstrip("."))


def _field_before(text: str, line: int, column: int) -> str:
    """The field whose value stands at `line`:`column`."""
    lines = text.splitlines()
    before = lines[line - 1][: column - 1] if line <= len(lines) else ""
    match = re.search(r"(\w+)\s*:\s*$", before)
    return match[1] if match else ""


def _unknown_field(message: str, name: str) -> str:
    known = [field.name for field in _messages()[message].fields]
    near = [field for field in known if field.startswith(f"{name}_")]
    stem = _without_unit(name)
    near += [field for field in known if _without_unit(field) == stem and field not in near]
    near = near or difflib.get_close_matches(name, known)
    said = f"{message} has no field {name}"
    if near:
        return f"{said}; did you mean {' or '.join(f'{n}{_in_unit(n)}' for n in near[:2])}?"
    homes = [home for home, descriptor in _messages().items() if name in descriptor.fields_by_name]
    if homes:
        return f"{said}; it is a field of {', '.join(homes)}"
    return f"{said}; it has {', '.join(known)}"


def _without_unit(name: str) -> str:
    for unit in (*_UNITS, "_s", "_sec", "_us", "_ns", "_mb", "_gb", "_bytes", "_percent"):
        if name.endswith(unit):
            return name.removesuffix(unit)
    return name


def _unit(name: str) -> str:
    return next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")


def _in_unit(name: str) -> str:
    return f" (in {_unit(name)})" if _unit(name) else ""


def _of_unit(name: str) -> str:
    return f" of {_unit(name)}" if _unit(name) else ""


def _messages() -> dict[str, Descriptor]:
    return dict(Policy.DESCRIPTOR.file.message_types_by_name.items())


def _enum_names(full_name: str) -> list[str]:
    enums = Policy.DESCRIPTOR.file.enum_types_by_name
    found = enums[full_name.removeprefix("lmk.v1.")]
    return [value.name for value in found.values]
