"""Every file of vectors."""

from . import vectors
from .cases import conventions, direct, fanout, history, identity, linking, log

MODULES = (conventions, identity, linking, log, direct, fanout, history)

SUBJECT_NAMES = tuple(vectors.SUBJECTS)


def all_files():
    """Pairs of a file's name and its text."""
    return [file.finish() for module in MODULES for file in module.files()]
