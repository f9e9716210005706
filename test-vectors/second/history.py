"""spec/history: the log through which a history goes, its chunks, and the digest over what was given."""

from . import conventions as c
from .conventions import KDF, H, Refused, require, u8, u64
from .identity import check_name
from .log import PARCEL_LEN_MAX, bucket, generation_key, pad, unpad
from .vectors import subject

CHUNK_LEN_MAX = PARCEL_LEN_MAX - 4
ELEMENTS_MAX, LOGS_MAX = 1024, 64
YEAR_10000_MS = 253_402_300_800_000


def control_seed(secret):
    return KDF(secret, "history control", [])


def log_id(secret):
    return H("log id", [c.ed25519_public(control_seed(secret))])


def entry_id(secret, number):
    return KDF(secret, "history entry", [u64(number)])[:16]


@subject("transfer-log")
def transfer_log(inputs):
    secret, number = inputs.bytes("transfer_secret", 32), inputs.int("number")
    log = log_id(secret)
    read, append, outer = (generation_key(secret, label, log, 0) for label in ("gate read key", "gate append key", "outer key"))
    return {
        "control_seed": control_seed(secret),
        "control_key": c.ed25519_public(control_seed(secret)),
        "log": log,
        "gate": c.ed25519_public(read) + c.ed25519_public(append),
        "outer_key": outer,
        "entry_id": entry_id(secret, number),
    }


@subject("history-digest")
def history_digest(inputs):
    """HIST-13."""
    log = inputs.bytes("log", 32)
    digest = bytes(32)
    digests = []
    seqs, ids = inputs.ints("seqs", 2**53), inputs.list("message_ids", 32)
    assert len(seqs) == len(ids)
    for seq, message in zip(seqs, ids):
        digest = H("history digest", [digest, log, u64(seq), message])
        digests.append(digest)
    return {"digests": digests}


# Chunks


def read_contact(reader):
    return {"certificate": reader.vec(), "name": reader.vec()}


def read_log(reader):
    return {"log": reader.take(32), "read_through": reader.u64()}


def read_conversation(reader):
    kind = reader.u8()
    require(kind in (1, 2), "kind")
    of = {"kind": kind, "peer": reader.take(32)} if kind == 1 else {"kind": kind, "name": reader.vec()}
    return {**of, "created_ms": reader.u64(), "logs": reader.items(read_log)}


def read_sender(reader):
    return {"account": reader.take(32), "device": reader.take(32)}


def read_message(reader):
    message = {"log": reader.u16(), "sender": reader.u16(), "seq": reader.u64(), "sender_seq": reader.u64()}
    message |= {"dedup": reader.take(16), "sent_ms": reader.u64(), "accepted_ms": reader.u64(), "reached": reader.u8()}
    require(message["reached"] <= 2, "kind")
    return {**message, "content": reader.vec()}


def read_rest(reader):
    kind = reader.u8()
    require(kind in (1, 2, 3), "kind")
    return {"rest": kind, **({"count": reader.u64(), "digest": reader.take(32)} if kind == 2 else {})}


def read_chunk(reader):
    reader.version()
    chunk = {"walked": reader.u64()}
    for name, read in LISTS.items():
        chunk[name] = reader.items(read)
    return chunk | read_rest(reader)


LISTS = {"contacts": read_contact, "conversations": read_conversation, "senders": read_sender, "messages": read_message}


def is_name(encoded):
    try:
        check_name(encoded)
    except Refused:
        return False
    return True


def is_text(encoded):
    try:
        encoded.decode()
    except UnicodeDecodeError:
        return False
    return True


def decode_chunk(data):
    """HIST-08."""
    chunk = c.decode(data, CHUNK_LEN_MAX, read_chunk)
    bounds = [len(chunk[name]) <= ELEMENTS_MAX for name in LISTS]
    bounds += [chunk["walked"] <= c.COUNTER_MAX, chunk.get("count", 0) <= c.COUNTER_MAX]
    for contact in chunk["contacts"]:
        bounds += [len(contact["certificate"]) == 121, contact["name"] == b"" or is_name(contact["name"])]
    for of in chunk["conversations"]:
        logs = of["logs"]
        bounds += [1 <= len(logs) <= LOGS_MAX, all(log["read_through"] <= c.COUNTER_MAX for log in logs)]
        if of["kind"] == 2:
            bounds += [len(logs) == 1, len(of["name"]) <= 128 and is_text(of["name"])]
    logs_count = sum(len(of["logs"]) for of in chunk["conversations"])
    for message in chunk["messages"]:
        bounds += [message["log"] < logs_count, message["sender"] < len(chunk["senders"])]
        bounds += [1 <= message[name] <= c.COUNTER_MAX for name in ("seq", "sender_seq")]
        bounds += [any(message["dedup"]), 1 <= message["sent_ms"] < YEAR_10000_MS]
    require(all(bounds), "bound")
    return chunk


@subject("history-chunk")
def history_chunk(inputs):
    """HIST-07, HIST-08."""
    secret, number = inputs.bytes("transfer_secret", 32), inputs.int("number")
    log = log_id(secret)
    key, aad = generation_key(secret, "outer key", log, 0), c.transcript("history chunk", [log, u64(number)])
    if "payload" in inputs:
        payload = inputs.bytes("payload")
        require(len(payload) <= PARCEL_LEN_MAX + 40, "does-not-open")
        chunk = decode_chunk(unpad(c.xopen(key, aad, payload)))
        logs = [log for of in chunk["conversations"] for log in of["logs"]]
        return {
            "walked": chunk["walked"],
            "certificates": [contact["certificate"] for contact in chunk["contacts"]],
            "names": [contact["name"] for contact in chunk["contacts"]],
            "logs": [log["log"] for log in logs],
            "read_through": [log["read_through"] for log in logs],
            "accounts": [sender["account"] for sender in chunk["senders"]],
            "devices": [sender["device"] for sender in chunk["senders"]],
            "places": [u8(message["log"]) + u8(message["sender"]) + u64(message["seq"]) for message in chunk["messages"]],
            "reached": [message["reached"] for message in chunk["messages"]],
            "contents": [message["content"] for message in chunk["messages"]],
            "rest": chunk["rest"],
        }
    chunk = inputs.bytes("chunk")
    require(bucket(4 + len(chunk)) <= PARCEL_LEN_MAX, "too-long")
    decode_chunk(chunk)
    padded = pad(chunk)
    payload = c.xseal(key, inputs.bytes("nonce", 24), aad, padded)
    assert unpad(c.xopen(key, aad, payload)) == chunk
    return {"aad": aad, "padded": padded, "payload": payload}
