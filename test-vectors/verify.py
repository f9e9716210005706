#!/usr/bin/env python3
"""Checks the test vectors of undertone with a second implementation, written from spec/ alone.

Derives every value of every vector from its inputs, and stops at the first byte that differs, naming file, vector, field
and place. Needs Python 3.11 and the package `cryptography` (requirements.txt); nothing of the library.
"""

import argparse
import json
import sys
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit("verify.py needs Python 3.11 or later")

sys.dont_write_bytecode = True

try:
    from second import files
    from second.vectors import Fault, check_document, load, survivors
except ModuleNotFoundError as error:
    sys.exit(f"{error}; pip install -r {Path(__file__).with_name('requirements.txt')}")

HERE = Path(__file__).parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", metavar="PATH", nargs="*", type=Path, default=[HERE], help="files of vectors, or directories of them; by default all beside this program")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--self-test", action="store_true", help="then change every value of every vector, one at a time, and fail if a change is not noticed")  # fmt: skip
    parser.add_argument("--per-field", metavar="N", type=int, default=16, help="with --self-test, change at most N bytes of one value, 0 for all (default 16)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="with --self-test, which bytes (default 0)")
    arguments = parser.parse_args()
    summary = {"files": [], "vectors": 0, "refused": 0, "changes": 0, "fault": None}
    try:
        schema = json.loads((HERE / "schema.json").read_text("ascii"))
        for path in expand(arguments.paths):
            run(path, schema, arguments, summary)
    except Fault as fault:
        summary["fault"] = {"file": fault.file, "vector": fault.vector, "field": fault.field, "why": fault.why}
        report(arguments.json, summary)
        sys.exit(1)
    report(arguments.json, summary)


def expand(paths):
    """The files to check. A directory must hold one of each subject, so that none is lost unseen."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(file for file in path.glob("*.json") if file.name != "schema.json")
        missing = set(files.SUBJECT_NAMES) - {file.stem for file in found}
        if missing:
            raise Fault(f"lacks {', '.join(sorted(missing))}", file=str(path))
        yield from found


def run(path, schema, arguments, summary):
    document = load(path, schema)
    if document["subject"] != path.stem:
        raise Fault(f"is named after another subject than {document['subject']!r}", file=path.name)
    check_document(document, path.name)
    refused = sum("refused" in vector["flags"] for vector in document["vectors"])
    line = {"file": path.name, "vectors": len(document["vectors"]), "refused": refused}
    if arguments.self_test:
        line["changes"] = 0
        for survivor in survivors(document, arguments.per_field, arguments.seed):
            if survivor:
                vector, field, by = survivor
                raise Fault(f"a change is not noticed by the {by}, seed {arguments.seed}", path.name, vector, field)
            line["changes"] += 1
        summary["changes"] += line["changes"]
    summary["files"].append(line)
    summary["vectors"] += line["vectors"]
    summary["refused"] += refused


def report(as_json, summary):
    if as_json:
        print(json.dumps(summary))
        return
    for line in summary["files"]:
        changes = f", {line['changes']} changes noticed" if "changes" in line else ""
        print(f"{line['file']:<28} {line['vectors']:>4} vectors, {line['refused']:>3} refused{changes}")
    fault = summary["fault"]
    if fault:
        where = " ".join(str(fault[part]) for part in ("file", "vector", "field") if fault[part])
        print(f"verify.py: {where}: {fault['why']}", file=sys.stderr)
    else:
        print(f"{summary['vectors']} vectors agree, {summary['refused']} of them refused")


if __name__ == "__main__":
    main()
