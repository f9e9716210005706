"""spec/dm, "Many devices"."""

from .. import conventions as c
from .. import fanout as f
from .making import File, fixed, flip


def files():
    return [fan_out(), direct_body()]


def fan_out():
    file = File("fan-out", "DM-110 DM-112 DM-113 DM-114", "A payload sealed once for many devices, and what its wraps hold and are bound to.")
    key, ad, payload = fixed("payload key"), b"what the caller binds", b"Hello all"
    made = file.accepted("seals", "key, commitment, ciphertext, and the associated data of each wrap", key=key, payload=payload, ad=ad)
    file.accepted("other-data", "other data of the caller: another binding, the same ciphertext", key=key, payload=payload, ad=b"something else")
    file.accepted("empty", "a payload of no byte", key=fixed("payload key 2"), payload=b"", ad=b"")
    sound = {"wrap_plaintext": key, "commitment": bytes.fromhex(made["commitment"]), "ciphertext": bytes.fromhex(made["ciphertext"])}
    file.accepted("opens", "with what a wrap held", **sound)

    def bad(id_, code, comment, **changes):
        file.refused(id_, code, comment, **{**sound, **changes})

    bad("wrap-of-31-bytes", "malformed", "a wrap held 31 bytes", wrap_plaintext=key[:31])
    bad("wrap-of-33-bytes", "malformed", "a wrap held 33 bytes", wrap_plaintext=key + b"\0")
    bad("empty-wrap", "malformed", "a wrap held nothing", wrap_plaintext=b"")
    other = fixed("another payload key")
    bad("another-key", "does-not-open", "a wrap held another key", wrap_plaintext=other)
    bad("another-commitment", "does-not-open", "the commitment of another key", commitment=f.payload_keys(other)[1])
    bad("bit-of-the-commitment", "does-not-open", "a bit of the commitment", commitment=flip(sound["commitment"], 0))
    bad("another-ciphertext", "does-not-open", "a ciphertext under another key", ciphertext=c.seal(f.payload_keys(other)[0], bytes(12), b"", payload))
    bad("bit-of-the-ciphertext", "does-not-open", "a bit of the ciphertext", ciphertext=flip(sound["ciphertext"], 0))
    bad("bit-of-the-tag", "does-not-open", "a bit of the tag", ciphertext=flip(sound["ciphertext"], -1))
    bad("cut-ciphertext", "does-not-open", "the last byte is missing", ciphertext=sound["ciphertext"][:-1])
    bad("empty-ciphertext", "does-not-open", "no byte", ciphertext=b"")
    return file


def direct_body():
    file = File("direct-body", "ENV-80 ENV-81 ENV-82 ENV-83 ENV-84 ENV-70 ENV-71", "The body of a direct message: lists, places, wraps.")
    lists = [(1, fixed("lower list")), (7, fixed("higher list"))]

    def wrap(side, index, handshake=b""):
        return {"recipient": (side, index), "handshake": handshake, "message": fixed(f"wrap {side} {index}", 130)}

    def body(wraps, sender=(0, 0), lists=lists, once=True):
        many = (fixed("commitment"), fixed("ciphertext", 40)) if once else None
        return f.encode_body(lists, sender, wraps, many)

    inline = body([wrap(1, 0)], once=False)
    three = body([wrap(0, 1), wrap(1, 0), wrap(1, 1)])
    file.accepted("inline", "one recipient: the ratchet message itself", body=inline)
    file.accepted("three", "an own device and two of the peer", body=three)
    file.accepted("with-a-handshake", "as long as the device may not have the session", body=body([wrap(0, 1), wrap(1, 0, fixed("handshake", 1140))]))
    file.accepted("no-recipient", "a body for nobody", body=body([]))
    every = [(side, index) for side in (0, 1) for index in range(16)]
    everybody = [{"recipient": place, "handshake": b"", "message": b"m"} for place in every if place != (1, 15)]
    file.accepted("31-recipients", "16 devices each, without the sender", "boundary", body=body(everybody, sender=(1, 15)))
    file.accepted("list-version-2-53", "the highest list version", "boundary", body=body([wrap(1, 0)], lists=[(2**53, lists[0][1]), lists[1]], once=False))

    short = body([wrap(1, 0, b"short")], once=False)
    file.bad_encodings(("body", short), f.BODY_LEN_MAX, inner_len_at=1 + 80 + 3 + 1 + 3)

    def bad(id_, code, comment, data, *flags):
        file.refused(id_, code, comment, *flags, body=data)

    bad("form-0", "kind", "form 0", flip(inline, 84, 1))
    bad("form-3", "kind", "form 3", flip(inline, 84, 2))
    bad("fan-out-for-one", "bound", "one recipient has form 1", body([wrap(1, 0)]))
    bad("places-fall", "bound", "places do not rise", body([wrap(1, 0), wrap(0, 1)]))
    bad("indices-fall", "bound", "indices do not rise", body([wrap(1, 1), wrap(1, 0)]))
    bad("a-place-twice", "bound", "a device has two wraps", body([wrap(1, 0), wrap(1, 0)]))
    bad("to-the-sender", "bound", "the sender is a recipient", body([wrap(0, 0), wrap(1, 0)]))
    bad("inline-to-the-sender", "bound", "the sender is the recipient", body([wrap(0, 0)], once=False))
    bad("index-16", "bound", "a recipient's index of 16", body([wrap(1, 16)], once=False), "boundary")
    bad("sender-16", "bound", "a sender's index of 16", body([wrap(1, 0)], sender=(0, 16), once=False), "boundary")
    bad("list-version-0", "bound", "a list of version 0", body([wrap(1, 0)], lists=[(0, lists[0][1]), lists[1]], once=False), "boundary")
    bad("list-past-2-53", "bound", "a list of version 2^53 + 1", body([wrap(1, 0)], lists=[lists[0], (2**53 + 1, lists[1][1])], once=False), "boundary")
    bad("list-hash-zero", "bound", "a list whose hash is zeros", body([wrap(1, 0)], lists=[lists[0], (7, bytes(32))], once=False))
    bad("65455-bytes", "too-long", "longer than a body can be", three + bytes(65_455 - len(three)), "boundary")
    return file
