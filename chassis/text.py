"""Texts of others, made fit to be passed on: the last thing that may fail is telling what went wrong."""

from __future__ import annotations


def clean(text: str) -> str:
    """Text that can be encoded: a lone surrogate in it would cost the whole message, page or batch.

    >>> clean("caf\\u00e9"), clean("bad\\udcff")
    ('café', 'bad?')
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def text_of(error: BaseException) -> str:
    """The text of an exception, also where it has a broken `__str__`.

    >>> text_of(KeyError("id"))
    "'id'"
    """
    try:
        return str(error)
    except Exception:  # it must not hide the error that it belongs to
        return "(its text could not be read)"
