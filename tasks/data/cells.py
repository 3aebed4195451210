"""What the words of a column are: numbers, truth values or texts, judged by all of them.

A file of words has no types, and its first rows do not tell those of the last. So a column is of numbers if every word
is one, of truth values if every word is, and of texts else; then its words stay what they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow

GAPS = (
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""What other programs write for a number that is missing. Among texts these are words as any other."""
TRUTHS = ("true", "True", "TRUE", "false", "False", "FALSE")
_WHOLE = r"^-?(0|[1-9][0-9]*)$"
_POWER = r"([eE][+-]?[0-9]+)?$|^[+-]?(inf|Inf|INF|infinity|Infinity)$"
_NUMBER = {
    ".": r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)" + _POWER,
    ",": r"^[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]*)?" + _POWER,
}
"""By the mark before the fraction; where that is a comma, points stand between thousands."""
_CODE = r"^[+-]?0[0-9]+$"
"""Digits with a zero in front, as a code or a telephone number has them: as numbers they would be others."""
GLANCE = 256
"""Rows that are looked at before the whole column is."""


class Typed:
    """A column with its type, and why it is of texts where most of its words are numbers: `odd` is the row of the first
    that is none, `wide` says that there are whole numbers of more than 64 bits. `num_gaps` words stand for a missing value."""

    def __init__(
        self, values: pyarrow.ChunkedArray, odd: int | None = None, wide: bool = False, num_gaps: int = 0
    ) -> None:
        self.values, self.odd, self.wide, self.num_gaps = values, odd, wide, num_gaps


def typed(words: pyarrow.ChunkedArray, decimal: str = ".") -> Typed:
    """A column of words (text, null where a field is empty) as int64, float64, bool or the texts that they are; of Arrow's
    null type where there is no word at all. `decimal` stands between a number's whole part and its fraction."""
    import pyarrow
    from pyarrow import compute

    if not words.length() or words.null_count == words.length():
        return Typed(pyarrow.chunked_array([pyarrow.nulls(words.length())]))
    if not _may_be_typed(words.slice(0, GLANCE), decimal):
        return Typed(words)
    trimmed = _trimmed(words)
    gaps = compute.is_in(trimmed, pyarrow.array(["", *GAPS]))  # null is no word and in no set
    known = compute.if_else(gaps, None, trimmed)
    num_gaps = int(compute.sum(gaps).as_py() or 0)
    if known.null_count == known.length():  # words that mean a gap, and nothing else to tell what is missing
        return Typed(words)
    if _all(compute.is_in(known.drop_null(), pyarrow.array(TRUTHS))):
        return Typed(compute.equal(compute.utf8_lower(known), "true"), num_gaps=num_gaps)
    right = _are_numbers(known, decimal)
    if not _all(right):
        return Typed(words, odd=_first_odd(right))
    if decimal == ",":
        known = compute.replace_substring(compute.replace_substring(known, ".", ""), ",", ".")
    if not _all(compute.match_substring_regex(known, _WHOLE)):
        return Typed(known.cast(pyarrow.float64()), num_gaps=num_gaps)
    try:
        return Typed(known.cast(pyarrow.int64()), num_gaps=num_gaps)
    except pyarrow.ArrowInvalid:
        return Typed(words, wide=True)


def _first_odd(right: pyarrow.ChunkedArray) -> int | None:
    """The row of the first word that is no number, where most others are."""
    from pyarrow import compute

    if 2 * int(compute.sum(right).as_py() or 0) < right.length() - right.null_count:
        return None
    row: int = compute.index(right.fill_null(True), False).as_py()
    return row


def _trimmed(words: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    from pyarrow import compute

    return compute.utf8_trim_whitespace(words)


def _are_numbers(words: pyarrow.ChunkedArray, decimal: str) -> pyarrow.ChunkedArray:
    from pyarrow import compute

    codes = compute.match_substring_regex(words, _CODE)
    return compute.and_(compute.match_substring_regex(words, _NUMBER[decimal]), compute.invert(codes))


def _may_be_typed(words: pyarrow.ChunkedArray, decimal: str) -> bool:
    """Whether most of some words are numbers, or all of them truth values or gaps: else they are texts for sure."""
    import pyarrow
    from pyarrow import compute

    some = _trimmed(words.drop_null())
    numbers = _are_numbers(some, decimal)
    plain = compute.or_(compute.is_in(some, pyarrow.array(["", *GAPS, *TRUTHS])), numbers)
    return _all(plain) or 2 * int(compute.sum(numbers).as_py() or 0) > some.length()


def _all(truths: pyarrow.ChunkedArray) -> bool:
    from pyarrow import compute

    return bool(compute.all(truths).as_py() in (True, None))
