"""spec/identity, Linking: the offer, what two devices say to each other around six digits, and what is granted."""

from . import conventions as c
from . import identity as i
from . import mlkem
from .conventions import H, require, u8, u32, u64, vec
from .vectors import subject

LINKING_MS = 10 * 60 * 1000
PREFIX = "undertonelink1"
PADDED_LEN = 6144


# Offers


def offer_payload(key, mailbox, server, expires_ms, relay_url):
    return u8(1) + key + mailbox + server + u64(expires_ms) + vec(relay_url)


def read_offer(reader):
    reader.version()
    return {
        "linking_key": reader.take(32),
        "mailbox": reader.take(64),
        "server": reader.take(32),
        "expires_ms": reader.u64(),
        "relay_url": reader.vec(),
    }


def decode_offer(text):
    """ID-70."""
    text = text.strip()
    require(len(text) <= 1062, "no-offer")
    text = text.lower()
    require(text.startswith(PREFIX), "no-offer")
    data = i.base32_decode(text.removeprefix(PREFIX))
    payload, checksum = data[:-4], data[-4:]
    require(len(data) >= 4 and H("linking offer", [payload])[:4] == checksum, "checksum")
    offer = c.decode(payload, 651, read_offer)
    c.x25519_check(offer["linking_key"])
    i.check_relay_url(offer["relay_url"])
    return offer


@subject("linking-offer")
def linking_offer(inputs):
    if "secret" in inputs:
        key = c.x25519_public(inputs.bytes("secret", 32))
        mailbox, server, relay_url = inputs.bytes("mailbox", 64), inputs.bytes("server", 32), inputs.bytes("relay_url")
        payload = offer_payload(key, mailbox, server, inputs.int("begun_ms") + LINKING_MS, relay_url)
        checksum = H("linking offer", [payload])[:4]
        text = PREFIX + i.base32_encode(payload + checksum)
        assert decode_offer(text)["linking_key"] == key
        return {"payload": payload, "checksum": checksum, "text": text}
    offer = decode_offer(inputs.text("text"))
    if "now_ms" in inputs:
        require(inputs.int("now_ms") <= offer["expires_ms"], "expired")
        require(inputs.bytes("server", 32) == offer["server"], "another-relay")
    return offer


# Grants


def read_grant(reader):
    reader.version()
    account, device = i.read_credential(reader)
    inner = c.Reader(reader.data[reader.at :])
    found = i.read_list(inner)
    encoded = reader.take(inner.at)
    return {"account": account, "device": device, "list": {**found, "encoded": encoded}, "name": reader.vec(), "relay_url": reader.vec()}


def decode_grant(encoded):
    grant = c.decode(encoded, 4981, read_grant)
    i.check_device_bounds(grant["device"])
    i.check_list_bounds(grant["list"])
    i.check_name(grant["name"])
    i.check_relay_url(grant["relay_url"])
    return grant


@subject("grant")
def grant(inputs):
    found = decode_grant(inputs.bytes("grant"))
    return {
        "account_id": H("account id", [found["account"]["encoded"]]),
        "device_id": H("device id", [found["device"]["encoded"]]),
        "list_hash": i.list_hash(found["list"]),
        "name": found["name"],
        "relay_url": found["relay_url"],
    }


@subject("key-grant")
def key_grant(inputs):
    """ID-79: whose key it is."""

    def read(reader):
        reader.version()
        return reader.take(32)

    return {"account_key": c.ed25519_public(c.decode(inputs.bytes("key_grant"), 33, read))}


# The exchange


def seal(key, step, clear, body):
    """Each key seals one message, so that the nonce is zero."""
    padded = u32(len(body)) + body
    padded += bytes(PADDED_LEN - len(padded))
    front = u8(1) + u8(step) + clear
    return front + c.seal(key, bytes(12), front, padded)


@subject("linking")
def linking(inputs):
    """ID-70 to ID-78: all that both send, from what both draw."""
    secret, server, relay_url = inputs.bytes("secret_of_new", 32), inputs.bytes("server", 32), inputs.bytes("relay_url")
    new, old = inputs.bytes("mailbox_of_new", 64), inputs.bytes("mailbox_of_old", 64)
    payload = offer_payload(c.x25519_public(secret), new, server, inputs.int("begun_ms") + LINKING_MS, relay_url)

    key_of_old = c.x25519_public(inputs.bytes("secret_of_old", 32))
    x = c.x25519(secret, key_of_old)
    t1 = H("linking transcript", [payload, key_of_old])
    opening_key, answer_key = c.hkdf(bytes(32), x, "linking key", [t1], 2)
    kem, _ = mlkem.keygen(inputs.bytes("kem_d", 32) + bytes(32))  # z shows only in what a wrong ciphertext yields
    nonce_of_old, nonce_of_new = inputs.bytes("nonce_of_old", 32), inputs.bytes("nonce_of_new", 32)
    commitment = H("linking commitment", [nonce_of_old])
    opening = seal(opening_key, 1, key_of_old, kem + commitment + old)

    shared, ciphertext = mlkem.encapsulate(kem, inputs.bytes("kem_randomness", 32))
    signing, dh = inputs.bytes("signing_seed", 32), inputs.bytes("dh_secret", 32)
    signed = i.request_signed(c.ed25519_public(signing), c.x25519_public(dh), [1, 2])
    request = signed + c.sign(signing, "device request", [signed])
    answer = seal(answer_key, 2, b"", ciphertext + nonce_of_new + request)

    t2 = H("linking transcript", [t1, opening, answer])
    reveal_key, confirm_key, grant_key, abort_of_new, abort_of_old, code_key = c.hkdf(bytes(32), x + shared, "linking key", [t2], 6)
    code = int.from_bytes(H("linking code", [code_key, nonce_of_old, nonce_of_new])[:8], "big") % 1_000_000
    decode_grant(inputs.bytes("grant"))
    return {
        "payload": payload,
        "opening": opening,
        "answer": answer,
        "reveal": seal(reveal_key, 3, b"", nonce_of_old),
        "code": f"{code:06}",
        "confirmation": seal(confirm_key, 4, b"", b""),
        "grant_message": seal(grant_key, 5, b"", inputs.bytes("grant")),
        "abort_of_new": seal(abort_of_new, 6, b"", u8(1)),
        "abort_of_old": seal(abort_of_old, 7, b"", u8(1)),
    }
