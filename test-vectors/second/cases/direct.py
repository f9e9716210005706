"""spec/dm."""

from .. import conventions as c
from .. import direct as d
from .. import mlkem
from ..vectors import Inputs
from .making import File, fixed, flip

NOW_MS = 1_800_000_000_000
DAY_MS = d.DAY_MS


def files():
    return [
        prekeys(), handshake_message(), handshake(), root_step(), chain_step(), message_key(), ratchet_message(), pq_step(),
        chunks(), conversation(),
    ]  # fmt: skip


def person(name, **changes):
    """The randomness of a new account with its first device, whose certificate is valid for five years."""
    return {
        "account_seed": fixed(f"direct account key of {name}"),
        "account_nonce": fixed(f"direct account nonce of {name}", 16),
        "created_ms": NOW_MS,
        "not_after_ms": NOW_MS + 5 * 365 * DAY_MS,
        "signing_seed": fixed(f"direct signing key of {name}"),
        "dh_secret": fixed(f"direct DH key of {name}"),
        **changes,
    }


def prekey_secrets(name, made_ms=NOW_MS):
    return {
        "made_ms": made_ms,
        "signed_id": 1,
        "pair_id": 2,
        "dh_secret": fixed(f"signed prekey of {name}"),
        "kem_d": fixed(f"KEM prekey of {name}, d"),
        "kem_z": fixed(f"KEM prekey of {name}, z"),
        "pair_dh_secret": fixed(f"one-time DH key of {name}"),
        "pair_kem_d": fixed(f"one-time KEM key of {name}, d"),
        "pair_kem_z": fixed(f"one-time KEM key of {name}, z"),
    }


def plain_inputs(values):
    return Inputs({name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()})


def of(name):
    """A person and their prekeys."""
    whole = d.Person(plain_inputs(person(name)))
    return whole, d.Prekeys(whole, plain_inputs(prekey_secrets(name)))


def prekeys():
    file = File(
        "prekeys", "DM-01 DM-02 DM-03 DM-04 DM-05 DM-06",
        "What a device publishes, made from its randomness; or a bundle as an initiator takes it up at `now_ms`, without an item weakly.",
    )  # fmt: skip
    file.accepted("made", "a body and an item", person=hexed(person("Bob")), prekeys=hexed(prekey_secrets("Bob")))
    file.accepted("made-later", "made 7 days later", person=hexed(person("Bob")), prekeys=hexed(prekey_secrets("Bob", NOW_MS + 7 * DAY_MS)))
    bob, made = of("Bob")
    base = {"account_certificate": bob.account_certificate, "device_certificate": bob.certificate, "body": made.body, "now_ms": NOW_MS}
    file.accepted("with-a-pair", "both", **base, item=made.item)
    file.accepted("without-a-pair", "the prekey of last resort serves", **base)
    file.accepted("a-day-early", "the initiator's clock is a day behind", "boundary", **{**base, "now_ms": NOW_MS - DAY_MS}, item=made.item)
    file.accepted("last-instant", "30 days later", "boundary", **{**base, "now_ms": NOW_MS + 30 * DAY_MS}, item=made.item)

    def bad(id_, code, comment, *flags, item=made.item, **changes):
        more = {} if item is None else {"item": item}
        file.refused(id_, code, comment, *flags, **{**base, **changes, **more})

    split = 1 + 26 + 32 + 64
    body = made.body
    for version in (0, 2, 255):
        bad(f"body-version-{version}", "version", f"a body of version {version}", body=bytes([version]) + body[1:])
        bad(f"item-version-{version}", "version", f"an item of version {version}", item=bytes([version]) + made.item[1:])
    bad("body-empty", "malformed", "no byte", body=b"")
    bad("body-cut", "malformed", "the last byte of the body is missing", body=body[:-1])
    bad("body-continued", "malformed", "a byte behind the body", body=body + b"\0")
    bad("item-cut", "malformed", "the last byte of the item is missing", item=made.item[:-1])
    bad("item-continued", "malformed", "a byte behind the item", item=made.item + b"\0")
    bad("kind-0", "malformed", "a kind that is none", body=flip(body, 1, 1))
    bad("kind-4", "malformed", "a kind that is none", item=flip(made.item, 1, 7))
    bad("last-resort-2", "malformed", "a flag that is neither 0 nor 1", body=flip(body, 26, 3))
    bad("dh-key-exchanged", "bad-signature", "another DH key", body=flip(body, 27))
    bad("kem-key-exchanged", "bad-signature", "another KEM key, and no pair in its place", body=flip(body, split + 26), item=None)
    bad("dates-exchanged", "bad-signature", "a prekey that lasts longer than its device said", body=flip(body, 20))
    bad("flag-exchanged", "bad-signature", "a pair that says it is of last resort", item=flip(made.item, 26))
    bad("no-signature", "bad-signature", "64 zero bytes", body=body[: split - 64] + bytes(64) + body[split:])
    bad("item-key-exchanged", "bad-signature", "another DH key in the pair", item=flip(made.item, 27))

    def signed(prekey, seed=bob.signing_seed, device_id=bob.device_id, label="prekey", fields=None):
        fields = fields or d.prekey_signed(device_id, prekey)
        return prekey + c.sign(seed, label, fields)

    def with_signed(prekey, **how):
        return b"\1" + signed(prekey, **how) + body[split:]

    eve, of_eve = of("Eve")
    bad("signed-by-another-device", "bad-signature", "signed by another device", body=with_signed(made.signed, seed=eve.signing_seed))
    bad("signed-by-the-account", "bad-signature", "signed by the account's key", body=with_signed(made.signed, seed=bob.account_seed))
    bad("for-another-device", "bad-signature", "the right key over another device's id", body=with_signed(made.signed, device_id=eve.device_id))
    bad("another-label", "bad-signature", "signed as if it were a certificate", body=with_signed(made.signed, label="device certificate"))
    bad("fields-in-another-order", "bad-signature", "version and device exchanged", body=with_signed(made.signed, fields=[bob.device_id, b"\1", made.signed]))
    bad("body-of-another", "bad-signature", "the body of another device", body=of_eve.body)
    bad("item-of-another", "bad-signature", "the pair of another device", item=of_eve.item)
    last = NOW_MS + 30 * DAY_MS
    dh, kem = c.x25519_public(made.dh_secret), mlkem.keygen(made.kem_seed)[0]

    def terms(kind=1, number=1, first=NOW_MS, last=last, resort=1):
        return c.u8(kind) + c.u64(number) + c.u64(first) + c.u64(last) + c.u8(resort)

    bad("of-the-kind-of-the-other", "wrong-kind", "a signed prekey that says it is a KEM prekey", body=with_signed(terms(kind=2) + dh))
    bad("signed-prekey-once", "wrong-kind", "a signed prekey that is not of last resort", body=with_signed(terms(resort=0) + dh))
    bad("two-ids", "wrong-kind", "the two prekeys of a body have two ids", body=with_signed(terms(number=9) + dh))
    kem_once = b"\1" + body[1:split] + signed(terms(kind=2, resort=0) + kem)
    bad("kem-prekey-once", "wrong-kind", "a KEM prekey that is not of last resort", body=kem_once)
    pair_keys = made.pair[26:]
    forever = b"\1" + signed(terms(kind=3, number=2, resort=1) + pair_keys)
    bad("pair-of-last-resort", "wrong-kind", "a pair that is of last resort", item=forever)
    bad("pair-as-signed-prekey", "wrong-kind", "a pair that says it is a signed prekey", item=b"\1" + signed(terms(number=2) + pair_keys))
    later = d.Prekeys(bob, plain_inputs(prekey_secrets("Bob", NOW_MS + 7 * DAY_MS)))
    bad("more-than-a-day-early", "not-yet-valid", "a millisecond more than a day ahead of the initiator's clock", "boundary", body=later.body, item=later.item, now_ms=NOW_MS + 6 * DAY_MS - 1)
    bad("expired", "expired", "a millisecond behind its 30 days", "boundary", now_ms=last + 1)
    old = b"\1" + signed(terms(kind=3, number=2, first=0, last=NOW_MS - 1, resort=0) + pair_keys)
    bad("pair-expired", "expired", "the pair is over, the body is not", "boundary", item=old)
    return file


def hexed(values):
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


def handshake_message():
    file = File("handshake-message", "DM-01 DM-10", "The handshake at the beginning of a first message, decoded.")
    ephemeral, ciphertext = fixed("some ephemeral key"), fixed("some ciphertext", 1088)
    weak = d.encode_handshake(37, 1, None, ephemeral, ciphertext)
    whole = d.encode_handshake(37, 1, 2, ephemeral, ciphertext)
    file.accepted("with-a-pair", "1 140 bytes", handshake=whole)
    file.accepted("without-a-pair", "1 132 bytes", handshake=weak)
    for length in (32, 1184):
        data = d.encode_handshake(length, 1, 2, ephemeral, ciphertext)
        file.accepted(f"chunks-of-{length}", f"chunks of {length} bytes", "boundary", handshake=data)
    for length in (0, 31, 1185, 65_535):
        data = d.encode_handshake(length, 1, 2, ephemeral, ciphertext)
        flags = ["boundary"] if length in (31, 1185) else []
        file.refused(f"chunks-of-{length}", "malformed", f"chunks of {length} bytes", *flags, handshake=data)
    file.bad_encodings(("handshake", whole), 2**20)
    file.refused("option-2", "malformed", "neither with a pair nor without", handshake=flip(whole, 11, 3))
    file.refused("kem-stripped", "malformed", "without the ciphertext, as if there were no KEM", handshake=whole[:-1088])
    file.refused("weak-continued", "malformed", "eight bytes behind one without a pair", handshake=weak + bytes(8))
    return file


def handshake():
    file = File("handshake", "DM-11 DM-12 DM-13 DM-14 DM-17", "Every secret of a handshake, the transcript, and the four keys. Refusals of its keys stand in x25519 and ml-kem-768.")
    common = {
        "chunk_len": 37,
        "initiator_account_id": fixed("account id of the initiator"),
        "initiator_device_id": fixed("device id of the initiator"),
        "responder_account_id": fixed("account id of the responder"),
        "responder_device_id": fixed("device id of the responder"),
        "initiator_dh_secret": fixed("DH key of the initiator"),
        "ephemeral_secret": fixed("ephemeral key of the initiator"),
        "responder_dh_secret": fixed("DH key of the responder"),
        "signed_secret": fixed("signed prekey of the responder"),
        "signed_terms": d.terms(d.SIGNED, 1, NOW_MS, NOW_MS + 30 * DAY_MS),
        "kem_d": fixed("KEM prekey of the responder, d"),
        "kem_z": fixed("KEM prekey of the responder, z"),
        "kem_randomness": fixed("KEM randomness of the initiator"),
    }
    pair = {"pair_secret": fixed("one-time key of the responder"), "kem_terms": d.terms(d.PAIR, 2, NOW_MS, NOW_MS + 90 * DAY_MS)}
    weak = {"kem_terms": d.terms(d.LAST_RESORT, 1, NOW_MS, NOW_MS + 30 * DAY_MS)}
    file.accepted("with-a-pair", "four agreements and the KEM key of the pair", **common, **pair)
    file.accepted("without-a-pair", "three agreements and the KEM key of last resort", **common, **weak)
    file.accepted("other-chunks", "another chunk length: another session, other keys", **{**common, "chunk_len": 1184}, **pair)
    sides = {name: common[name.replace("initiator", "x").replace("responder", "initiator").replace("x", "responder")] for name in common if name.endswith("_id")}
    file.accepted("sides-swapped", "the ids of both sides exchanged: another session", **{**common, **sides}, **pair)
    return file


def root_step():
    file = File("root-step", "DM-22 DM-12", "A step of the root chain with our ratchet key and theirs.")
    root, ours, theirs = fixed("root key"), fixed("our ratchet key"), fixed("their ratchet key")
    one = file.accepted("ours", "as one side takes it", root_key=root, ours_secret=ours, theirs=c.x25519_public(theirs))
    other = file.accepted("theirs", "as the other side takes it: the same", root_key=root, ours_secret=theirs, theirs=c.x25519_public(ours))
    assert one == other
    for name, number in [("u-0", 0), ("u-1", 1), ("u-minus-1", c.Point.P - 1), ("not-canonical", c.Point.P + 9), ("top-bit", 9 | 1 << 255)]:
        file.refused(name, "weak-key", "a ratchet key with which nothing can be agreed, or with a second encoding", root_key=root, ours_secret=ours, theirs=number.to_bytes(32, "little"))
    return file


def chain_step():
    file = File("chain-step", "DM-23", "A step of a message chain. Nothing is refused here.")
    key = fixed("chain key")
    for number in range(3):
        result = file.accepted(f"step-{number}", "each from the chain key of the one before", chain_key=key)
        key = bytes.fromhex(result["chain_key"])
    return file


def message_key():
    file = File("message-key", "DM-24 DM-26", "The key of one message. Nothing is refused here.")
    common = {"seed": fixed("message seed"), "pq_key": fixed("pq key"), "pq_epoch": 0, "random": fixed("random bytes", 16)}
    file.accepted("epoch-0", "with the key of the handshake", **common)
    file.accepted("other-random", "a cloned sender draws other random bytes: another key", **{**common, "random": fixed("other random bytes", 16)})
    file.accepted("epoch-1", "another epoch", **{**common, "pq_epoch": 1, "pq_key": fixed("pq key of epoch 1")})
    file.accepted("epoch-2-32", "the last epoch", "boundary", **{**common, "pq_epoch": 2**32 - 1})
    return file


def ratchet_message():
    file = File("ratchet-message", "DM-20 DM-21 DM-25 DM-27 DM-37 DM-93", "One message under given keys, sealed or opened.")
    keys = {"header_key": fixed("header key"), "message_key": fixed("message key")}
    ad, chunk = b"what the caller binds", fixed("a chunk", 37)
    place = {"random": fixed("message random", 16), "ratchet_key": c.x25519_public(fixed("ratchet key")), "n": 3, "pn": 7, "pq_epoch": 1}
    text = {"plaintext": b"Hello Bob", "chunk_index": 12, "chunk": chunk, "ad": ad}
    made = file.accepted("seals", "header, payload and chunk", **keys, **place, **text)
    file.accepted("empty", "no plaintext, no associated data, no chunk", **keys, **place, plaintext=b"", chunk_index=255, chunk=bytes(32), ad=b"")
    far = {"n": 2**20 - 1, "pn": 2**20, "pq_epoch": 2**32 - 1}
    file.accepted("last-of-a-chain", "the highest counters", "boundary", **keys, **{**place, **far}, **text)
    sound = bytes.fromhex(made["message"])
    base = {**keys, "ad": ad, "chunk_len": 37}
    file.accepted("opens", "the first message", **base, message=sound)

    def bad(id_, code, comment, message=sound, *flags, **changes):
        file.refused(id_, code, comment, *flags, **{**base, **changes, "message": message})

    for at, what in [(0, "the header's nonce"), (15, "the random bytes behind the nonce"), (16, "the sealed header"), (75, "the header's tag"), (76, "the payload"), (-1, "the payload's tag")]:
        bad(f"bit-of-byte-{at % len(sound)}", "does-not-open", f"a bit of {what}", flip(sound, at))
    bad("another-header-key", "does-not-open", "another header key", header_key=fixed("another key"))
    bad("another-message-key", "does-not-open", "another message key", message_key=fixed("another key"))
    bad("other-associated-data", "does-not-open", "the caller binds something else", ad=b"what the caller finds")
    bad("random-exchanged", "does-not-open", "the random bytes of another message", fixed("other random", 16) + sound[16:])
    bad("cut-by-one-byte", "does-not-open", "the last byte is missing", sound[:-1])
    bad("continued", "does-not-open", "a byte behind the end", sound + b"\0")
    bad("empty-message", "malformed", "no byte", b"")
    bad("124-bytes", "malformed", "shorter than any message", sound[:124], "boundary")
    short = d.seal_message(keys["header_key"], keys["message_key"], place["random"], (place["ratchet_key"], 3, 7, 1), ad, b"", 255, bytes(32))
    bad("shorter-than-its-chunk", "malformed", "opens to fewer bytes than an index and a chunk of 37", short["message"])
    file.refused("65537-bytes", "too-long", "one byte more than a message may have", "boundary", **keys, **place, **{**text, "plaintext": bytes(65_537 - 130)})
    return file


def pq_step():
    file = File("pq-step", "DM-98", "From one epoch of the post-quantum ratchet to the next: the offered key, the answer, the new key. Refusals stand in conversation.")
    common = {"pq_key": fixed("pq key"), "session_id": fixed("session id"), "epoch": 1, "kem_seed": fixed("offered key", 64), "kem_randomness": fixed("answer")}
    file.accepted("epoch-1", "from the handshake's key", **common)
    file.accepted("epoch-2", "the epoch enters", **{**common, "epoch": 2})
    file.accepted("another-session", "the session enters", **{**common, "session_id": fixed("another session id")})
    file.accepted("another-key-before", "the key before enters", **{**common, "pq_key": fixed("another pq key")})
    return file


def chunks():
    file = File("chunks", "DM-90 DM-91 DM-92 DM-99", "A chunk of a value, or the value from chunks. A systematic Reed-Solomon code over GF(2^8).")
    value = fixed("a value", 100)
    for index in (0, 3, 4, 5, 254):
        file.accepted(f"chunk-{index}", "of a value of 4 chunks, the last padded", value=value, chunk_len=32, index=index)
    key, answer = fixed("as long as a key", 1184), fixed("as long as an answer", 1120)
    for index in (0, 31, 32, 100, 254):
        file.accepted(f"of-a-key-{index}", "of 1 184 bytes in chunks of 37", value=key, chunk_len=37, index=index)
    file.accepted("of-an-answer-30", "the last of 1 120 bytes in chunks of 37, padded", value=answer, chunk_len=37, index=30)
    file.accepted("of-an-answer-31", "the first that is computed", value=answer, chunk_len=37, index=31)
    file.accepted("half", "a value in two chunks", value=key, chunk_len=592, index=1)
    file.accepted("half-254", "the last chunk of a value of two", "boundary", value=key, chunk_len=592, index=254)

    def of(value, indices, length=32):
        return [{"index": index, "chunk": d.cut(value, length, index).hex()} for index in indices]

    whole = fixed("a value that fills its chunks", 128)
    joined = {"value_len": 128, "chunk_len": 32}
    file.accepted("joined-in-order", "the first four", **joined, chunks=of(whole, [0, 1, 2, 3]))
    file.accepted("joined-in-another-order", "the first four, otherwise", **joined, chunks=of(whole, [3, 1, 0, 2]))
    file.accepted("joined-from-others", "none of the first four", **joined, chunks=of(whole, [200, 4, 77, 254]))
    file.accepted("joined-from-some", "one was lost", **joined, chunks=of(whole, [0, 1, 3, 4]))
    file.accepted("with-a-repetition", "a chunk came twice", **joined, chunks=of(whole, [0, 0, 5, 5, 9, 2]))
    for length in (0, 31, 1185, 65_535):
        flags = ["boundary"] if length in (31, 1185) else []
        file.refused(f"cut-to-{length}", "malformed", f"chunks of {length} bytes", *flags, value=value, chunk_len=length, index=0)
        file.refused(f"joined-of-{length}", "malformed", f"chunks of {length} bytes", value_len=128, chunk_len=length, chunks=[])
    for at, first in enumerate([0, 1, 3, 4, 77, 253, 254, 2, 5, 100, 128, 31]):
        twice = of(whole, [9, first]) + [{"index": first, "chunk": flip(d.cut(whole, 32, first), at).hex()}]
        file.refused(f"contradiction-at-{first}", "pq-mismatch", "two chunks of one index differ", **joined, chunks=twice)
    return file


class Recorder:
    """Fixed randomness, whatever is asked for; remembers it."""

    def __init__(self, what):
        self.what, self.drawn = what, {}

    def __call__(self, name, length):
        self.drawn[name] = fixed(f"{self.what}, {name}", length)
        return self.drawn[name]


class Script:
    """A conversation that is played while it is written, so that it knows what randomness each step draws."""

    def __init__(self, what, chunk_len=1184, with_pair=True):
        self.what = what
        self.inputs = {
            "initiator": hexed(person("Ann")),
            "responder": hexed(person("Bob")),
            "prekeys": hexed(prekey_secrets("Bob")),
            "chunk_len": chunk_len,
            "with_pair": with_pair,
            "now_ms": NOW_MS,
            "events": [],
        }
        ann, (bob, made) = d.Person(plain_inputs(person("Ann"))), of("Bob")
        self.sides = {"initiator": d.Device(ann), "responder": d.Device(bob, made)}
        self.messages = []

    @property
    def ann(self):
        return self.sides["initiator"].session

    @property
    def bob(self):
        return self.sides["responder"].session

    def peer(self, by):
        return "responder" if by == "initiator" else "initiator"

    def seal(self, by, plaintext=None, ad=b"ad"):
        plaintext = plaintext if plaintext is not None else f"message {len(self.messages)}".encode()
        draw = Recorder(f"{self.what}, message {len(self.messages)}")
        side, other = self.sides[by], self.sides[self.peer(by)]
        if side.session:
            message = side.session.seal(ad, plaintext, draw)
        else:
            chunk_len, with_pair = self.inputs["chunk_len"], self.inputs["with_pair"]
            message = side.initiate(other, chunk_len, with_pair, ad, plaintext, NOW_MS, draw)
        self.messages.append((by, message))
        event = {"by": by, "plaintext": plaintext.hex(), "ad": ad.hex(), **hexed(draw.drawn)}
        self.inputs["events"].append(event)
        return len(self.messages) - 1

    def open(self, number, ad=b"ad", refused=False):
        sender, message = self.messages[number]
        by = self.peer(sender)
        self._receive(by, {"opens": number}, message, ad, number == 0, refused)

    def receive(self, by, data, ad=b"ad", is_first=False):
        """Bytes that nobody sealed; refused."""
        self._receive(by, {"bytes": data.hex()}, data, ad, is_first, True)

    def _receive(self, by, what, data, ad, is_first, refused):
        self.inputs["events"].append({"by": by, **what, "ad": ad.hex(), "is_first": is_first})
        if refused:
            return
        side, other = self.sides[by], self.sides[self.peer(by)]
        side.accept(other, data, ad) if is_first else side.session.open(ad, data)

    def send(self, by, **how):
        """Sealed and opened."""
        number = self.seal(by, **how)
        self.open(number)
        return number

    def forge(self, by, n=None, pn=None, epoch=None, key=None, beyond=False, index=255, chunk=None):
        """What `by` could send with the keys that it has, if it were dishonest: the next message of its chain, the first
        of a new one if it is time for one, or of one `beyond` that."""
        session = self.sides[by].session
        if session.sending_chain is None or beyond:
            secret, count, previous = fixed("a forged ratchet key"), 0, session.sent_count
            _, chain, _ = d.root_step(session.root, secret, session.theirs)
        else:
            secret, count, previous = session.secret, session.sent_count, session.previous_count
            chain = session.sending_chain
        header_key = session.next_header_key if beyond else session.header_key
        n = count if n is None else n
        for _ in range(min(n, 3000) - count + 1):
            chain, seed = d.chain_step(chain)
        epoch = session.pq.epoch if epoch is None else epoch
        random = fixed("forged random", 16)
        payload_key = d.message_key(seed, session.pq.keys.get(epoch, bytes(32)), epoch, random)
        place = key or c.x25519_public(secret), n, previous if pn is None else pn, epoch
        chunk = bytes(session.pq.chunk_len) if chunk is None else chunk
        return d.seal_message(header_key, payload_key, random, place, b"ad", b"forged", index, chunk)["message"]


def conversation():
    file = File(
        "conversation", "DM-11 DM-15 DM-16 DM-17 DM-20 DM-22 DM-26 DM-30 DM-31 DM-32 DM-33 DM-36 DM-37 DM-46 DM-91 DM-92 DM-93 DM-94 DM-95 DM-96 DM-97 DM-99 DM-100",
        "Two devices from their randomness on: every byte that they send. The last event of a refused one is what is refused.",
    )  # fmt: skip

    def accepted(id_, comment, script):
        file.accepted(id_, comment, **script.inputs)

    def refused(id_, code, comment, script):
        file.refused(id_, code, comment, **script.inputs)

    script = Script("one answer")
    script.send("initiator", plaintext=b"Hello Bob")
    script.send("responder", plaintext=b"Hello Ann")
    script.send("initiator", plaintext=b"")
    accepted("hello", "a first message with a one-time pair, an answer, and one more", script)

    script = Script("weak", with_pair=False)
    script.send("initiator")
    script.send("responder")
    accepted("weak-start", "without a one-time pair", script)

    script = Script("epochs")
    for number in range(9):
        script.send("responder" if number % 2 else "initiator")
    assert script.ann.pq.epoch >= 3
    accepted("epochs", "ping-pong in chunks of whole keys: an epoch with each round trip", script)

    script = Script("in pieces", chunk_len=592)
    for number in range(12):
        script.send("responder" if number % 2 else "initiator")
    assert script.ann.pq.epoch >= 1
    accepted("in-pieces", "keys and ciphertexts in two chunks each", script)

    script = Script("loss", chunk_len=592)
    script.send("initiator")
    for _ in range(2):
        script.seal("responder")
        lost = script.seal("initiator")
        script.send("responder")
        script.send("initiator")
    for number in range(6):
        script.send("responder" if number % 2 else "initiator")
    script.open(lost)
    assert script.ann.pq.epoch >= 1
    accepted("in-pieces-with-loss", "messages are lost or late; chunks behind the first ones bring the key back", script)

    script = Script("out of order")
    script.send("initiator")
    script.send("responder")
    late = [script.seal("initiator") for _ in range(4)]
    for number in (late[3], late[0], late[2]):
        script.open(number)
    script.send("responder")
    script.send("initiator")
    script.open(late[1])
    accepted("out-of-order", "four messages in another order, one of them after its chain has ended", script)

    script = Script("crossing", chunk_len=37)
    script.send("initiator")
    a, b = script.seal("responder"), script.seal("initiator")
    script.open(b)
    script.open(a)
    script.send("initiator")
    script.send("responder")
    accepted("crossing", "both write at once", script)

    script = Script("wraps", chunk_len=37)
    key = fixed("payload key")
    _, commitment = d.HKDF(bytes(32), key, "direct payload", [], 2)
    bound = c.H("direct wrap", [b"what the caller binds", commitment, fixed("some ciphertext", 40)])
    script.open(script.seal("initiator", plaintext=key, ad=bound), ad=bound)
    script.open(script.seal("responder", plaintext=key, ad=bound), ad=bound)
    accepted("wraps", "wraps: each a ratchet message over the key of a payload, bound to its ciphertext (DM-112)", script)

    script = Script("forty", chunk_len=37)
    for number in range(6):
        script.send("responder" if number % 2 else "initiator")
    accepted("default-chunks", "chunks of 37 bytes, as sessions have them", script)

    # What is refused

    def begun(what, chunk_len=1184):
        script = Script(what, chunk_len=chunk_len)
        script.send("initiator")
        script.send("responder")
        return script

    script = Script("replayed first message")
    script.send("initiator")
    script.open(0, refused=True)
    refused("first-message-replayed", "replay", "the first message comes again", script)

    first = Script("first message")
    first.seal("initiator")
    _, sound = first.messages[0]

    def bad_first(id_, code, comment, data, ad=b"ad"):
        script = Script("first message")
        script.seal("initiator")
        script.receive("responder", data, ad, is_first=True)
        refused(id_, code, comment, script)

    for version in (0, 2, 255):
        bad_first(f"first-version-{version}", "version", f"a first message of version {version}", bytes([version]) + sound[1:])
        bad_first(f"handshake-version-{version}", "version", f"a handshake of version {version}", sound[:3] + bytes([version]) + sound[4:])
    bad_first("first-empty", "malformed", "no byte", b"")
    bad_first("first-cut", "malformed", "the last byte is missing", sound[:-1])
    bad_first("first-continued", "malformed", "a byte behind the end", sound + b"\0")
    bad_first("chunk-length-31", "malformed", "chunks of 31 bytes", sound[:4] + b"\0\x1f" + sound[6:])
    bad_first("chunk-length-changed", "does-not-open", "another chunk length than the initiator meant", sound[:4] + b"\0\x25" + sound[6:])
    bad_first("unknown-signed-prekey", "unknown-prekey", "a signed prekey that the responder does not hold", flip(sound, 13, 0x10))
    bad_first("unknown-pair", "unknown-prekey", "a one-time pair that the responder does not hold", flip(sound, 22, 0x10))
    ephemeral_at = 3 + 1 + 2 + 8 + 9
    bad_first("ephemeral-of-low-order", "weak-key", "an ephemeral key of low order", sound[:ephemeral_at] + bytes(32) + sound[ephemeral_at + 32 :])
    high = (c.Point.P + 9).to_bytes(32, "little")
    bad_first("ephemeral-not-canonical", "weak-key", "an ephemeral key with a second encoding", sound[:ephemeral_at] + high + sound[ephemeral_at + 32 :])
    bad_first("ephemeral-exchanged", "does-not-open", "another ephemeral key", sound[:ephemeral_at] + c.x25519_public(fixed("another")) + sound[ephemeral_at + 32 :])
    bad_first("ciphertext-changed", "does-not-open", "a bit of the KEM ciphertext", flip(sound, ephemeral_at + 32))
    bad_first("first-message-changed", "does-not-open", "a bit of the ratchet message", flip(sound, -1))
    bad_first("other-associated-data", "does-not-open", "the responder binds something else", sound, ad=b"something else")

    script = begun("replay")
    again = script.send("initiator")
    script.open(again, refused=True)
    refused("replayed", "replay", "a message comes again", script)

    script = begun("late replay")
    one, two = script.seal("initiator"), script.seal("initiator")
    script.open(two)
    script.open(one)
    script.open(one, refused=True)
    refused("passed-over-and-replayed", "replay", "one that was passed over comes twice", script)

    for name, at in [("random", 0), ("header", 16), ("payload", 80), ("tag", -1)]:
        script = begun("changed")
        number = script.seal("initiator")
        script.receive("responder", flip(script.messages[number][1], at))
        refused(f"bit-of-the-{name}", "does-not-open", f"a bit of the {name}", script)

    script = begun("reflected")
    number = script.seal("initiator")
    script.receive("initiator", script.messages[number][1])
    refused("reflected", "does-not-open", "a message comes back to its sender", script)

    script = begun("other ad")
    number = script.seal("initiator")
    script.receive("responder", script.messages[number][1], ad=b"something else")
    refused("other-data-bound", "does-not-open", "the recipient binds something else", script)

    script = begun("too short")
    script.receive("responder", bytes(124))
    refused("124-bytes", "malformed", "shorter than any message", script)

    def forged(id_, code, comment, begin=begun, by="initiator", chunk_len=1184, **how):
        script = begin(id_, chunk_len)
        script.receive(script.peer(by), script.forge(by, **how))
        refused(id_, code, comment, script)

    def in_a_chain(what, chunk_len):
        script = begun(what, chunk_len)
        script.send("initiator")
        return script

    forged("jump-too-large", "jump-too-large", "passes over 2 001 messages", in_a_chain, n=2002)
    forged("n-past-2-20", "counter-out-of-range", "n of 2^20", in_a_chain, n=2**20)
    forged("n-greatest", "counter-out-of-range", "n of 2^32 - 1", in_a_chain, n=2**32 - 1)
    forged("pn-past-2-20", "counter-out-of-range", "pn of 2^20 + 1", in_a_chain, pn=2**20 + 1)
    other_key = c.x25519_public(fixed("another ratchet key"))
    forged("another-ratchet-key-in-a-chain", "counter-out-of-range", "a chain has one ratchet key", in_a_chain, key=other_key)
    forged("unknown-pq-epoch", "unknown-pq-epoch", "an epoch whose key nobody has", in_a_chain, epoch=9)
    forged("state-forked", "state-forked", "an answer to a message that this state never sent", in_a_chain, beyond=True)
    forged("pn-below-what-came", "counter-out-of-range", "pn of 0, but a message of the chain before came", pn=0)
    forged("pn-jump-too-large", "jump-too-large", "2 001 messages of the chain before are passed over", pn=2002)
    forged("n-jump-in-a-new-chain", "jump-too-large", "passes over 2 001 messages of a new chain", n=2001)
    forged("ratchet-key-of-low-order", "weak-key", "a new ratchet key of low order", key=bytes(32))
    forged("ratchet-key-not-canonical", "weak-key", "a new ratchet key with a second encoding", key=high)
    ones = b"\xff" * 592
    forged("chunk-contradicted", "pq-mismatch", "a chunk of an index that came, with other bytes", chunk_len=592, index=0, chunk=ones)
    forged("offer-is-no-key", "weak-key", "the key that the chunks bring back fails the modulus check", chunk_len=592, index=1, chunk=ones)

    def offered(what, chunk_len):
        script = Script(what, chunk_len)
        script.send("initiator")
        return script

    forged("answer-does-not-confirm", "pq-mismatch", "the confirmation is wrong", offered, by="responder", index=0, chunk=bytes(1184))
    return file
