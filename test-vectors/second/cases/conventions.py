"""spec/00-conventions."""

from .. import conventions as c
from .. import mlkem
from .. import subjects  # noqa: F401: registers them
from .making import File, fixed, flip


def label(name):
    return c.PREFIX + name


def files():
    return [
        vector_length(), transcript(), hkdf(), ed25519(), x25519(), chacha20poly1305(), xchacha20poly1305(),
        ml_kem_768(),
    ]  # fmt: skip


def vector_length():
    file = File("vector-length", "ENC-01", "name<V>: a length in its shortest form, then the bytes; nothing behind.")
    for length in (0, 1, 63, 64, 16_383, 16_384):
        value = bytes(length)
        file.accepted(f"{length}-bytes", f"{length} zero bytes", "boundary", encoded=c.vec(value))
    bad = file.refused
    bad("empty", "malformed", "no byte, not even a length", encoded=b"")
    bad("half-a-length-of-two", "malformed", "the first byte of a length of two", encoded=b"\x40")
    bad("half-a-length-of-four", "malformed", "two bytes of a length of four", encoded=b"\x80\x00")
    bad("cut-by-one-byte", "malformed", "one byte is missing", encoded=b"\x03ab")
    bad("trailing-byte", "malformed", "one byte too many", encoded=b"\x02abc")
    bad("two-glued", "malformed", "two values", encoded=b"\x01a\x01a")
    bad("0-in-two-bytes", "malformed", "a length of 0 in two bytes", encoded=b"\x40\x00")
    bad("63-in-two-bytes", "malformed", "a length of 63 in two bytes", "boundary", encoded=b"\x40\x3f" + bytes(63))
    bad("63-in-four-bytes", "malformed", "a length of 63 in four bytes", encoded=b"\x80\0\0\x3f" + bytes(63))
    long = b"\x80\0\x3f\xff" + bytes(16_383)
    bad("16383-in-four-bytes", "malformed", "a length of 16 383 in four bytes", "boundary", encoded=long)
    bad("length-of-eight", "malformed", "a length of eight bytes", encoded=b"\xc0\0\0\0\0\0\0\0")
    bad("length-ffffffff", "malformed", "a first byte of ff", encoded=b"\xff\xff\xff\xff")
    bad("length-past-the-end", "malformed", "2^30 - 1 bytes are declared", encoded=b"\xbf\xff\xff\xffabc")
    return file


def transcript():
    file = File("transcript", "ENC-03", "transcript(label, fields) and H(label, fields). Nothing is refused here.")
    name = label("payload")
    file.accepted("no-field", "the label alone", label=name, fields=[])
    file.accepted("one-empty-field", "differs from no field", label=name, fields=[b""])
    file.accepted("two-empty-fields", "differs from one", label=name, fields=[b"", b""])
    file.accepted("ab-c", "the bytes of the next vector, divided otherwise", label=name, fields=[b"ab", b"c"])
    file.accepted("a-bc", "the bytes of the vector before, divided otherwise", label=name, fields=[b"a", b"bc"])
    file.accepted("a-field-like-an-encoding", "one field that looks like two", label=name, fields=[c.vec(b"ab") + c.vec(b"c")])
    file.accepted("other-label", "the fields of ab-c under another label", label=label("entry leaf"), fields=[b"ab", b"c"])
    for length in (63, 64, 16_383, 16_384):
        field = fixed("transcript field", 32) * 512
        file.accepted(f"field-of-{length}", "a field around a step of the length", "boundary", label=name, fields=[field[:length]])
    return file


def hkdf():
    file = File("hkdf", "ENC-04", "KDF(secret, label, fields): keys of 32 bytes from one output. Nothing is refused here.")
    secret, zero = fixed("hkdf secret"), bytes(32)
    common = {"salt": zero, "secret": secret, "label": label("outer key"), "fields": [fixed("hkdf field")], "count": 1}
    file.accepted("one-key", "one key", **common)
    file.accepted("no-field", "no field", **{**common, "fields": []})
    file.accepted("empty-field", "an empty field", **{**common, "fields": [b""]})
    file.accepted("two-keys", "two keys; the first is that of one-key", **{**common, "count": 2})
    file.accepted("four-keys", "four keys", **{**common, "count": 4})
    file.accepted("a-salt", "a salt that is not zero, as in a root step", **{**common, "salt": fixed("hkdf salt"), "count": 3})
    file.accepted("a-long-secret", "input key material of 160 bytes", **{**common, "secret": fixed("hkdf long secret", 160), "count": 4})
    return file


def ed25519():
    file = File("ed25519", "ENC-05 ENC-03", "Signatures over a transcript. Refused is what one verifier takes and another does not.")
    seed, name, fields = fixed("ed25519 seed"), label("publish"), [b"one", b"", fixed("ed25519 field")]
    signed = file.accepted("signs", "a signature is made", seed=seed, label=name, fields=fields)
    key, signature = bytes.fromhex(signed["key"]), bytes.fromhex(signed["signature"])
    sound = {"key": key, "label": name, "fields": fields, "signature": signature}
    file.accepted("no-field", "the label alone is signed", seed=fixed("ed25519 seed 2"), label=name, fields=[])
    file.accepted("verifies", "the first signature, by the key alone", **sound)

    def bad(id_, comment, *flags, **changes):
        file.refused(id_, "bad-signature", comment, *flags, **{**sound, **changes})

    bad("another-label", "signed under another label", label=label("open inbox"))
    bad("another-field", "a field was changed", fields=[b"two", *fields[1:]])
    bad("fields-divided-otherwise", "the same bytes, other fields", fields=[b"on", b"e", fields[2]])
    bad("a-field-less", "the last field is missing", fields=fields[:2])
    bad("another-key", "another key", key=c.ed25519_public(fixed("ed25519 other seed")))
    bad("bit-of-r", "the lowest bit of R was flipped", signature=flip(signature, 0))
    bad("bit-of-s", "the lowest bit of S was flipped", signature=flip(signature, 32))
    bad("zero-signature", "64 zero bytes", signature=bytes(64))
    order = c.Point.L
    s = int.from_bytes(signature[32:], "little")
    bad("s-plus-l", "S + L, the same number modulo L", signature=signature[:32] + (s + order).to_bytes(32, "little"))
    bad("s-of-l", "S = L", "boundary", signature=signature[:32] + order.to_bytes(32, "little"))
    not_a_point = next(y.to_bytes(32, "little") for y in range(2, 99) if c.Point.decode(y.to_bytes(32, "little")) is None)
    bad("key-is-no-point", "the key is no point of the curve", key=not_a_point)
    bad("r-is-no-point", "R is no point of the curve", signature=not_a_point + signature[32:])
    for number, point in enumerate(small_order()):
        # With A of small order and R = S*B - h*A chosen so that h*A vanishes, anybody can sign.
        bad(f"key-of-small-order-{number}", "a public key of small order, signed by nobody", key=point, signature=signed_by_nobody(point, name, fields))
    identity = c.Point(0, 1).encode()
    a = secret_scalar(seed)
    s = challenge(identity, key, name, fields) * a % order
    bad("r-of-small-order", "R is the identity, and the equation holds", signature=identity + s.to_bytes(32, "little"))
    bad("identity-not-canonical", "the identity as y = p + 1", key=(c.Point.P + 1).to_bytes(32, "little"), signature=signed_by_nobody(identity, name, fields))
    mixed, mixed_signature = cofactored(name, fields)
    bad("only-with-cofactor", "a key of mixed order, whose signature verifies only with the cofactor", key=mixed, signature=mixed_signature)
    return file


BASE = c.Point.decode(bytes.fromhex("58" + "66" * 31))


def small_order():
    """The eight points of small order."""
    torsion = next(
        point
        for y in range(2, 99)
        if (found := c.Point.decode(y.to_bytes(32, "little")))
        for point in [found.times(c.Point.L)]
        if point.times(4).encode() != c.Point(0, 1).encode()
    )
    return [torsion.times(n).encode() for n in range(8)]


def secret_scalar(seed):
    import hashlib

    digest = bytearray(hashlib.sha512(seed).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    return int.from_bytes(digest, "little")


def challenge(r, key, name, fields):
    import hashlib

    digest = hashlib.sha512(r + key + c.transcript(name.removeprefix(c.PREFIX), fields)).digest()
    return int.from_bytes(digest, "little") % c.Point.L


def signed_by_nobody(key, name, fields):
    """A signature that a lax verifier takes under a key of small order: S = r, R = r*B, with h*A the identity."""
    for n in range(1, 2000):
        r = int.from_bytes(fixed(f"nobody {n}"), "little") % c.Point.L
        R = BASE.times(r).encode()
        if c.Point.decode(key).times(challenge(R, key, name, fields)).encode() == c.Point(0, 1).encode():
            return R + r.to_bytes(32, "little")
    raise AssertionError("no such signature")


def cofactored(name, fields):
    """A key A = a*B + T with T of order 8, and R = r*B: 8*S*B = 8*R + 8*h*A holds, S*B = R + h*A does not."""
    torsion = c.Point.decode(small_order()[1])
    a = int.from_bytes(fixed("mixed order a"), "little") % c.Point.L
    key = (BASE.times(a) + torsion).encode()
    r = int.from_bytes(fixed("mixed order r"), "little") % c.Point.L
    R = BASE.times(r).encode()
    h = challenge(R, key, name, fields)
    assert h % 8 != 0
    return key, R + ((r + h * a) % c.Point.L).to_bytes(32, "little")


def x25519():
    file = File("x25519", "ENC-07", "Key agreement. Secrets are clamped when used (RFC 7748 section 5).")
    one, other = fixed("x25519 one"), fixed("x25519 other")
    file.accepted("one-side", "a secret is agreed", secret=one, public=c.x25519_public(other))
    file.accepted("other-side", "the same secret, agreed by the other", secret=other, public=c.x25519_public(one))
    file.accepted(
        "rfc-7748", "RFC 7748 section 5.2, first vector; one bit of it is masked there and 0 in it", "foreign",
        secret=bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
        public=bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
    )  # fmt: skip
    two = (2).to_bytes(32, "little")
    file.accepted("smallest-u", "u = 2, the smallest that is not of low order", "boundary", secret=one, public=two)
    top = (c.Point.P - 2).to_bytes(32, "little")
    file.accepted("greatest-u", "u = p - 2, the greatest", "boundary", secret=one, public=top)

    def bad(id_, code, comment, number, *flags):
        file.refused(id_, code, comment, *flags, secret=one, public=number.to_bytes(32, "little"))

    p, u = c.Point.P, int.from_bytes(c.x25519_public(other), "little")
    for id_, comment, number in LOW_ORDER:
        bad(id_, "low-order", comment, number)
    bad("p-is-zero", "non-canonical", "u = p, another encoding of 0", p, "boundary")
    bad("p-plus-1-is-one", "non-canonical", "u = p + 1, another encoding of 1", p + 1)
    bad("p-plus-9", "non-canonical", "u = p + 9, another encoding of 9, the base point", p + 9)
    bad("greatest-of-255-bits", "non-canonical", "u = 2^255 - 1", 2**255 - 1)
    bad("top-bit", "non-canonical", "the public key of other-side with its top bit set, which RFC 7748 would mask", u | 1 << 255)
    bad("all-ones", "non-canonical", "32 bytes of ff", 2**256 - 1)
    return file


LOW_ORDER = [
    ("u-0", "u = 0", 0),
    ("u-1", "u = 1", 1),
    ("u-of-order-8", "a point of order 8", int.from_bytes(bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"), "little")),
    ("u-of-order-8-other", "the other u of order 8", int.from_bytes(bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"), "little")),
    ("u-minus-1", "u = p - 1", c.Point.P - 1),
]  # fmt: skip


def chacha20poly1305():
    file = File("chacha20poly1305", "ENC-06", "ChaCha20-Poly1305 with a nonce that the rule gives.")
    key, nonce, aad, plaintext = fixed("chacha key"), fixed("chacha nonce", 12), b"associated data", b"plaintext"
    sealed = file.accepted("seals", "a short plaintext", key=key, nonce=nonce, aad=aad, plaintext=plaintext)
    file.accepted("empty", "neither plaintext nor associated data: the tag alone", key=key, nonce=nonce, aad=b"", plaintext=b"")
    ciphertext = bytes.fromhex(sealed["ciphertext"])
    sound = {"key": key, "nonce": nonce, "aad": aad, "ciphertext": ciphertext}
    file.accepted("opens", "the first ciphertext", **sound)
    does_not_open(file, sound, "ciphertext", key, ciphertext)
    file.refused("another-nonce", "does-not-open", "another nonce", **{**sound, "nonce": flip(nonce, 0)})
    return file


def xchacha20poly1305():
    file = File("xchacha20poly1305", "ENC-06", "XChaCha20-Poly1305 with its nonce of 24 bytes in front.")
    key, nonce, aad, plaintext = fixed("xchacha key"), fixed("xchacha nonce", 24), b"associated data", b"plaintext"
    sealed = file.accepted("seals", "a short plaintext", key=key, nonce=nonce, aad=aad, plaintext=plaintext)
    file.accepted("empty", "neither plaintext nor associated data", key=key, nonce=nonce, aad=b"", plaintext=b"")
    data = bytes.fromhex(sealed["sealed"])
    sound = {"key": key, "aad": aad, "sealed": data}
    file.accepted("opens", "the first ciphertext", **sound)
    does_not_open(file, sound, "sealed", key, data)
    file.refused("another-nonce", "does-not-open", "a bit of the nonce was flipped", **{**sound, "sealed": flip(data, 0)})
    file.refused("nonce-alone", "does-not-open", "24 bytes", **{**sound, "sealed": data[:24]})
    return file


def does_not_open(file, sound, name, key, data):
    def bad(id_, comment, **changes):
        file.refused(id_, "does-not-open", comment, **{**sound, **changes})

    bad("no-bytes", "no byte", **{name: b""})
    bad("bit-of-the-tag", "a bit of the tag was flipped", **{name: flip(data, -1)})
    bad("short-tag", "a tag of 15 bytes", **{name: data[:-1]})
    bad("long-tag", "a byte behind the tag", **{name: data + b"\0"})
    bad("no-tag", "the ciphertext without its tag", **{name: data[:-16]})
    bad("another-key", "another key", key=flip(key, 31))
    bad("another-aad", "other associated data", aad=b"associated dates")
    bad("no-aad", "no associated data", aad=b"")


def ml_kem_768():
    file = File("ml-kem-768", "ENC-11", "FIPS 203: a key from its seed d | z, encapsulation with given randomness, decapsulation.")
    seed, randomness = fixed("ml-kem seed", 64), fixed("ml-kem randomness")
    ek, _ = mlkem.keygen(seed)
    sealed = file.accepted("encapsulates", "a shared secret and its ciphertext", encapsulation_key=ek, randomness=randomness)
    ciphertext = bytes.fromhex(sealed["ciphertext"])
    opened = file.accepted("decapsulates", "the same shared secret", seed=seed, ciphertext=ciphertext)
    assert opened["shared"] == sealed["shared"]
    rejected = file.accepted("rejects-implicitly", "a bit was flipped: another secret and no error", seed=seed, ciphertext=flip(ciphertext, 0))
    assert rejected["shared"] == opened["shared_of_another_ciphertext"]

    def bad(id_, comment, key, *flags):
        file.refused(id_, "bad-kem-key", comment, *flags, encapsulation_key=key, randomness=randomness)

    bad("coefficient-q", "the first coefficient is q, the smallest that is not reduced", bytes([0x01, ek[1] & 0xF0 | 0x0D]) + ek[2:], "boundary")
    bad("coefficient-greatest", "the first coefficient is 4 095", bytes([0xFF, ek[1] | 0x0F]) + ek[2:])
    last = ek[:1150] + bytes([ek[1150] & 0x0F | 0x10, 0xD0]) + ek[1152:]
    bad("last-coefficient-q", "the last coefficient is q", last, "boundary")
    bad("all-ones", "1 184 bytes of ff", b"\xff" * 1184)
    return file
