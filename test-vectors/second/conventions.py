"""spec/00-conventions: encodings, labels, primitives."""

import hashlib
import struct
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

COUNTER_MAX = 2**53  # ENC-10


class Refused(Exception):
    """The protocol refuses an input; `code` is one of the table in README.md."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


def require(holds, code):
    if not holds:
        raise Refused(code)


# Encodings


def u8(number):
    return struct.pack(">B", number)


def u16(number):
    return struct.pack(">H", number)


def u32(number):
    return struct.pack(">I", number)


def u64(number):
    return struct.pack(">Q", number)


def vec(data):
    """name<V>: the length in its shortest form (RFC 9420 section 2.1.2), then the bytes."""
    if len(data) < 1 << 6:
        return u8(len(data)) + data
    if len(data) < 1 << 14:
        return u16(len(data) | 1 << 14) + data
    assert len(data) < 1 << 30
    return u32(len(data) | 1 << 31) + data


class Reader:
    """Reads one encoding from left to right (ENC-01)."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, length):
        require(length <= len(self.data) - self.at, "malformed")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, length):
        return int.from_bytes(self.take(length), "big")

    def u8(self):
        return self.number(1)

    def u16(self):
        return self.number(2)

    def u32(self):
        return self.number(4)

    def u64(self):
        return self.number(8)

    def vec(self):
        first = self.u8()
        length_len = 1 << (first >> 6)
        require(length_len <= 4, "malformed")
        length = (first & 0x3F) << 8 * (length_len - 1) | self.number(length_len - 1)
        shortest = 1 if length < 1 << 6 else 2 if length < 1 << 14 else 4
        require(length_len == shortest, "malformed")
        return self.take(length)

    def option(self, read):
        present = self.u8()
        require(present <= 1, "malformed")
        return read(self) if present else None

    def items(self, read):
        """A list <V>: the length of all elements in bytes, then the elements."""
        inner, found = Reader(self.vec()), []
        while inner.at < len(inner.data):
            found.append(read(inner))
        return found

    def version(self):
        """ENC-02."""
        require(self.u8() == 1, "version")

    def end(self):
        require(self.at == len(self.data), "malformed")


def decode(data, len_max, read):
    """A structure that fills `data`, at most `len_max` bytes (ENC-01, ENC-09)."""
    require(len(data) <= len_max, "too-long")
    reader = Reader(data)
    value = read(reader)
    reader.end()
    return value


# Labels and transcripts (ENC-03, ENC-08)

PREFIX = "undertone/v1/"

LABELS = [
    "account id",
    "device id",
    "account certificate",
    "device certificate",
    "device list",
    "device request",
    "hash of device list",
    "invitation",
    "linking offer",
    "linking transcript",
    "linking key",
    "linking commitment",
    "linking code",
    "safety number",
    "prekey",
    "direct handshake",
    "direct transcript",
    "direct replay",
    "direct root",
    "direct chain",
    "direct message",
    "direct aad",
    "direct pq",
    "direct payload",
    "direct wrap",
    "gate read key",
    "gate append key",
    "generation",
    "outer key",
    "ephemeral key",
    "log root",
    "control key",
    "shell",
    "light shell",
    "light signature",
    "inbox address",
    "inbox seal",
    "inbox sender",
    "history control",
    "history entry",
    "history chunk",
    "history digest",
    "epoch evidence",
    "conversation id",
    "message id",
    "log id",
    "inbox id",
    "slot id",
    "entry leaf",
    "entry head",
    "payload",
    "gate proof",
    "publish",
    "open inbox",
    "inbox token",
]


def transcript(label, fields):
    assert label in LABELS, label
    return b"".join(vec(field) for field in [(PREFIX + label).encode(), *fields])


def sha256(data):
    return hashlib.sha256(data).digest()


def H(label, fields):
    return sha256(transcript(label, fields))


# Primitives


def hkdf(salt, secret, label, fields, count=1):
    """ENC-04: `count` keys of 32 bytes from one output."""
    info = transcript(label, fields)
    okm = HKDF(algorithm=hashes.SHA256(), length=32 * count, salt=salt, info=info).derive(secret)
    return [okm[32 * n : 32 * n + 32] for n in range(count)]


def KDF(secret, label, fields):
    return hkdf(bytes(32), secret, label, fields)[0]


@lru_cache(512)
def ed25519_public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign(seed, label, fields):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(transcript(label, fields))


def verify(key, label, fields, signature):
    """ENC-05: strict, so that every verifier gives the same answer."""
    require(is_signed(key, transcript(label, fields), signature), "bad-signature")


@lru_cache(4096)
def is_signed(key, signed, signature):
    point, R = Point.decode(key), Point.decode(signature[:32])
    S = int.from_bytes(signature[32:], "little")
    if not point or not R or point.is_small_order() or R.is_small_order() or S >= Point.L:
        return False
    try:
        # OpenSSL uses the equation without cofactor.
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except InvalidSignature:
        return False
    return True


class Point:
    """A point of edwards25519 (RFC 8032 section 5.1), for what libraries do not show: small orders."""

    P = 2**255 - 19
    L = 2**252 + 27742317777372353535851937790883648493
    D = -121665 * pow(121666, -1, P) % P

    def __init__(self, x, y):
        self.x, self.y = x, y

    @classmethod
    def decode(cls, data):
        """The point, or nothing if the bytes are not the canonical encoding of one (section 5.1.3)."""
        y = int.from_bytes(data, "little")
        sign_bit, y = y >> 255, y & (1 << 255) - 1
        if y >= cls.P:
            return None
        u, v = (y * y - 1) % cls.P, (cls.D * y * y + 1) % cls.P
        x = u * pow(v, 3, cls.P) * pow(u * pow(v, 7, cls.P), (cls.P - 5) // 8, cls.P) % cls.P
        if v * x * x % cls.P != u:
            x = x * pow(2, (cls.P - 1) // 4, cls.P) % cls.P
        if v * x * x % cls.P != u or (x == 0 and sign_bit):
            return None
        return cls(cls.P - x if x & 1 != sign_bit else x, y)

    def encode(self):
        return (self.y | (self.x & 1) << 255).to_bytes(32, "little")

    def __add__(self, other):
        product = self.D * self.x * other.x * self.y * other.y % self.P
        x = (self.x * other.y + self.y * other.x) * pow(1 + product, -1, self.P)
        y = (self.y * other.y + self.x * other.x) * pow(1 - product, -1, self.P)
        return Point(x % self.P, y % self.P)

    def times(self, scalar):
        result, power = Point(0, 1), self
        while scalar:
            if scalar & 1:
                result = result + power
            power, scalar = power + power, scalar >> 1
        return result

    def is_small_order(self):
        eightfold = self.times(8)
        return (eightfold.x, eightfold.y) == (0, 1)


def x25519_public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def x25519(secret, public):
    """ENC-07: canonical and contributory, or refused."""
    require(int.from_bytes(public, "little") < Point.P, "non-canonical")
    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:  # 32 zero bytes
        raise Refused("low-order") from None


def x25519_check(public):
    """A clamped secret is a multiple of the cofactor, so that any of them finds a low order."""
    x25519(bytes(32), public)


def seal(key, nonce, aad, plaintext):
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad)


def open_(key, nonce, aad, ciphertext):
    """ENC-06."""
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, aad)
    except InvalidTag:
        raise Refused("does-not-open") from None


def hchacha20(key, nonce):
    """draft-irtf-cfrg-xchacha section 2.2: the block function of ChaCha20 without its last addition."""
    block = Cipher(algorithms.ChaCha20(key, nonce), None).encryptor().update(bytes(64))
    words = struct.unpack("<16I", block)
    start = struct.unpack("<16I", b"expand 32-byte k" + key + nonce)
    mixed = [(word - first) % 2**32 for word, first in zip(words, start)]
    return struct.pack("<8I", *mixed[:4], *mixed[12:])


def xseal(key, nonce, aad, plaintext):
    """XChaCha20-Poly1305 with its nonce of 24 bytes in front."""
    return nonce + seal(hchacha20(key, nonce[:16]), bytes(4) + nonce[16:], aad, plaintext)


def xopen(key, aad, sealed):
    require(len(sealed) >= 40, "does-not-open")
    nonce = sealed[:24]
    return open_(hchacha20(key, nonce[:16]), bytes(4) + nonce[16:], aad, sealed[24:])
