"""How a file of vectors is put together."""

import hashlib

from ..vectors import canonical, derive, file_check, plain, vector_check


def fixed(what, length=32):
    """Bytes that nobody chose: SHAKE-256 of what they are for."""
    return hashlib.shake_256(b"undertone test vector: " + what.encode()).digest(length)


def flip(data, at, mask=1):
    data = bytearray(data)
    data[at] ^= mask
    return bytes(data)


class File:
    """Collects the vectors of one subject, deriving each result as it goes."""

    def __init__(self, subject, rules, comment):
        self.document = {"subject": subject, "rules": rules.split(), "comment": comment, "vectors": []}

    def _add(self, id_, comment, flags, inputs):
        assert all(vector["id"] != id_ for vector in self.document["vectors"]), (self.document["subject"], id_)
        inputs = plain(inputs)
        result = derive(self.document["subject"], inputs)
        vector = {"id": id_, "comment": comment, "flags": flags, "inputs": inputs, "result": result}
        vector["check"] = vector_check(self.document["subject"], vector)
        self.document["vectors"].append(vector)
        return result

    def accepted(self, id_, comment, *flags, **inputs):
        result = self._add(id_, comment, ["accepted", *flags], inputs)
        assert "refused" not in result, (self.document["subject"], id_, result)
        return result

    def refused(self, id_, code, comment, *flags, **inputs):
        result = self._add(id_, comment, ["refused", *flags], inputs)
        assert result == {"refused": code}, (self.document["subject"], id_, result)

    def bad_encodings(self, whole, len_max, inner_len_at=None, versions_at=(0,), **inputs):
        """What every decoder refuses. `whole` is (name of the input, sound bytes); `inner_len_at` is where a length of
        one byte stands."""
        name, sound = whole

        def bad(id_, code, comment, data):
            self.refused(id_, "too-long" if len(data) > len_max else code, comment, **{**inputs, name: data})

        bad("empty", "malformed", "no byte", b"")
        bad("one-byte", "malformed", "the version alone", sound[:1])
        bad("cut-by-one-byte", "malformed", "the last byte is missing", sound[:-1])
        bad("cut-in-the-middle", "malformed", "the second half is missing", sound[: len(sound) // 2])
        bad("trailing-byte", "malformed", "a zero byte behind the end", sound + b"\0")
        bad("two-glued", "malformed", "the same bytes twice", sound + sound)
        for at in versions_at:
            for version in (0, 2, 255):
                place = f"at-{at}-" if at else ""
                bad(f"version-{place}{version}", "version", f"version {version}", flip(sound, at, sound[at] ^ version))
        if inner_len_at is not None:
            length = sound[inner_len_at]
            front, back = sound[:inner_len_at], sound[inner_len_at + 1 :]
            bad("length-too-small", "malformed", "a length that is one less", front + bytes([length - 1]) + back)
            bad("length-too-large", "malformed", "a length that is one more", front + bytes([length + 1]) + back)
            long = front + bytes([0x40, length]) + back
            bad("length-not-minimal", "malformed", "a length in two bytes that fits into one", long)
            bad("length-not-minimal-4", "malformed", "a length in four bytes", front + bytes([0x80, 0, 0, length]) + back)
            bad("length-prefix-11", "malformed", "a length of eight bytes", front + b"\xff" * 4 + back)
            bad("length-past-the-end", "malformed", "a length of 2^30 - 1", front + b"\xbf\xff\xff\xff" + back)

    def finish(self):
        """The name of the file, and its text: one line per value, so that a change is one line."""
        self.document["check"] = file_check(self.document)
        refused = sum("refused" in vector["flags"] for vector in self.document["vectors"])
        accepted = len(self.document["vectors"]) - refused
        assert refused == 0 or refused >= accepted, (self.document["subject"], accepted, refused)
        return f"{self.document['subject']}.json", text(self.document) + "\n"


def text(value, indent=0, width=120):
    """JSON on one line if it fits, else a line for each member."""
    flat = spaced(value)
    if len(flat) + indent <= width or not isinstance(value, (dict, list)) or not value:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        lines = [f"{pad}{spaced(name)}: {text(item, indent + 2)}" for name, item in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"
    lines = [pad + text(item, indent + 2) for item in value]
    return "[\n" + ",\n".join(lines) + "\n" + " " * indent + "]"


def spaced(value):
    import json

    return json.dumps(value, ensure_ascii=True)


assert canonical({"b": 1, "a": "x"}) == b'{"a":"x","b":1}'
