"""The subjects of spec/00-conventions; those of other chapters stand beside their chapter."""

from . import conventions as c
from . import mlkem
from .vectors import Fault, subject


def label(inputs, name="label"):
    """A label as the table has it, with its prefix."""
    text = inputs.text(name)
    if not text.startswith(c.PREFIX) or text.removeprefix(c.PREFIX) not in c.LABELS:
        raise Fault("is no label of the table", field=f"inputs.{name}")
    return text.removeprefix(c.PREFIX)


@subject("vector-length")
def vector_length(inputs):
    encoded = inputs.bytes("encoded")
    value = c.decode(encoded, len(encoded), c.Reader.vec)
    assert c.vec(value) == encoded
    return {"value": value}


@subject("transcript")
def transcript(inputs):
    name, fields = label(inputs), inputs.list("fields")
    return {"transcript": c.transcript(name, fields), "hash": c.H(name, fields)}


@subject("hkdf")
def hkdf(inputs):
    name, fields, salt = label(inputs), inputs.list("fields"), inputs.bytes("salt", 32)
    keys = c.hkdf(salt, inputs.bytes("secret"), name, fields, inputs.int("count"))
    return {"info": c.transcript(name, fields), "keys": keys}


@subject("ed25519")
def ed25519(inputs):
    name, fields = label(inputs), inputs.list("fields")
    if "seed" in inputs:
        seed = inputs.bytes("seed", 32)
        key, signature = c.ed25519_public(seed), c.sign(seed, name, fields)
        c.verify(key, name, fields, signature)
        return {"key": key, "signed": c.transcript(name, fields), "signature": signature}
    c.verify(inputs.bytes("key", 32), name, fields, inputs.bytes("signature", 64))
    return {"verifies": True}


@subject("x25519")
def x25519(inputs):
    secret = inputs.bytes("secret", 32)
    return {"own_public": c.x25519_public(secret), "shared": c.x25519(secret, inputs.bytes("public", 32))}


@subject("chacha20poly1305")
def chacha20poly1305(inputs):
    key, nonce, aad = inputs.bytes("key", 32), inputs.bytes("nonce", 12), inputs.bytes("aad")
    if "plaintext" in inputs:
        plaintext = inputs.bytes("plaintext")
        ciphertext = c.seal(key, nonce, aad, plaintext)
        assert c.open_(key, nonce, aad, ciphertext) == plaintext
        return {"ciphertext": ciphertext}
    return {"plaintext": c.open_(key, nonce, aad, inputs.bytes("ciphertext"))}


@subject("xchacha20poly1305")
def xchacha20poly1305(inputs):
    key, aad = inputs.bytes("key", 32), inputs.bytes("aad")
    if "plaintext" in inputs:
        plaintext = inputs.bytes("plaintext")
        sealed = c.xseal(key, inputs.bytes("nonce", 24), aad, plaintext)
        assert c.xopen(key, aad, sealed) == plaintext
        return {"sealed": sealed}
    return {"plaintext": c.xopen(key, aad, inputs.bytes("sealed"))}


@subject("ml-kem-768")
def ml_kem_768(inputs):
    if "seed" in inputs:
        ek, dk = mlkem.keygen(inputs.bytes("seed", 64))
        ciphertext = inputs.bytes("ciphertext", 1088)
        wrong = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]  # what comes of it shows that z is the same too
        return {
            "encapsulation_key": ek,
            "shared": mlkem.decapsulate(dk, ciphertext),
            "shared_of_another_ciphertext": mlkem.decapsulate(dk, wrong),
        }
    ek = inputs.bytes("encapsulation_key", 1184)
    c.require(mlkem.ek_is_valid(ek), "bad-kem-key")
    shared, ciphertext = mlkem.encapsulate(ek, inputs.bytes("randomness", 32))
    return {"ciphertext": ciphertext, "shared": shared}
