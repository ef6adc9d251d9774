"""A script's parser, which also reads flags from a file: --config FILE repeats an earlier call of the script.

Training and evaluation write such a file. It holds the flags that were given, and the default values of the others, so
that another version of this project does the same; a default value does not count as given. Flags on the command line
override the file. Raises UserError if the file is not JSON, or has a flag or value that the script does not accept.
"""

import argparse
import contextlib
import importlib.metadata
import json
import platform
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from runtime.console import be_quiet
from runtime.errors import UserError
from runtime.files import write_whole
from runtime.untrusted import escaped, read_json

RUN_CONFIG_FILE = "config.json"
MAX_CONFIG_BYTES = 2**20
OF_ONE_CALL = {"help", "config", "quiet", "resume_from", "overwrite", "override"}  # a file does not hold them
_KEYS = {"script", "flags", "defaults", "versions"}
_PACKAGES = ("torch", "numpy", "transformers", "accelerate")
_NEGATIVE = re.compile(r"-\d+|-\d*\.\d+")  # what argparse takes for a number, and not for a flag
_UNSET = object()


class Flags(argparse.Namespace):
    """The values of a script's flags, and beside them the `record` of the call, which --config reads."""

    __slots__ = ("record",)


class ScriptParser(argparse.ArgumentParser):
    """A parser with --config and --quiet."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self._reading: Path | None = None  # the file whose flags are being parsed
        self._warned = False  # of later flags; a script may parse twice
        self.add_argument(
            "--config", type=Path, metavar="FILE", help="read flags from this file, such as the config.json of a run"
        )
        self.add_argument("--quiet", action="store_true", help="print only warnings, errors and the last line")

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = sys.argv[1:] if args is None else list(args)
        if {"-h", "--help"} & {*words}:  # before `_typed`, in whose help no flag would be required
            return super().parse_known_args(words, namespace)
        typed = self._typed(words)
        if "config" in typed:
            words = [*words, *self._words_of_file(typed["config"], typed.keys())]
        flags, others = super().parse_known_args(words, Flags() if namespace is None else namespace)
        if isinstance(flags, Flags):
            flags.record = self._record(flags, self._typed(words).keys())
            be_quiet(flags.quiet)
        return flags, others

    def error(self, message: str) -> None:
        if self._reading is not None:
            raise UserError(f"{self._reading}: {message.removeprefix('argument ')}; correct the file")
        self.exit(2, f"error: {message}; {self.prog} --help lists the flags\n")

    def _typed(self, words: Sequence[str]) -> dict[str, object]:
        """The values that the words give, by attribute, without defaults."""
        unset = argparse.Namespace(**{action.dest: _UNSET for action in self._actions})
        with self._nothing_required():
            found, _ = super().parse_known_args(words, unset)
        return {name: value for name, value in vars(found).items() if value is not _UNSET}

    @contextlib.contextmanager
    def _nothing_required(self) -> Iterator[None]:
        parts = [part for part in (*self._actions, *self._mutually_exclusive_groups) if part.required]
        for part in parts:
            part.required = False
        try:
            yield
        finally:
            for part in parts:
                part.required = True

    def _words_of_file(self, path: Path, typed: Sequence[str]) -> list[str]:
        """The words of a file's flags, without those that the typed ones override; its defaults become the parser's."""
        content, words = read_config(path, self.prog), []
        overridden = set(typed)
        for group in self._mutually_exclusive_groups:
            members = {action.dest for action in group._group_actions}
            overridden |= members if members & overridden else set()
        for name, value in content["flags"].items():
            action = self._action(name, path)
            flag_words, _ = self._parse_one(action, value, path)
            words += flag_words if action.dest not in overridden else []
        for name, value in content["defaults"].items():
            action = self._action(name, path)
            if value is None and action.default is None and not action.required:
                continue
            _, parsed = self._parse_one(action, value, path)
            self.set_defaults(**{action.dest: parsed})
        if content["versions"]:  # a run wrote it, with every flag of its version
            self._warn_of_later_flags(path, {*content["flags"], *content["defaults"]}, typed)
        return words

    def _warn_of_later_flags(self, path: Path, known: set[str], typed: Collection[str]) -> None:
        """Warn of flags that the version which wrote a file did not have, and whose defaults do something."""
        later = [
            f"--{name_of(action)} {escaped(_plain(action.default))}"
            for action in self._actions
            if action.option_strings and action.dest not in OF_ONE_CALL and action.dest not in typed
            if name_of(action) not in known and action.default not in (None, False)
        ]
        if later and not self._warned:
            self._warned = True
            print(f"warning: {path}: is of a version that lacked {', '.join(later)}: today's defaults apply")

    def _action(self, name: str, path: Path) -> argparse.Action:
        action = self._option_string_actions.get(f"--{name}")
        if action is None or action.dest in ("help", "config") or name != name_of(action):
            raise UserError(f"{path}: {self.prog} has no flag --{escaped(name)}; take it out")
        return action

    def _parse_one(self, action: argparse.Action, value: object, path: Path) -> tuple[list[str], object]:
        """A flag's words for a value of a file, and what they are parsed to; none for a switch that is off."""
        flag, wanted = f"--{name_of(action)}", None
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise UserError(f"{path}: {flag} is {escaped(json.dumps(value))}, where true or false is expected")
            return ([flag] if value else action.option_strings[1:2]), value  # --no-..., where there is one
        several = action.nargs is not None
        items = value if several and isinstance(value, list) else [value]
        if several != isinstance(value, list):
            wanted = "a list" if several else "a single value"
        elif isinstance(action.nargs, int) and len(items) != action.nargs:
            wanted = f"a list of {action.nargs}"
        elif not all(type(item) in (str, int, float) for item in items):
            wanted = "a text or a number"
        elif any("\0" in item for item in items if isinstance(item, str)):
            wanted = "a text without NUL characters"  # which no typed word has, nor any path
        if wanted is None:
            texts = [item if isinstance(item, str) else repr(item) for item in items]
            as_flag = next((text for text in texts if text.startswith("-") and not _NEGATIVE.fullmatch(text)), None)
            if several and as_flag is not None:
                raise UserError(
                    f"{path}: {flag} holds '{escaped(as_flag)}', which looks like a flag; write ./ before a path"
                )
            words = [flag, *texts] if several else [f"{flag}={texts[0]}"]
            self._reading = path
            try:
                parsed = self._typed(words)[action.dest]
            finally:
                self._reading = None
            for item, made in zip(items, parsed if several else [parsed], strict=True):
                if isinstance(item, str) == (type(made) in (int, float)):
                    wanted = "a number" if isinstance(item, str) else "a text"
        if wanted is not None:
            raise UserError(f"{path}: {flag} is {escaped(json.dumps(value))}, where {wanted} is expected")
        return words, parsed

    def _record(self, flags: Flags, given: Sequence[str]) -> dict[str, object]:
        parts: dict[str, dict[str, object]] = {"flags": {}, "defaults": {}}
        for action in self._actions:
            if action.option_strings and action.dest not in OF_ONE_CALL:
                part = parts["flags" if action.dest in given else "defaults"]
                part[name_of(action)] = _plain(getattr(flags, action.dest))
        return {"script": self.prog, **parts, "versions": versions()}


def read_config(path: Path, script: str) -> dict[str, dict]:
    """What `write_config` wrote of a call of `script`: its flags and defaults by name, and versions."""
    try:
        content = read_json(path, MAX_CONFIG_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; a run writes one, {RUN_CONFIG_FILE}, into its --output_dir") from None
    if not isinstance(content, dict) or not content.keys() >= {"script", "flags"}:
        raise UserError(f'{path}: not flags of a script, {{"script": "{script}", "flags": {{...}}}}')
    unknown = next((name for name in content if name not in _KEYS), None)
    if unknown is not None:
        raise UserError(f"{path}: the key '{escaped(unknown)}' is unknown; take it out")
    if content["script"] != script:
        raise UserError(f"{path}: holds the flags of {escaped(content['script'])}, not of {script}; name another file")
    content = {"defaults": {}, "versions": {}} | content
    wrong = next((key for key in ("flags", "defaults", "versions") if not isinstance(content[key], dict)), None)
    if wrong is not None:
        raise UserError(f"{path}: its '{wrong}' are not values by name; correct the file")
    return content


def name_of(action: argparse.Action) -> str:
    """A flag's name without its dashes, which is not always that of its attribute."""
    return action.option_strings[0].lstrip("-")


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that results depend on, of those that are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def write_config(path: Path, record: dict[str, object]) -> None:
    """Write a call's record, as --config reads it."""
    with write_whole(path, "w") as file:
        json.dump(record, file, indent=2, ensure_ascii=False)
        file.write("\n")
