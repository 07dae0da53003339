"""What click says of wrong usage, as one sentence: what is wrong, which value, and what belongs there."""

from __future__ import annotations

import difflib

import click


def usage_sentence(error: click.UsageError) -> str:
    """Return the sentence, led by the command's name where the program has several."""
    path = error.ctx.command_path if error.ctx else ""
    _, _, command = path.partition(" ")
    problem = usage_problem(error, path)
    return f"{command}: {problem}" if command else problem


def usage_problem(error: click.UsageError, path: str) -> str:
    match error:
        case click.NoSuchOption(option_name=name):
            return f"there is no option {name}: {nearest_option(error, name) or f'{path} --help lists them'}"
        case click.MissingParameter(param=click.Parameter() as parameter):
            return f"{parameter_name(parameter)} is missing: {path} --help says what it is"
        case click.BadParameter(param=click.Parameter() as parameter):
            return f"{parameter_name(parameter)}{wrong_value(parameter, error.message)}"
    return lower(error.format_message())


def nearest_option(error: click.UsageError, name: str) -> str | None:
    """`did you mean --out?`, where an option of the command is near."""
    options = [option for one in error.ctx.command.get_params(error.ctx) for option in one.opts] if error.ctx else []
    near = difflib.get_close_matches(name, [option for option in options if option.startswith("--")], n=1)
    return f"did you mean {near[0]}?" if near else None


def parameter_name(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len) if isinstance(parameter, click.Option) else parameter.human_readable_name


def wrong_value(parameter: click.Parameter, message: str) -> str:
    """` is 0: give ...` for numbers, the nearest of several words, for anything else what click says."""
    value, is_not, _ = message.partition(" is not ")
    kind = parameter.type
    if is_not and isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        return f" is {value}: give {expected_number(kind)}"
    if (
        is_not
        and isinstance(kind, click.Choice)
        and (near := difflib.get_close_matches(value.strip("'"), kind.choices, 1))
    ):
        return f" is {value}: did you mean {near[0]}?"
    return f": {lower(message)}"


def expected_number(kind: click.types.IntParamType | click.types.FloatParamType) -> str:
    words = "a whole number" if isinstance(kind, click.types.IntParamType) else getattr(kind, "words", "a number")
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return words
    limits = []
    if kind.min is not None:
        limits.append(f"{'above' if kind.min_open else 'of at least'} {kind.min:g}")
    if kind.max is not None:
        limits.append(f"{'below' if kind.max_open else 'at most'} {kind.max:g}")
    return " ".join([words, " and ".join(limits)]).strip()


def lower(sentence: str) -> str:
    """Click's sentence as a part of ours."""
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")
