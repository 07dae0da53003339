"""Text from outside made safe for a terminal and a browser, and short enough for a sentence."""

MOST_QUOTED = 300  # characters of another program's message


def plain(text: str) -> str:
    r"""Keep printable characters and escape the others: an ESC becomes the four characters \x1b."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says something, for a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:MOST_QUOTED] if lines else type(error).__name__
