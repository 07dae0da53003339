"""Click's errors about wrong usage as one sentence: what is wrong, which value, and what is expected."""

import difflib

import click


def usage_sentence(error: click.UsageError) -> str:
    """Return the sentence, after the command's name if the program has several commands."""
    path = error.ctx.command_path if error.ctx else ""
    _, _, command = path.partition(" ")
    problem = usage_problem(error, path)
    return f"{command}: {problem}" if command else problem


def usage_problem(error: click.UsageError, path: str) -> str:
    match error:
        case click.NoSuchOption(option_name=name):
            return f"there is no option {name}: {nearest_option(error, name) or f'{path} --help lists them'}"
        case click.MissingParameter(param=click.Parameter() as parameter):
            return f"{parameter_name(parameter).removesuffix('...')} is missing: {path} --help says what it is"
        case click.BadParameter(param=click.Parameter() as parameter):
            return f"{parameter_name(parameter)}{wrong_value(parameter, error.message)}"
    return lower(error.format_message())


def nearest_option(error: click.UsageError, name: str) -> str | None:
    """Return `did you mean --out?` if the command has a similar option."""
    parameters = error.ctx.command.get_params(error.ctx) if error.ctx else []
    options = [option for parameter in parameters for option in parameter.opts]
    near = difflib.get_close_matches(name, [option for option in options if option.startswith("--")], n=1)
    return f"did you mean {near[0]}?" if near else None


def parameter_name(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len) if isinstance(parameter, click.Option) else parameter.human_readable_name


def wrong_value(parameter: click.Parameter, message: str) -> str:
    """Return ` is 0: give ...` for a number, the nearest word for a choice, and click's own words for others."""
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
    """Return one of click's sentences in the form of a clause."""
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")
