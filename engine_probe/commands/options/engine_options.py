"""Options under headings, mixed with vLLM's engine arguments in any order."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from engine_probe.engine import arguments
from engine_probe.errors import InputError
from kernels_bench.options import GroupedHelp, under

__all__ = ["ENGINE", "EngineCommand", "GroupedCommand", "under"]

ENGINE = "Model and engine"  # the heading under which EngineCommand names vLLM's arguments
ANY_ARGUMENT = ("--<vLLM argument> VALUE", "Any engine argument of vLLM: --max-num-seqs 32, --no-enforce-eager, -tp 2.")


class GroupedCommand(GroupedHelp):
    """Shows its options under their headings, and refuses one that is given twice."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # of a line that is being completed
            return super().parse_args(ctx, args)
        split = Split(self, ctx, args)
        rest = super().parse_args(ctx, split.own)  # first, so that --help works whatever else is wrong
        self.take_engine_words(ctx, split)
        return rest

    def take_engine_words(self, ctx: click.Context, split: Split) -> None:
        """Use vLLM's words; a command without an engine has none."""


class EngineCommand(GroupedCommand):
    """Takes vLLM's engine arguments anywhere among its own options, as `engine_arguments`.

    Everything after `--` goes to vLLM: `-- --seed 3` seeds the engine if `--seed` is an option of the command.
    """

    def add_rows(self, sections: dict[str, list[tuple[str, str]]]) -> None:
        sections.setdefault(ENGINE, []).append(ANY_ARGUMENT)

    def take_engine_words(self, ctx: click.Context, split: Split) -> None:
        ctx.params["engine_arguments"] = arguments.parse_arguments(
            split.engine, str(ctx.info_name), sorted(split.takes_value)
        )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        own = {item.value for item in found}
        options = (
            sorted({arguments.dashed(name) for name in arguments.argument_names()} - own)
            if incomplete.startswith("--")
            else []
        )
        return [*found, *(CompletionItem(option) for option in options if option.startswith(incomplete))]


def flag_value(option: click.Option) -> str | None:
    """Return the value of an option that may also stand alone. None if it needs one, or is a flag."""
    given = option.flag_value
    return given if not option.is_flag and isinstance(given, str) else None


class Split:
    """The words of a command line, split into the command's own and vLLM's."""

    def __init__(self, command: click.Command, ctx: click.Context, args: Sequence[str]) -> None:
        self.own: list[str] = []
        self.engine: list[str] = []
        options = [parameter for parameter in command.get_params(ctx) if isinstance(parameter, click.Option)]
        self.takes_value = {
            name: not (option.is_flag or option.count)
            for option in options
            for name in (*option.opts, *option.secondary_opts)
        }
        self._where = ctx.info_name
        self._with_engine = isinstance(command, EngineCommand)
        self._repeatable = {name for option in options if option.multiple or option.count for name in option.opts}
        self._may_stand_alone = {name for option in options if flag_value(option) is not None for name in option.opts}
        self._given: set[str] = set()
        self._split(list(args))

    def _split(self, words: list[str]) -> None:
        while words:
            word = words.pop(0)
            if word == "--" and not self._with_engine:
                self.own += [word, *words]
                return
            if word == "--":
                while words:
                    self.engine.append(arguments.take_option(words.pop(0), words))
                return
            flag, equals, text = word.partition("=")
            name = flag.replace("_", "-") if flag.startswith("--") else flag
            if name in self.takes_value:
                self._note(name)
                self.own.append(f"{name}{equals}{text}")
                if self.takes_value[name] and not equals and not self._left_out(name, words):
                    self.own.append(self._value(name, words))
            elif self._with_engine:
                self.engine.append(arguments.take_option(word, words))
            else:
                self.own.append(word)

    def _note(self, name: str) -> None:
        if name in self._given and name not in self._repeatable:
            raise InputError(f"{self._where}: {name} is given twice: leave one of them out")
        self._given.add(name)

    def _left_out(self, name: str, words: list[str]) -> bool:
        """Return whether an option that may stand alone does."""
        return name in self._may_stand_alone and (not words or arguments.is_option(words[0]))

    def _value(self, name: str, words: list[str]) -> str:
        if not words:
            raise InputError(f"{self._where}: {name} needs a value, but nothing follows it: add one")
        if arguments.is_option(words[0]):
            raise InputError(
                f"{self._where}: {name} needs a value, but the option {words[0]} follows: write {name}={words[0]} if "
                "that is the value"
            )
        return words.pop(0)
