"""spec/identity: accounts, devices, device lists, safety numbers, invitations, names."""

import base64
import unicodedata

from . import conventions as c
from .conventions import H, Refused, require, u8, u16, u64, vec
from .vectors import subject

DAY_MS = 24 * 60 * 60 * 1000


# Accounts


def account_signed(key, created_ms, nonce):
    return u8(1) + key + u64(created_ms) + nonce


def read_account(reader):
    start = reader.at
    reader.version()
    account = {"account_key": reader.take(32), "created_ms": reader.u64(), "nonce": reader.take(16)}
    signed = reader.data[start : reader.at]
    return {**account, "signed": signed, "signature": reader.take(64), "encoded": reader.data[start : reader.at]}


def verify_account(account):
    """ID-01, ID-02."""
    c.verify(account["account_key"], "account certificate", [account["signed"]], account["signature"])
    return H("account id", [account["encoded"]])


def decode_account(encoded):
    return c.decode(encoded, 121, read_account)


@subject("account-certificate")
def account_certificate(inputs):
    if "account_seed" in inputs:
        seed = inputs.bytes("account_seed", 32)
        signed = account_signed(c.ed25519_public(seed), inputs.int("created_ms"), inputs.bytes("nonce", 16))
        signature = c.sign(seed, "account certificate", [signed])
        encoded = signed + signature
        return {
            "account_key": c.ed25519_public(seed),
            "signed": c.transcript("account certificate", [signed]),
            "signature": signature,
            "certificate": encoded,
            "account_id": verify_account(decode_account(encoded)),
        }
    account = decode_account(inputs.bytes("certificate"))
    account_id = verify_account(account)
    return {**{name: account[name] for name in ("account_key", "created_ms", "nonce")}, "account_id": account_id}


# Devices


def device_signed(account_id, signing_key, dh_key, not_before_ms, not_after_ms, capabilities):
    dates = u64(not_before_ms) + u64(not_after_ms)
    return u8(1) + account_id + signing_key + dh_key + dates + vec(b"".join(map(u16, capabilities)))


def read_device(reader):
    start = reader.at
    reader.version()
    device = {
        "account_id": reader.take(32),
        "signing_key": reader.take(32),
        "dh_key": reader.take(32),
        "not_before_ms": reader.u64(),
        "not_after_ms": reader.u64(),
        "capabilities": reader.items(c.Reader.u16),
    }
    signed = reader.data[start : reader.at]
    return {**device, "signed": signed, "signature": reader.take(64), "encoded": reader.data[start : reader.at]}


def check_device_bounds(device):
    """ID-10."""
    numbers = device["capabilities"]
    require(len(numbers) <= 32 and all(a < b for a, b in zip(numbers, numbers[1:])), "bound")
    require(device["not_before_ms"] <= device["not_after_ms"], "bound")


def decode_device(encoded):
    device = c.decode(encoded, 243, read_device)
    check_device_bounds(device)
    return device


def verify_device(account, account_id, device, now_ms=None):
    """ID-10 to ID-14, for an account certificate that was verified."""
    require(device["account_id"] == account_id, "wrong-account")
    c.verify(account["account_key"], "device certificate", [device["signed"]], device["signature"])
    c.x25519_check(device["dh_key"])
    if now_ms is not None:
        require(now_ms >= device["not_before_ms"], "not-yet-valid")
        require(now_ms <= device["not_after_ms"], "expired")
    return H("device id", [device["encoded"]])


DEVICE_FIELDS = ("account_id", "signing_key", "dh_key", "not_before_ms", "not_after_ms", "capabilities")


@subject("device-certificate")
def device_certificate(inputs):
    account = decode_account(inputs.bytes("account_certificate"))
    account_id = verify_account(account)
    if "account_seed" in inputs:
        seed = inputs.bytes("account_seed", 32)
        signing_key = c.ed25519_public(inputs.bytes("signing_seed", 32))
        dh_key = c.x25519_public(inputs.bytes("dh_secret", 32))
        dates = inputs.int("not_before_ms"), inputs.int("not_after_ms")
        signed = device_signed(account_id, signing_key, dh_key, *dates, inputs.ints("capabilities", 0xFFFF))
        signature = c.sign(seed, "device certificate", [signed])
        encoded = signed + signature
        return {
            "account_id": account_id,
            "signing_key": signing_key,
            "dh_key": dh_key,
            "signed": c.transcript("device certificate", [signed]),
            "signature": signature,
            "certificate": encoded,
            "device_id": verify_device(account, account_id, decode_device(encoded)),
        }
    now_ms = inputs.int("now_ms") if "now_ms" in inputs else None
    device = decode_device(inputs.bytes("certificate"))
    device_id = verify_device(account, account_id, device, now_ms)
    return {**{name: device[name] for name in DEVICE_FIELDS}, "device_id": device_id}


def read_credential(reader):
    reader.version()
    account, device = read_account(reader), read_device(reader)
    return account, device


@subject("credential")
def credential(inputs):
    account, device = c.decode(inputs.bytes("credential"), 365, read_credential)
    check_device_bounds(device)
    now_ms = inputs.int("now_ms") if "now_ms" in inputs else None
    account_id = verify_account(account)
    device_id = verify_device(account, account_id, device, now_ms)
    return {
        "account_certificate": account["encoded"],
        "device_certificate": device["encoded"],
        "account_id": account_id,
        "device_id": device_id,
    }


# Requests of new devices


def request_signed(signing_key, dh_key, capabilities):
    return u8(1) + signing_key + dh_key + vec(b"".join(map(u16, capabilities)))


def read_request(reader):
    reader.version()
    request = {"signing_key": reader.take(32), "dh_key": reader.take(32), "capabilities": reader.items(c.Reader.u16)}
    return {**request, "signed": reader.data[: reader.at], "signature": reader.take(64)}


PRIMARY = 3


def verify_request(encoded):
    """ID-63."""
    request = c.decode(encoded, 192, read_request)
    numbers = request["capabilities"]
    require(len(numbers) <= 31 and all(a < b for a, b in zip(numbers, numbers[1:])) and PRIMARY not in numbers, "bound")
    c.verify(request["signing_key"], "device request", [request["signed"]], request["signature"])
    c.x25519_check(request["dh_key"])
    return {name: request[name] for name in ("signing_key", "dh_key", "capabilities")}


@subject("device-request")
def device_request(inputs):
    if "signing_seed" in inputs:
        seed, dh_key = inputs.bytes("signing_seed", 32), c.x25519_public(inputs.bytes("dh_secret", 32))
        signed = request_signed(c.ed25519_public(seed), dh_key, inputs.ints("capabilities", 0xFFFF))
        signature = c.sign(seed, "device request", [signed])
        verify_request(signed + signature)
        transcript = c.transcript("device request", [signed])
        return {"signed": transcript, "signature": signature, "request": signed + signature}
    return verify_request(inputs.bytes("request"))


# Device lists

NO_LIST = bytes(32)


def list_signed(account_id, list_version, previous, devices, expires_ms):
    return u8(1) + account_id + u64(list_version) + previous + vec(b"".join(devices)) + u64(expires_ms)


def read_list(reader):
    reader.version()
    found = {
        "account_id": reader.take(32),
        "list_version": reader.u64(),
        "previous": reader.take(32),
        "devices": reader.items(read_device),
        "expires_ms": reader.u64(),
    }
    signed = reader.data[: reader.at]
    return {**found, "signed": signed, "signature": reader.take(64), "encoded": reader.data}


def decode_list(encoded):
    """ID-20."""
    found = c.decode(encoded, 4035, read_list)
    check_list_bounds(found)
    return found


def check_list_bounds(found):
    version, is_first = found["list_version"], found["list_version"] == 1
    require(1 <= len(found["devices"]) <= 16 and 1 <= version <= c.COUNTER_MAX, "bound")
    require(is_first == (found["previous"] == NO_LIST), "bound")
    for device in found["devices"]:
        check_device_bounds(device)


def list_hash(found):
    return H("hash of device list", [found["encoded"]])


def verify_list(account, found):
    """ID-21; yields the ids of the devices."""
    account_id = verify_account(account)
    require(found["account_id"] == account_id, "wrong-account")
    c.verify(account["account_key"], "device list", [found["signed"]], found["signature"])
    for key in ("signing_key", "dh_key"):
        require(len({device[key] for device in found["devices"]}) == len(found["devices"]), "duplicate-device")
    return [verify_device(account, account_id, device) for device in found["devices"]]


@subject("device-list")
def device_list(inputs):
    account = decode_account(inputs.bytes("account_certificate"))
    account_id = verify_account(account)
    if "account_seed" in inputs:
        seed = inputs.bytes("account_seed", 32)
        place = inputs.int("list_version"), inputs.bytes("previous", 32)
        signed = list_signed(account_id, *place, inputs.list("devices"), inputs.int("expires_ms"))
        signature = c.sign(seed, "device list", [signed])
        found = decode_list(signed + signature)
        return {
            "signed": c.transcript("device list", [signed]),
            "signature": signature,
            "list": found["encoded"],
            "device_ids": verify_list(account, found),
            "list_hash": list_hash(found),
        }
    found = decode_list(inputs.bytes("list"))
    device_ids = verify_list(account, found)
    head = {name: found[name] for name in ("list_version", "previous", "expires_ms")}
    return {**head, "device_ids": device_ids, "list_hash": list_hash(found)}


def freshness(found, now_ms):
    """ID-26."""
    if now_ms <= found["expires_ms"]:
        return "fresh"
    return "expired" if now_ms - found["expires_ms"] <= 30 * DAY_MS else "stopped"


def pin(pinned, account, offered, now_ms):
    """ID-22 to ID-28; yields the list that is pinned now."""
    verify_list(account, offered)
    if pinned:
        (old_account, old), version = pinned, offered["list_version"]
        require(verify_account(old_account) == verify_account(account), "wrong-account")
        require(version >= old["list_version"], "rolled-back")
        require(version != old["list_version"] or list_hash(offered) == list_hash(old), "forked")
        require(version != old["list_version"] + 1 or offered["previous"] == list_hash(old), "chain-broken")
    require(freshness(offered, now_ms) != "stopped", "list-expired")
    return account, offered


@subject("device-list-pin")
def device_list_pin(inputs):
    """`offered` is pinned in place of `pinned`, which was pinned at `pinned_ms`; without them nothing is pinned before."""
    account = decode_account(inputs.bytes("account_certificate"))
    pinned = None
    if "pinned" in inputs:
        of = decode_account(inputs.bytes("pinned_certificate")) if "pinned_certificate" in inputs else account
        pinned = pin(None, of, decode_list(inputs.bytes("pinned")), inputs.int("pinned_ms"))
    now_ms = inputs.int("now_ms")
    _, now_pinned = pin(pinned, account, decode_list(inputs.bytes("offered")), now_ms)
    return {
        "account_id": now_pinned["account_id"],
        "list_version": now_pinned["list_version"],
        "list_hash": list_hash(now_pinned),
        "freshness": freshness(now_pinned, now_ms),
    }


# Safety numbers


def fingerprint(account_id, key):
    """ID-30."""
    h = H("safety number", [account_id, key])
    for _ in range(5_199):
        h = H("safety number", [h, key])
    return h[:30]


def fingerprints(inputs):
    accounts = [decode_account(encoded) for encoded in inputs.list("certificates")]
    assert len(accounts) == 2
    return sorted(fingerprint(verify_account(account), account["account_key"]) for account in accounts)


def digits(both):
    joined = b"".join(both)
    groups = (int.from_bytes(joined[at : at + 5], "big") % 100_000 for at in range(0, 60, 5))
    return " ".join(f"{group:05}" for group in groups)


def qr(both):
    return u8(1) + b"".join(both)


@subject("safety-number")
def safety_number(inputs):
    both = fingerprints(inputs)
    return {"fingerprints": both, "digits": digits(both), "qr": qr(both)}


@subject("safety-number-qr")
def safety_number_qr(inputs):
    """ID-31."""
    both, scanned = fingerprints(inputs), inputs.bytes("scanned")
    require(len(scanned) == 61 and scanned[0] == 1, "no-safety-code")
    require(scanned == qr(both), "another-number")
    return {"same": True}


# Names


WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}

DIRECTION = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}

INVISIBLE = {
    0x00AD, 0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x200E),
    *range(0x2060, 0x2066), *range(0x206A, 0x2070), 0x2800, 0x3164, *range(0xFE00, 0xFE0F), 0xFEFF, 0xFFA0,
    *range(0xFFF0, 0xFFFC), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000),
}  # fmt: skip


def check_name(encoded):
    """ID-50."""
    require(len(encoded) <= 64, "name-too-long")
    try:
        points = [ord(character) for character in encoded.decode()]
    except UnicodeDecodeError:
        raise Refused("name-not-utf8") from None
    require(any(point not in WHITE_SPACE for point in points), "name-blank")
    for point in points:
        require(unicodedata.category(chr(point)) != "Cc" and point not in (0x2028, 0x2029), "name-control")
        require(point not in DIRECTION, "name-direction")
        require(point not in INVISIBLE, "name-invisible")
    require(points[0] not in WHITE_SPACE and points[-1] not in WHITE_SPACE, "name-outer-space")
    return points


@subject("name")
def name(inputs):
    return {"code_points": check_name(inputs.bytes("utf8"))}


# Invitations

INVITATION_PREFIX = "undertone1"
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def base32_encode(data):
    return base64.b32encode(data).decode().rstrip("=").lower()


def base32_decode(text):
    """ID-40: one text for each byte string, so that a whole number of bytes is there and what is left over is zero."""
    require(all(digit in BASE32 for digit in text), "alphabet")
    number = 0
    for digit in text:
        number = number << 5 | BASE32.index(digit)
    left_over = len(text) * 5 % 8
    require(left_over < 5 and number & (1 << left_over) - 1 == 0, "alphabet")
    return (number >> left_over).to_bytes(len(text) * 5 // 8, "big")


def check_relay_url(url):
    require(1 <= len(url) <= 512 and all(0x21 <= byte <= 0x7E for byte in url), "bad-relay-url")


def read_invitation(reader):
    reader.version()
    return read_account(reader), reader.vec(), reader.vec()


def decode_invitation(text):
    """ID-40 to ID-42."""
    text = text.strip()
    require(len(text) <= 1140, "no-invitation")
    text = text.lower()
    require(text.startswith(INVITATION_PREFIX), "no-invitation")
    data = base32_decode(text.removeprefix(INVITATION_PREFIX))
    payload, checksum = data[:-4], data[-4:]
    require(len(data) >= 4 and H("invitation", [payload])[:4] == checksum, "checksum")
    account, url, name = c.decode(payload, 702, read_invitation)
    account_id = verify_account(account)
    check_relay_url(url)
    check_name(name)
    slot = H("slot id", [account["account_key"]])  # ID-43, RELAY-40
    return {"account_certificate": account["encoded"], "account_id": account_id, "relay_url": url, "name": name, "slot": slot}


@subject("invitation")
def invitation(inputs):
    if "account_certificate" in inputs:
        account, url, name = inputs.bytes("account_certificate"), inputs.bytes("relay_url"), inputs.bytes("name")
        payload = u8(1) + account + vec(url) + vec(name)
        checksum = H("invitation", [payload])[:4]
        text = INVITATION_PREFIX + base32_encode(payload + checksum)
        read = decode_invitation(text)
        return {"payload": payload, "checksum": checksum, "text": text, "account_id": read["account_id"], "slot": read["slot"]}
    return decode_invitation(inputs.text("text"))
