#!/usr/bin/env python3
"""Writes the vectors: inputs from fixed seeds, results as the second implementation derives them.

    generate.py            writes the files beside it anew
    generate.py --check    writes nothing, and fails if a file would change
"""

import argparse
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from second import files  # noqa: E402

HERE = Path(__file__).parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
    arguments = parser.parse_args()
    stale = []
    for name, text in files.all_files():
        path = HERE / name
        if arguments.check:
            stale += [name] if not path.is_file() or path.read_text("ascii") != text else []
        else:
            path.write_text(text, "ascii")
    if stale:
        sys.exit(f"not as generated: {', '.join(stale)}")


if __name__ == "__main__":
    main()
