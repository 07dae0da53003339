"""The words that a place of a document may hold, from the types that the document is converted to."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.inspect import DictType, ListType, LiteralType, Metadata, StructType, Type, UnionType, type_info

PLACE = re.compile(r'\["([^"]+)"\]|\[(\d+)\]|(\w+)')


def words_at(kind: type[msgspec.Struct], document: Any, place: str) -> list[str]:
    """Return the words of a choice, or the kinds of a table; empty if any value is allowed."""
    types: list[Type] = [type_info(kind)]
    for name, index, key in PLACE.findall(place):
        step = name or index or key
        types = [inner for one in types for inner in below(one, step, document)]
        document = inside(document, step)
    return [str(word) for one in types for word in (one.values if isinstance(one, LiteralType) else ())]


def below(one: Type, step: str, value: Any) -> Iterator[Type]:
    """Yield the types of a key; of a table of several kinds, those of the kind that the value names."""
    match one:
        case DictType():
            yield from alternatives(one.value_type)
        case ListType():
            yield from alternatives(one.item_type)
        case StructType() if step == one.tag_field:
            yield LiteralType((one.tag,))
        case StructType() if one.tag_field is None or inside(value, one.tag_field) == one.tag:
            for field in one.fields:
                if field.encode_name == step:
                    yield from alternatives(field.type)


def alternatives(one: Type) -> tuple[Type, ...]:
    """Return the types that a value may have, without the key's description."""
    one = one.type if isinstance(one, Metadata) else one
    return one.types if isinstance(one, UnionType) else (one,)


def inside(value: Any, step: str) -> Any:
    try:
        return value[int(step)] if isinstance(value, list) else value[step]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
