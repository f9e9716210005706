"""What the members of a log share: the keys of a generation, the shell and its padding (spec/envelope), the chain of
entries and the proofs of a gate (spec/relay)."""

from . import conventions as c
from .conventions import H, KDF, require, u8, u32, u64, vec
from .vectors import Fault, subject

# Keys of a generation


def generation_key(secret, label, log, generation):
    """ENV-01."""
    return KDF(secret, label, [log, u64(generation)])


@subject("generation-keys")
def generation_keys(inputs):
    place = inputs.bytes("generation_secret", 32), inputs.bytes("log", 32), inputs.int("generation")

    def key(label):
        return generation_key(place[0], label, *place[1:])

    read, append = key("gate read key"), key("gate append key")
    return {
        "read_seed": read,
        "append_seed": append,
        "gate": c.ed25519_public(read) + c.ed25519_public(append),
        "outer_key": key("outer key"),
        "ephemeral_key": key("ephemeral key"),
    }


@subject("direct-log")
def direct_log(inputs):
    """ENV-03, RELAY-02."""
    root = log_root(inputs.bytes("generation_secret_0", 32))
    seed = control_seed(root, inputs.bytes("conversation_id", 32), inputs.int("lists"), inputs.int("round", 2**32 - 1))
    control = c.ed25519_public(seed)
    return {"root": root, "control_seed": seed, "control_key": control, "log": H("log id", [control])}


def log_root(generation_secret_0):
    return KDF(generation_secret_0, "log root", [])


def control_seed(root, conversation, lists, round_):
    return KDF(root, "control key", [conversation, u64(lists), u32(round_)])


@subject("conversation-id")
def conversation_id(inputs):
    """DEL-56."""
    accounts = inputs.list("account_ids", 32)
    assert len(accounts) == 2
    return {"conversation_id": H("conversation id", sorted(accounts))}


# Proofs


@subject("gate-proof")
def gate_proof(inputs):
    """RELAY-11."""
    fields = [inputs.bytes("nonce", 32), inputs.bytes("server", 32), inputs.bytes("log", 32)]
    fields += [u64(inputs.int("generation")), u8(inputs.int("right", 3))]
    if "seed" in inputs:
        seed = inputs.bytes("seed", 32)
        signature = c.sign(seed, "gate proof", fields)
        return {"key": c.ed25519_public(seed), "signed": c.transcript("gate proof", fields), "signature": signature}
    c.verify(inputs.bytes("key", 32), "gate proof", fields, inputs.bytes("signature", 64))
    return {"verifies": True}


# The chain


@subject("entry-chain")
def entry_chain(inputs):
    """RELAY-20 to RELAY-22."""
    head, hashes, leaves, heads = bytes(32), [], [], []
    for entry in inputs.objects("entries"):
        stub = "payload_hash" in entry
        payload_hash = entry.bytes("payload_hash", 32) if stub else H("payload", [entry.bytes("payload")])
        turn = entry.bytes("turn")
        if len(turn) not in (0, 64):
            raise Fault("is neither empty nor a gate", field="inputs.entries.turn")
        fields = [u64(entry.int("seq")), u64(entry.int("generation")), u8(entry.int("class", 4)), entry.bytes("id", 16)]
        entry.end()
        leaf = H("entry leaf", [*fields, turn, payload_hash])
        head = H("entry head", [head, leaf])
        hashes.append(payload_hash)
        leaves.append(leaf)
        heads.append(head)
    return {"payload_hashes": hashes, "leaves": leaves, "heads": heads}


# Parcels and the shell

PARCEL_LEN_MAX = 65_536


def bucket(n):
    """Padme, from 1 024 up (ENV-08)."""
    if n <= 1024:
        return 1024
    e = n.bit_length() - 1
    k = e.bit_length()
    step = 1 << e - k
    return -(-n // step) * step


@subject("padding-bucket")
def padding_bucket(inputs):
    """The bucket of a parcel of `parcel_len` bytes; the length field is not counted in it."""
    parcel_len = inputs.int("parcel_len")
    padded_len = bucket(4 + parcel_len)
    require(padded_len <= PARCEL_LEN_MAX, "too-long")
    return {"padded_len": padded_len, "zeros": padded_len - 4 - parcel_len}


def pad(data):
    return (u32(len(data)) + data).ljust(bucket(4 + len(data)), b"\0")


def unpad(padded):
    """ENV-09."""
    reader = c.Reader(padded)
    require(len(padded) >= 4, "padding")
    length = reader.u32()
    require(length <= len(padded) - 4 and not any(padded[4 + length :]), "padding")
    require(len(padded) == bucket(4 + length), "padding")
    return padded[4 : 4 + length]


def read_parcel(reader):
    reader.version()
    kind = reader.u8()
    require(1 <= kind <= 5, "kind")
    return {"kind": kind, "seq": reader.u64(), "head": reader.take(32), "epoch": reader.take(32), "body": reader.vec()}


def decode_parcel(data):
    """ENV-04 to ENV-06."""
    parcel = c.decode(data, PARCEL_LEN_MAX - 4, read_parcel)
    require(parcel["seq"] <= c.COUNTER_MAX, "bound")
    require(parcel["kind"] > 2 or not any(parcel["epoch"]), "bound")
    return parcel


@subject("shell")
def shell(inputs):
    """ENV-07 to ENV-10."""
    place = [inputs.bytes("log", 32), u64(inputs.int("generation")), inputs.bytes("entry_id", 16), u8(inputs.int("class", 4))]
    key, aad = inputs.bytes("outer_key", 32), c.transcript("shell", place)
    if "payload" in inputs:
        payload = inputs.bytes("payload")
        require(len(payload) <= PARCEL_LEN_MAX + 40, "does-not-open")
        return decode_parcel(unpad(c.xopen(key, aad, payload)))
    evidence = u64(inputs.int("seq")) + inputs.bytes("head", 32) + inputs.bytes("epoch", 32)
    body = inputs.bytes("body")
    parcel = u8(1) + u8(inputs.int("kind", 255)) + evidence + vec(body)
    require(bucket(4 + len(parcel)) <= PARCEL_LEN_MAX, "too-long")
    padded = pad(parcel)
    payload = c.xseal(key, inputs.bytes("nonce", 24), aad, padded)
    assert decode_parcel(unpad(c.xopen(key, aad, payload)))["body"] == body
    return {"evidence": evidence, "parcel": parcel, "padded": padded, "aad": aad, "payload": payload}
