"""spec/dm, "Many devices", and the bodies of spec/envelope that carry it: a payload sealed once, and its wraps."""

from . import conventions as c
from .conventions import H, require, u8, u16, u64, vec
from .direct import HKDF
from .vectors import Fault, subject

BODY_LEN_MAX = 65_454


def payload_keys(key):
    """The key of the ciphertext, and the commitment."""
    return HKDF(bytes(32), key, "direct payload", [], 2)


@subject("fan-out")
def fan_out(inputs):
    """DM-110 to DM-114; `key` is K, the plaintext of every wrap."""
    if "payload" in inputs:
        key, payload = inputs.bytes("key", 32), inputs.bytes("payload")
        sealing_key, commitment = payload_keys(key)
        ciphertext = c.seal(sealing_key, bytes(12), b"", payload)
        bound = H("direct wrap", [inputs.bytes("ad"), commitment, ciphertext])
        return {"payload_key": sealing_key, "commitment": commitment, "ciphertext": ciphertext, "wrap_ad": bound}
    key = inputs.bytes("wrap_plaintext")
    require(len(key) == 32, "malformed")
    sealing_key, commitment = payload_keys(key)
    require(commitment == inputs.bytes("commitment", 32), "does-not-open")
    return {"payload": c.open_(sealing_key, bytes(12), b"", inputs.bytes("ciphertext"))}


def read_place(reader):
    side, index = reader.u8(), reader.u16()
    require(side <= 1, "kind")
    return side, index


def read_wrap(reader):
    return {"recipient": read_place(reader), "handshake": reader.vec(), "message": reader.vec()}


def read_body(reader):
    reader.version()
    lists = [(reader.u64(), reader.take(32)) for _ in range(2)]
    sender, form = read_place(reader), reader.u8()
    require(form in (1, 2), "kind")
    if form == 1:
        return {"lists": lists, "sender": sender, "wraps": [read_wrap(reader)], "fan_out": None}
    commitment = reader.take(32)
    return {"lists": lists, "sender": sender, "wraps": reader.items(read_wrap), "fan_out": (commitment, reader.vec())}


def decode_body(data):
    """ENV-80 to ENV-84."""
    require(len(data) <= BODY_LEN_MAX, "too-long")
    body = c.decode(data, BODY_LEN_MAX, read_body)
    places = [wrap["recipient"] for wrap in body["wraps"]]
    require(all(1 <= version <= c.COUNTER_MAX and any(hash_) for version, hash_ in body["lists"]), "bound")
    require(all(index <= 15 for _, index in [body["sender"], *places]), "bound")
    require(all(a < b for a, b in zip(places, places[1:])) and body["sender"] not in places, "bound")
    require(body["fan_out"] is None or len(places) != 1, "bound")
    return body


def encode_place(place):
    return u8(place[0]) + u16(place[1])


def encode_body(lists, sender, wraps, fan_out):
    head = u8(1) + b"".join(u64(version) + hash_ for version, hash_ in lists) + encode_place(sender)
    encoded = [encode_place(wrap["recipient"]) + vec(wrap["handshake"]) + vec(wrap["message"]) for wrap in wraps]
    if fan_out is None:
        return head + u8(1) + encoded[0]
    commitment, ciphertext = fan_out
    return head + u8(2) + commitment + vec(b"".join(encoded)) + vec(ciphertext)


@subject("direct-body")
def direct_body(inputs):
    encoded = inputs.bytes("body")
    body = decode_body(encoded)
    if encode_body(**body) != encoded:
        raise Fault("has another encoding")
    result = {
        "list_versions": [version for version, _ in body["lists"]],
        "list_hashes": [hash_ for _, hash_ in body["lists"]],
        "sender": list(body["sender"]),
        "wraps": [{**wrap, "recipient": list(wrap["recipient"])} for wrap in body["wraps"]],
    }
    if body["fan_out"]:
        result["commitment"], result["ciphertext"] = body["fan_out"]
    return result
