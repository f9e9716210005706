"""Keys of a log, its chain, proofs and shells."""

from .. import conventions as c
from .. import log as l
from .making import File, fixed, flip

S_0, S_1 = fixed("S_0"), fixed("S_1")
PLACE = (fixed("conversation id"), 2, 0)
CONTROL = l.control_seed(l.log_root(S_0), *PLACE)
LOG = c.H("log id", [c.ed25519_public(CONTROL)])
ENTRY = fixed("entry id", 16)


def files():
    return [generation_keys(), direct_log(), conversation_id(), gate_proof(), entry_chain(), padding_bucket(), shell()]


def generation_keys():
    file = File("generation-keys", "ENV-01 ENV-02", "The keys of one generation of a log, from its secret. Nothing is refused here.")
    file.accepted("generation-0", "S_0 of a direct conversation", generation_secret=S_0, log=LOG, generation=0)
    file.accepted("generation-1", "another secret behind a turn", generation_secret=S_1, log=LOG, generation=1)
    file.accepted("void-turn", "the secret stayed, the generation did not: other keys", generation_secret=S_0, log=LOG, generation=1)
    file.accepted("another-log", "other keys", generation_secret=S_0, log=fixed("another log"), generation=0)
    file.accepted("generation-2-53", "the highest generation", "boundary", generation_secret=S_0, log=LOG, generation=2**53)
    return file


def direct_log():
    file = File("direct-log", "ENV-03 RELAY-02", "The control key and the id of a direct conversation's log. Nothing is refused here.")
    conversation, lists, round_ = PLACE
    place = {"conversation_id": conversation, "lists": lists, "round": round_}
    file.accepted("s-0", "from S_0", generation_secret_0=S_0, **place)
    file.accepted("another-s-0", "another secret, another log", generation_secret_0=S_1, **place)
    other = {**place, "conversation_id": fixed("another conversation id")}
    file.accepted("another-conversation", "another log", generation_secret_0=S_0, **other)
    file.accepted("newer-lists", "another log", generation_secret_0=S_0, **{**place, "lists": 3})
    file.accepted("a-successor", "the next round: another log", generation_secret_0=S_0, **{**place, "round": 1})
    last = {**place, "lists": 2**53, "round": 2**32 - 1}
    file.accepted("last-order", "the highest order", "boundary", generation_secret_0=S_0, **last)
    return file


def conversation_id():
    file = File("conversation-id", "DEL-56", "The id of a direct conversation, the same for both. Nothing is refused here.")
    low, high = sorted([fixed("one account"), fixed("other account")])
    file.accepted("one-order", "the lower id first", account_ids=[low, high])
    file.accepted("other-order", "the same conversation", account_ids=[high, low])
    file.accepted("with-oneself", "one account", account_ids=[low, low])
    return file


def gate_proof():
    file = File("gate-proof", "RELAY-11 ENC-05", "What a connection signs to be admitted to a log.")
    seed = l.generation_key(S_0, "gate read key", LOG, 0)
    place = {"nonce": fixed("connection nonce"), "server": fixed("server id"), "log": LOG, "generation": 0, "right": 1}
    signed = file.accepted("read", "by the readers' key of the gate", seed=seed, **place)
    append = l.generation_key(S_0, "gate append key", LOG, 0)
    file.accepted("append", "by the appenders' key", seed=append, **{**place, "right": 2})
    file.accepted("control", "by the control key, generation 0", seed=CONTROL, **{**place, "right": 3})
    sound = {"key": bytes.fromhex(signed["key"]), "signature": bytes.fromhex(signed["signature"]), **place}
    file.accepted("verifies", "the first proof, by the key alone", **sound)

    def bad(id_, comment, **changes):
        file.refused(id_, "bad-signature", comment, **{**sound, **changes})

    bad("another-connection", "another nonce", nonce=fixed("another nonce"))
    bad("another-relay", "another server", server=fixed("another server"))
    bad("another-log", "another log", log=fixed("another log"))
    bad("another-generation", "another generation", generation=1)
    bad("another-right", "another right", right=2)
    bad("another-key", "the appenders' key", key=c.ed25519_public(append))
    bad("bit-of-the-signature", "a bit was flipped", signature=flip(sound["signature"], 40))
    return file


def entry_chain():
    file = File("entry-chain", "RELAY-20 RELAY-21 RELAY-22 RELAY-28", "Leaves and heads of the entries of a log. Nothing is refused: another entry gives another head.")

    def entry(seq, payload, **changes):
        return {"seq": seq, "generation": 0, "class": 3, "id": fixed(f"entry {seq}", 16), "turn": b"", "payload": payload, **changes}

    gate = c.ed25519_public(fixed("next read")) + c.ed25519_public(fixed("next append"))
    three = [entry(1, b"first"), entry(2, b"turn", turn=gate, **{"class": 1}), entry(3, b"third", generation=1)]
    file.accepted("one-entry", "the first entry of a log", entries=three[:1])
    whole = file.accepted("three-entries", "the second ends generation 0", entries=three)
    stub = {**three[0], "payload_hash": c.H("payload", [b"first"])}
    del stub["payload"]
    same = file.accepted("with-a-stub", "the first entry expired: the heads stay", entries=[stub, *three[1:]])
    assert same["heads"] == whole["heads"]
    file.accepted("empty-payload", "a payload of no byte", entries=[entry(1, b"")])
    file.accepted("without-the-turn", "the gate left out: another head", entries=[three[0], {**three[1], "turn": b""}])
    swapped = [{**three[0], "payload": b"turn"}, {**three[1], "payload": b"first"}]
    file.accepted("payloads-swapped", "other heads", entries=swapped)
    for number in (1, 2, 3, 4):
        file.accepted(f"class-{number}", "the class is part of the leaf", entries=[entry(1, b"first", **{"class": number})])
    file.accepted("last-place", "seq and generation 2^53", "boundary", entries=[entry(2**53, b"last", generation=2**53)])
    return file


def padding_bucket():
    file = File("padding-bucket", "ENV-08 ENV-05", "The length to which a parcel is padded, the four bytes of its length included.")
    lengths = [0, 76, 1020, 1021, 1084, 1085, 2044, 2045, 4096, 10_000, 16_384, 32_764, 32_765, 63_484, 63_485, 65_532]
    for length in lengths:
        file.accepted(f"{length}-bytes", "a parcel of that length", parcel_len=length)
    for length in (65_533, 65_534, 65_535, 65_536, 65_600, 66_000, 69_628, 70_000, 80_000, 100_000, 131_072, 2**20, 2**24, 2**30, 2**32, 2**53 - 4):
        file.refused(f"{length}-bytes", "too-long", "longer than a parcel can be", *(["boundary"] if length == 65_533 else []), parcel_len=length)
    return file


def shell():
    file = File("shell", "ENV-04 ENV-05 ENV-06 ENV-07 ENV-08 ENV-09 ENV-70 ENV-71", "A parcel in its shell, for one place of one log.")
    key = l.generation_key(S_0, "outer key", LOG, 0)
    place = {"outer_key": key, "log": LOG, "generation": 0, "entry_id": ENTRY, "class": 3}
    direct = {"kind": 1, "seq": 7, "head": fixed("head"), "epoch": bytes(32), "body": fixed("direct body", 200)}
    nonce = fixed("shell nonce", 24)
    made = file.accepted("direct-message", "a direct message in the smallest bucket", **place, **direct, nonce=nonce)
    group = {**direct, "kind": 3, "epoch": fixed("epoch evidence")}
    file.accepted("group-message", "a group message, with evidence of its epoch", **place, **group, nonce=nonce)
    file.accepted("first-of-a-log", "nothing was seen before: seq 0 and a head of zeros", **place, **{**direct, "seq": 0, "head": bytes(32)}, nonce=nonce)
    full = {**direct, "body": fixed("full body", 1020 - 76)}
    file.accepted("smallest-bucket-full", "1 020 bytes of parcel: no zeros", "boundary", **place, **full, nonce=nonce)
    over = {**direct, "body": fixed("full body", 1021 - 76)}
    file.accepted("next-bucket", "one byte more: 1 088 bytes", "boundary", **place, **over, nonce=nonce)
    sealed = bytes.fromhex(made["payload"])
    file.accepted("opens", "the first payload", **place, payload=sealed)

    def bad(id_, code, comment, payload=sealed, *flags, **changes):
        file.refused(id_, code, comment, *flags, **{**place, **changes, "payload": payload})

    bad("another-log", "does-not-open", "sealed for another log", log=fixed("another log"))
    bad("another-generation", "does-not-open", "sealed for another generation", generation=1)
    bad("another-entry", "does-not-open", "sealed for another entry", entry_id=flip(ENTRY, 0))
    bad("another-class", "does-not-open", "sealed for another class", **{"class": 2})
    bad("another-key", "does-not-open", "another outer key", outer_key=flip(key, 0))
    bad("bit-of-the-nonce", "does-not-open", "a bit of the nonce", flip(sealed, 0))
    bad("bit-of-the-ciphertext", "does-not-open", "a bit of the ciphertext", flip(sealed, 24))
    bad("bit-of-the-tag", "does-not-open", "the last bit", flip(sealed, -1))
    bad("empty", "does-not-open", "no byte", b"")
    bad("cut-by-one-byte", "does-not-open", "the last byte is missing", sealed[:-1])
    bad("trailing-byte", "does-not-open", "a byte behind the end", sealed + b"\0")
    aad, padded, parcel = (bytes.fromhex(made[name]) for name in ("aad", "padded", "parcel"))

    def inside(id_, code, comment, padded, *flags):
        bad(id_, code, comment, c.xseal(key, nonce, aad, padded), *flags)

    def packed(id_, code, comment, parcel, *flags):
        inside(id_, code, comment, l.pad(parcel), *flags)

    inside("padding-not-zero", "padding", "the last byte of the padding is 1", padded[:-1] + b"\1")
    inside("no-padding", "padding", "not padded", padded[: 4 + len(parcel)])
    inside("padded-to-another-bucket", "padding", "padded to the next bucket", padded + bytes(64))
    inside("padded-by-one-more", "padding", "padded to no bucket", padded + b"\0")
    inside("length-past-the-end", "padding", "a length of 2^32 - 1", b"\xff\xff\xff\xff" + padded[4:])
    inside("length-of-half", "padding", "a length that leaves bytes of the parcel in the padding", c.u32(100) + padded[4:])
    inside("three-bytes", "padding", "not even a length", b"\0\0\0")
    inside("nothing-inside", "padding", "sealed is nothing", b"")
    packed("empty-parcel", "malformed", "a parcel of no byte", b"")
    for version in (0, 2, 255):
        packed(f"version-{version}", "version", f"version {version}", bytes([version]) + parcel[1:])
    for kind in (0, 6, 255):
        packed(f"kind-{kind}", "kind", f"kind {kind}", flip(parcel, 1, 1 ^ kind))
    packed("seq-past-2-53", "bound", "seq 2^53 + 1", parcel[:2] + c.u64(2**53 + 1) + parcel[10:], "boundary")
    packed("epoch-in-a-direct-message", "bound", "evidence of an epoch where there is none", parcel[:42] + b"\1" + parcel[43:])
    packed("parcel-cut", "malformed", "the parcel lacks its last byte", parcel[:-1])
    packed("parcel-continued", "malformed", "a byte behind the parcel", parcel + b"\0")
    packed("two-parcels", "malformed", "two parcels", parcel + parcel)
    packed("body-length-not-minimal", "malformed", "the length of the body in four bytes", parcel[:74] + b"\x80\0\0" + parcel[75:])
    return file
