"""Vector files: their shape, what they are checked for, and how they are changed to see the check fail.

A subject is a function from the inputs of a vector to its result. What it derives is compared with what the file says,
field by field; an input that it does not read, or a result that it does not derive, is a fault of the file.
"""

import hashlib
import json
import random
from pathlib import Path

from .conventions import Refused

SUBJECTS = {}

# Inputs that enter no result, so that the derivation need not notice another value: a clock is only compared with, and the
# second half of an ML-KEM seed matters only for a ciphertext that is wrong (ml-kem-768 has such).
WITHOUT_EFFECT = ("now_ms", "pinned_ms", "kem_z", "pair_kem_z", "offer_z")


def subject(name):
    def register(derive):
        SUBJECTS[name] = derive
        return derive

    return register


class Fault(Exception):
    """A value that is not what it should be: where, and why."""

    def __init__(self, why, file=None, vector=None, field=None):
        super().__init__(why)
        self.why, self.file, self.vector, self.field = why, file, vector, field

    def __str__(self):
        return ": ".join(str(part) for part in (self.file, self.vector, self.field, self.why) if part)


class Inputs:
    """The inputs of a vector, by name and type; remembers which were read."""

    def __init__(self, values):
        self.values = values
        self.read = set()

    def __contains__(self, name):
        return name in self.values

    def raw(self, name):
        if name not in self.values:
            raise Fault("is missing", field=f"inputs.{name}")
        self.read.add(name)
        return self.values[name]

    def bytes(self, name, length=None):
        return as_bytes(self.raw(name), length, f"inputs.{name}")

    def list(self, name, length=None):
        """A list of byte strings."""
        values = self.raw(name)
        if not isinstance(values, list):
            raise Fault("is no list", field=f"inputs.{name}")
        return [as_bytes(value, length, f"inputs.{name}[{at}]") for at, value in enumerate(values)]

    def object(self, name):
        """An object, with inputs of its own; who reads it calls `end`."""
        value = self.raw(name)
        if not isinstance(value, dict):
            raise Fault("is no object", field=f"inputs.{name}")
        return Inputs(value)

    def bool(self, name):
        value = self.raw(name)
        if not isinstance(value, bool):
            raise Fault("is neither true nor false", field=f"inputs.{name}")
        return value

    def objects(self, name):
        """A list of objects, each with inputs of its own."""
        values = self.raw(name)
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise Fault("is no list of objects", field=f"inputs.{name}")
        return [Inputs(value) for value in values]

    def int(self, name, top=2**53):
        value = self.raw(name)
        if type(value) is not int or not 0 <= value <= top:
            raise Fault(f"is no number from 0 to {top}", field=f"inputs.{name}")
        return value

    def ints(self, name, top=2**53):
        values = self.raw(name)
        if not isinstance(values, list) or not all(type(value) is int and 0 <= value <= top for value in values):
            raise Fault(f"is no list of numbers from 0 to {top}", field=f"inputs.{name}")
        return values

    def text(self, name):
        value = self.raw(name)
        if not isinstance(value, str):
            raise Fault("is no text", field=f"inputs.{name}")
        return value

    def end(self):
        for name in self.values:
            if name not in self.read:
                raise Fault("is no input of this subject", field=f"inputs.{name}")


def as_bytes(value, length, field):
    if not isinstance(value, str) or value != value.lower():
        raise Fault("is no lower-case hexadecimal", field=field)
    try:
        data = bytes.fromhex(value) if " " not in value else None
    except ValueError:
        data = None
    if data is None:
        raise Fault("is no lower-case hexadecimal", field=field)
    if length is not None and len(data) != length:
        raise Fault(f"has {len(data)} bytes in place of {length}", field=field)
    return data


def plain(value):
    """What JSON holds for a derived value: byte strings become hexadecimal."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def derive(name, inputs):
    """The result of a vector: what its subject derives, or the code with which the protocol refuses the inputs."""
    if name not in SUBJECTS:
        raise Fault(f"subject {name!r} is not known")
    inputs = Inputs(inputs)
    try:
        result = plain(SUBJECTS[name](inputs))
    except Refused as refused:  # perhaps before all inputs were read
        return {"refused": refused.code}
    inputs.end()
    return result


def canonical(value):
    """JSON as RFC 8785 writes it; the files hold only ASCII and integers up to 2^53."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def vector_check(name, vector):
    rest = {field: value for field, value in vector.items() if field != "check"}
    return hashlib.sha256(canonical({"subject": name, "vector": rest})).hexdigest()


def file_check(document):
    head = {field: value for field, value in document.items() if field not in ("check", "vectors")}
    checks = [vector["check"] for vector in document["vectors"]]
    return hashlib.sha256(canonical({"head": head, "vectors": checks})).hexdigest()


def compare(expected, found, field):
    """Raises at the first difference of what the file says (`expected`) and what was derived (`found`)."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in [*expected, *(name for name in found if name not in expected)]:
            if name not in found:
                raise Fault("is not derived", field=f"{field}.{name}")
            if name not in expected:
                raise Fault(f"is missing; derived is {found[name]!r}", field=f"{field}.{name}")
            compare(expected[name], found[name], f"{field}.{name}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for at, (one, other) in enumerate(zip(expected, found)):
            compare(one, other, f"{field}[{at}]")
    elif type(expected) is not type(found) or expected != found:
        raise Fault(difference(expected, found), field=field)


def difference(expected, found):
    if isinstance(expected, str) and isinstance(found, str):
        at = next((at for at, (a, b) in enumerate(zip(expected, found)) if a != b), min(len(expected), len(found)))
        where = f"byte {at // 2}" if is_hex(expected) and is_hex(found) else f"character {at}"
        return f"{where}: the file says {excerpt(expected, at)}, derived is {excerpt(found, at)}"
    return f"the file says {expected!r}, derived is {found!r}"


def excerpt(text, at):
    at -= at % 2
    return repr(text[at : at + 32] + ("…" if len(text) > at + 32 else ""))


def is_hex(text):
    return len(text) % 2 == 0 and all(digit in "0123456789abcdef" for digit in text)


def check_vector(name, vector):
    """Derives everything, then compares the checksum."""
    try:
        refused = vector["result"].get("refused")
        if ("refused" in vector["flags"]) != (refused is not None):
            raise Fault("the flag `refused` and the result contradict each other", field="flags")
        found = derive(name, vector["inputs"])
        if refused is None and "refused" in found:
            raise Fault(f"is to be accepted, and is refused with {found['refused']!r}", field="result")
        compare(vector["result"], found, "result")
        if vector["check"] != vector_check(name, vector):
            raise Fault("is not the hash of the vector", field="check")
    except Fault as fault:
        fault.vector = vector["id"]
        raise


def load(path, schema):
    from .schema import validate

    try:
        document = json.loads(Path(path).read_bytes().decode("ascii"))
    except (OSError, ValueError) as error:
        raise Fault(str(error), file=Path(path).name) from None
    try:
        validate(document, schema)
        ids = [vector["id"] for vector in document["vectors"]]
        for vector in ids:
            if ids.count(vector) > 1:
                raise Fault("stands twice", vector=vector)
    except Fault as fault:
        fault.file = Path(path).name
        raise
    return document


def check_document(document, file):
    try:
        for vector in document["vectors"]:
            check_vector(document["subject"], vector)
        if document["check"] != file_check(document):
            raise Fault("is not the hash of the file", field="check")
    except Fault as fault:
        fault.file = file
        raise


# Changes


def leaves(value, path=()):
    """Every value of a vector that is not a list or object, with its path."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, (*path, name))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from leaves(item, (*path, at))
    else:
        yield path, value


def replaced(value, path, new):
    """A copy of `value` with `new` at the path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def changes(value, per_field, rng):
    """Changed values: one for each byte, or for `per_field` of them; the mask spares the bits that X25519 ignores."""
    if value is None or isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1 if value < 2**53 else value - 1]
    width = 2 if value and is_hex(value) else 1
    places = range(0, len(value), width)
    if per_field and len(places) > per_field:
        places = sorted(rng.sample(places, per_field))
    return [value[:at] + changed(value[at : at + width]) + value[at + width :] for at in places]


def changed(part):
    if len(part) == 2:
        return f"{int(part, 16) ^ 0x10:02x}"
    return "b" if part in "aA" else "a"


def path_text(path):
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def survivors(document, per_field, seed):
    """Changes each value of each vector, one at a time, and yields the changes that are not noticed; counts all.

    Twice: with the checksum left as it was, where nothing may pass; and, for inputs that are accepted and for all
    results, with the checksum made anew, so that only the derivation can notice.
    """
    name = document["subject"]
    for vector in document["vectors"]:
        rng = random.Random(f"{seed} {name} {vector['id']}")
        truth = derive(name, vector["inputs"])
        for path, value in leaves(vector):
            if path == ("check",):
                continue
            for new in changes(value, per_field, rng):
                changed_vector = replaced(vector, path, new)
                if vector_check(name, changed_vector) == vector["check"]:
                    yield vector["id"], path_text(path), "checksum"
                elif is_noticed(name, changed_vector, path, truth):
                    yield None
                else:
                    yield vector["id"], path_text(path), "derivation"


def is_noticed(name, vector, path, truth):
    """Whether the derivation notices a change, where it is to."""
    try:
        if path[0] == "inputs" and "refused" not in vector["flags"] and path[-1] not in WITHOUT_EFFECT:
            compare(vector["result"], derive(name, vector["inputs"]), "result")
        elif path[0] == "result":
            compare(vector["result"], truth, "result")
        else:
            return True
    except Exception:  # noqa: BLE001: whatever a changed input does, it does not pass
        return True
    return False
