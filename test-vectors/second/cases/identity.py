"""spec/identity."""

from .. import conventions as c
from .. import identity as i
from .making import File, fixed, flip

NOW_MS = 1_800_000_000_000
DAY_MS = i.DAY_MS
GREASE = 0x1A1A


def files():
    return [
        account_certificate(), device_certificate(), credential(), device_request(), device_list(), device_list_pin(), safety_number(),
        safety_number_qr(), name(), invitation(),
    ]  # fmt: skip


# People and their devices


class Account:
    """An account with its key in hand, so that it can sign what an honest one never would."""

    def __init__(self, name):
        self.name, self.seed = name, fixed(f"account key of {name}")
        self.key = c.ed25519_public(self.seed)
        self.created_ms, self.nonce = NOW_MS - 30 * DAY_MS, fixed(f"account nonce of {name}", 16)
        self.certificate = self.signed(i.account_signed(self.key, self.created_ms, self.nonce), "account certificate")
        self.id = c.H("account id", [self.certificate])

    def signed(self, data, label):
        return data + c.sign(self.seed, label, [data])

    def device_facts(self, name, **changes):
        facts = {
            "account_id": self.id,
            "signing_key": c.ed25519_public(fixed(f"signing key of {name}")),
            "dh_key": c.x25519_public(fixed(f"DH key of {name}")),
            "not_before_ms": NOW_MS - DAY_MS,
            "not_after_ms": NOW_MS + 365 * DAY_MS,
            "capabilities": [1, 2],
        }
        return {**facts, **changes}

    def device(self, name, **changes):
        facts = self.device_facts(f"{name} of {self.name}", **changes)
        return self.signed(i.device_signed(**facts), "device certificate")

    def list(self, version, previous, devices, expires_ms=NOW_MS + 90 * DAY_MS, account_id=None):
        return self.signed(i.list_signed(account_id or self.id, version, previous, devices, expires_ms), "device list")


def list_hash(encoded):
    return c.H("hash of device list", [encoded])


ANN, BOB, EVE = Account("Ann"), Account("Bob"), Account("Eve")
PHONE, LAPTOP, TABLET = (ANN.device(name) for name in ("phone", "laptop", "tablet"))
LIST_1 = ANN.list(1, i.NO_LIST, [PHONE])
LIST_2 = ANN.list(2, list_hash(LIST_1), [PHONE, LAPTOP])
LIST_3 = ANN.list(3, list_hash(LIST_2), [LAPTOP, TABLET])


def account_certificate():
    file = File("account-certificate", "ID-01 ID-02", "Made from a seed, or read and verified; named by its hash.")
    for who in (ANN, BOB):
        file.accepted(f"made-by-{who.name.lower()}", "a new account", account_seed=who.seed, created_ms=who.created_ms, nonce=who.nonce)
    file.accepted("created-0", "created in 1970: the instant is for display", account_seed=ANN.seed, created_ms=0, nonce=bytes(16))
    file.accepted("created-2-53", "created at 2^53", "boundary", account_seed=ANN.seed, created_ms=2**53, nonce=b"\xff" * 16)
    file.accepted("read", "the certificate of made-by-ann, without her seed", certificate=ANN.certificate)
    sound = ANN.certificate
    file.bad_encodings(("certificate", sound), len_max=121)
    signed = sound[:-64]

    def bad(id_, comment, certificate):
        file.refused(id_, "bad-signature", comment, certificate=certificate)

    bad("no-signature", "64 zero bytes in place of a signature", signed + bytes(64))
    bad("signed-by-another-key", "signed by another key", signed + c.sign(BOB.seed, "account certificate", [signed]))
    bad("signed-under-another-label", "signed as if it were a device list", signed + c.sign(ANN.seed, "device list", [signed]))
    bad("another-key-inside", "the key was exchanged", sound[:1] + BOB.key + sound[33:])
    bad("another-instant", "the instant was changed", flip(sound, 40))
    bad("another-nonce", "the nonce was changed", flip(sound, 56))
    bad("bit-of-the-signature", "a bit of the signature was flipped", flip(sound, -1))
    identity = c.Point(0, 1).encode()
    forged = i.account_signed(identity, ANN.created_ms, ANN.nonce)
    bad("key-is-the-identity", "a key of small order, under which anybody can sign", forged + identity + bytes(32))
    return file


def device_certificate():
    file = File(
        "device-certificate", "ID-10 ID-11 ID-12 ID-13 ID-14 ID-15",
        "Made from seeds, or read and verified beside the certificate of its account. Dates are looked at only with now_ms.",
    )  # fmt: skip
    made = {
        "account_certificate": ANN.certificate,
        "account_seed": ANN.seed,
        "signing_seed": fixed("signing key of phone of Ann"),
        "dh_secret": fixed("DH key of phone of Ann"),
        "not_before_ms": NOW_MS - DAY_MS,
        "not_after_ms": NOW_MS + 365 * DAY_MS,
    }
    result = file.accepted("made", "a device for direct conversations and groups", **made, capabilities=[1, 2])
    assert bytes.fromhex(result["certificate"]) == PHONE
    file.accepted("no-capability", "no capability: the shortest certificate", "boundary", **made, capabilities=[])
    file.accepted("32-capabilities", "the most there may be, 64 bytes of them", "boundary", **made, capabilities=list(range(1, 33)))
    file.accepted("unknown-capabilities", "unknown numbers are kept", **made, capabilities=[1, GREASE, 0xFFFF])
    base = {"account_certificate": ANN.certificate}
    file.accepted("read", "the certificate of `made`; no clock is asked", **base, certificate=PHONE)
    first, last = NOW_MS - DAY_MS, NOW_MS + 365 * DAY_MS
    file.accepted("first-instant", "at not before itself", "boundary", **base, certificate=PHONE, now_ms=first)
    file.accepted("last-instant", "at not after itself", "boundary", **base, certificate=PHONE, now_ms=last)
    one = ANN.device("phone", not_before_ms=NOW_MS, not_after_ms=NOW_MS)
    file.accepted("one-instant", "valid for one millisecond", "boundary", **base, certificate=one, now_ms=NOW_MS)
    file.accepted("expired-in-a-group", "no clock is asked: dates do not count", **base, certificate=ANN.device("phone", not_before_ms=0, not_after_ms=1))

    def bad(id_, code, comment, certificate, *flags, **more):
        file.refused(id_, code, comment, *flags, **{**base, "certificate": certificate, **more})

    file.bad_encodings(("certificate", PHONE), 243, inner_len_at=113, **base)
    bad("odd-capabilities", "malformed", "half a capability", ANN.signed(PHONE[:113] + c.vec(b"\0\1\0"), "device certificate"))
    bad("33-capabilities", "too-long", "one capability too many", ANN.device("phone", capabilities=list(range(1, 34))), "boundary")
    bad("244-bytes", "too-long", "longer than a certificate can be", PHONE + bytes(244 - len(PHONE)), "boundary")
    bad("capability-twice", "bound", "a capability stands twice", ANN.device("phone", capabilities=[1, 1]))
    bad("capabilities-fall", "bound", "capabilities do not rise", ANN.device("phone", capabilities=[2, 1]))
    bad("dates-swapped", "bound", "not before is behind not after", ANN.device("phone", not_before_ms=2, not_after_ms=1), "boundary")
    bad("of-another-account", "wrong-account", "names another account, signed by this one", ANN.device("phone", account_id=BOB.id))
    bad("beside-another-account", "wrong-account", "sound, beside the certificate of another account", PHONE, account_certificate=BOB.certificate)
    facts = ANN.device_facts("phone of Ann")
    signed = i.device_signed(**facts)
    by_eve = signed + c.sign(EVE.seed, "device certificate", [signed])
    bad("signed-by-another-key", "bad-signature", "signed by another account's key", by_eve)
    by_itself = signed + c.sign(fixed("signing key of phone of Ann"), "device certificate", [signed])
    bad("signed-by-itself", "bad-signature", "signed by the device's own key", by_itself)
    bad("signed-under-another-label", "bad-signature", "signed as if it were a device list", ANN.signed(signed, "device list"))
    bad("bit-of-the-dh-key", "bad-signature", "a bit of the DH key was flipped", flip(PHONE, 65))
    bad("bit-of-the-signature", "bad-signature", "a bit of the signature was flipped", flip(PHONE, -1))
    low = bytes(32)
    bad("dh-key-of-low-order", "low-order", "the DH key is 0", ANN.device("phone", dh_key=low))
    bad("dh-key-of-order-8", "low-order", "the DH key is a point of order 8", ANN.device("phone", dh_key=bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")))  # fmt: skip
    bad("dh-key-not-canonical", "non-canonical", "the DH key is p + 9", ANN.device("phone", dh_key=(c.Point.P + 9).to_bytes(32, "little")))
    bad("dh-key-with-top-bit", "non-canonical", "the top bit of the DH key is set", ANN.device("phone", dh_key=flip(facts["dh_key"], 31, 0x80)))
    bad("not-yet-valid", "not-yet-valid", "a millisecond before not before", PHONE, "boundary", now_ms=first - 1)
    bad("expired", "expired", "a millisecond behind not after", PHONE, "boundary", now_ms=last + 1)
    forged = flip(ANN.certificate, -1)
    bad("account-not-signed", "bad-signature", "the account's certificate does not verify", PHONE, account_certificate=forged)
    return file


def credential():
    file = File("credential", "ID-12 ID-13 ID-14 ID-16", "Both certificates of a device. Dates are looked at only with now_ms.")
    sound = b"\1" + ANN.certificate + PHONE
    long = ANN.device("phone", capabilities=list(range(1, 33)))
    file.accepted("read", "both certificates; no clock is asked", credential=sound)
    file.accepted("longest", "32 capabilities: 365 bytes", "boundary", credential=b"\1" + ANN.certificate + long)
    file.accepted("in-time", "within its dates", credential=sound, now_ms=NOW_MS)
    file.bad_encodings(("credential", sound), 365, inner_len_at=235, versions_at=(0, 1, 122))

    def bad(id_, code, comment, account, device, *flags, **more):
        file.refused(id_, code, comment, *flags, credential=b"\1" + account + device, **more)

    bad("366-bytes", "too-long", "longer than a credential can be", ANN.certificate, long + b"\0", "boundary")
    bad("of-two-accounts", "wrong-account", "a device beside another account", BOB.certificate, PHONE)
    bad("account-not-signed", "bad-signature", "the account's signature is broken", flip(ANN.certificate, -1), PHONE)
    bad("device-not-signed", "bad-signature", "the device's signature is broken", ANN.certificate, flip(PHONE, -1))
    bad("capabilities-fall", "bound", "capabilities do not rise", ANN.certificate, ANN.device("phone", capabilities=[2, 1]))
    bad("certificates-swapped", "version", "the device stands in front", PHONE, ANN.certificate)
    bad("not-yet-valid", "not-yet-valid", "before its dates", ANN.certificate, PHONE, now_ms=NOW_MS - 2 * DAY_MS)
    bad("expired", "expired", "behind its dates", ANN.certificate, PHONE, now_ms=NOW_MS + 366 * DAY_MS)
    return file


def device_request():
    file = File("device-request", "ID-63", "What a new device asks to have certified: made from its keys, or read and verified.")
    seed, dh_secret = fixed("signing key of a new device"), fixed("DH key of a new device")
    made = file.accepted("made", "a device for direct conversations and groups", signing_seed=seed, dh_secret=dh_secret, capabilities=[1, 2])
    file.accepted("31-capabilities", "the most there may be", "boundary", signing_seed=seed, dh_secret=dh_secret, capabilities=[1, 2, *range(4, 33)])
    sound = bytes.fromhex(made["request"])
    file.accepted("read", "the request of `made`", request=sound)
    file.bad_encodings(("request", sound), 192, inner_len_at=65)
    key, dh_key = c.ed25519_public(seed), c.x25519_public(dh_secret)

    def signed(capabilities=(1, 2), dh_key=dh_key, by=seed, label="device request"):
        data = i.request_signed(key, dh_key, capabilities)
        return data + c.sign(by, label, [data])

    def bad(id_, code, comment, request, *flags):
        file.refused(id_, code, comment, *flags, request=request)

    bad("193-bytes", "too-long", "longer than a request can be", sound + bytes(193 - len(sound)), "boundary")
    bad("primary", "bound", "it asks to be primary, which is not for it to say", signed([1, 2, 3]))
    bad("32-capabilities", "too-long", "one capability too many", signed([1, 2, *range(4, 34)]), "boundary")
    bad("capability-twice", "bound", "a capability stands twice", signed([1, 1]))
    bad("capabilities-fall", "bound", "capabilities do not rise", signed([2, 1]))
    bad("signed-by-another-key", "bad-signature", "signed by another device", signed(by=fixed("another device")))
    bad("signed-under-another-label", "bad-signature", "signed as if it were a certificate", signed(label="device certificate"))
    bad("another-dh-key", "bad-signature", "somebody exchanged the DH key", flip(sound, 40))
    bad("dh-key-of-low-order", "low-order", "the DH key is 0", signed(dh_key=bytes(32)))
    bad("dh-key-not-canonical", "non-canonical", "the DH key is p + 9", signed(dh_key=(c.Point.P + 9).to_bytes(32, "little")))
    return file


def device_list():
    file = File("device-list", "ID-20 ID-21 ENC-10", "Made from a seed, or read and verified beside the certificate of its account.")
    base = {"account_certificate": ANN.certificate}
    made = {**base, "account_seed": ANN.seed, "expires_ms": NOW_MS + 90 * DAY_MS}
    result = file.accepted("first", "list 1, one device", **made, list_version=1, previous=i.NO_LIST, devices=[PHONE])
    assert bytes.fromhex(result["list"]) == LIST_1
    file.accepted("second", "list 2 names list 1; two devices", **made, list_version=2, previous=list_hash(LIST_1), devices=[PHONE, LAPTOP])
    many = [ANN.device(f"device {n}", capabilities=[]) for n in range(16)]
    file.accepted("16-devices", "the most there may be", "boundary", **made, list_version=2, previous=list_hash(LIST_1), devices=many)
    file.accepted("list-version-2-53", "the highest version", "boundary", **made, list_version=2**53, previous=list_hash(LIST_1), devices=[PHONE])
    file.accepted("read", "list 2, without the account's seed", **base, list=LIST_2)
    old = ANN.device("old", not_before_ms=0, not_after_ms=1)
    file.accepted("a-device-expired", "dates of single devices do not make a list invalid", **base, list=ANN.list(1, i.NO_LIST, [old]))

    def bad(id_, code, comment, encoded, *flags, **more):
        file.refused(id_, code, comment, *flags, **{**base, "list": encoded, **more})

    signed = LIST_1[:-64]
    # The list of devices is longer than 63 bytes, so that its length stands in two.
    file.bad_encodings(("list", LIST_1), 4035, versions_at=(0, 75), **base)
    start, inner = LIST_1[:73], LIST_1[75:]
    bad("length-not-minimal", "malformed", "the length of the devices in four bytes", start + b"\x80\0\0" + LIST_1[74:75] + inner)
    bad("length-too-small", "malformed", "a length of the devices that is one less", start + flip(LIST_1[73:75], 1, 3) + inner)
    bad("length-past-the-end", "malformed", "2^30 - 1 bytes of devices; the bytes end behind the first", start + b"\xbf\xff\xff\xff" + PHONE)
    first, previous = (1, i.NO_LIST), list_hash(LIST_1)
    bad("no-device", "bound", "no device", ANN.list(*first, []), "boundary")
    bad("17-devices", "bound", "one device too many", ANN.list(*first, [*many, PHONE]), "boundary")
    bad("list-version-0", "bound", "version 0", ANN.list(0, previous, [PHONE]), "boundary")
    bad("list-version-0-without-previous", "bound", "version 0, as if it were the first", ANN.list(0, i.NO_LIST, [PHONE]))
    bad("list-version-past-2-53", "bound", "version 2^53 + 1", ANN.list(2**53 + 1, previous, [PHONE]), "boundary")
    bad("list-version-greatest", "bound", "version 2^64 - 1", ANN.list(2**64 - 1, previous, [PHONE]))
    bad("first-with-previous", "bound", "list 1 names a list before it", ANN.list(1, previous, [PHONE]))
    bad("second-without-previous", "bound", "list 2 names none", ANN.list(2, i.NO_LIST, [PHONE]))
    bad("a-device-out-of-bounds", "bound", "a device's capabilities do not rise", ANN.list(*first, [ANN.device("phone", capabilities=[2, 1])]))
    bad("4036-bytes", "too-long", "longer than a list can be", LIST_1 + bytes(4036 - len(LIST_1)), "boundary")
    bad("of-another-account", "wrong-account", "names another account, signed by this one", ANN.list(*first, [PHONE], account_id=BOB.id))
    bad("beside-another-account", "wrong-account", "sound, beside the certificate of another account", LIST_1, account_certificate=BOB.certificate)
    bad("no-signature", "bad-signature", "64 zero bytes in place of a signature", signed + bytes(64))
    bad("signed-by-another-key", "bad-signature", "signed by another account", signed + c.sign(EVE.seed, "device list", [signed]))
    bad("signed-under-another-label", "bad-signature", "signed as if it were a certificate", ANN.signed(signed, "device certificate"))
    by_device = signed + c.sign(fixed("signing key of phone of Ann"), "device list", [signed])
    bad("signed-by-a-device", "bad-signature", "signed by a device of the account", by_device)
    bad("a-device-hidden", "bad-signature", "somebody took a device out", LIST_2[:73] + c.vec(PHONE) + LIST_2[-72:])
    bad("another-expiry", "bad-signature", "somebody made it last longer", flip(LIST_1, -65))
    bad("account-not-signed", "bad-signature", "the account's certificate does not verify", LIST_1, account_certificate=flip(ANN.certificate, -1))
    bad("a-device-not-signed", "bad-signature", "a device that the account did not certify", ANN.list(*first, [flip(PHONE, -1)]))
    bad("a-device-of-another-account", "wrong-account", "a device of another account", ANN.list(*first, [BOB.device("phone")]))
    bad("a-device-twice", "duplicate-device", "one device twice", ANN.list(*first, [PHONE, PHONE]))
    facts = ANN.device_facts("phone of Ann")
    twin = ANN.device("laptop", signing_key=facts["signing_key"])
    bad("a-signing-key-twice", "duplicate-device", "two devices with one signing key", ANN.list(*first, [PHONE, twin]))
    twin = ANN.device("laptop", dh_key=facts["dh_key"])
    bad("a-dh-key-twice", "duplicate-device", "two devices with one DH key", ANN.list(*first, [PHONE, twin]))
    bad("a-dh-key-of-low-order", "low-order", "a device whose DH key is 1", ANN.list(*first, [ANN.device("phone", dh_key=b"\1" + bytes(31))]))
    return file


def device_list_pin():
    file = File(
        "device-list-pin", "ID-22 ID-23 ID-24 ID-25 ID-26 ID-27 ID-28",
        "A list is pinned in place of the one pinned before, if there is one. What is refused leaves the pin as it was.",
    )  # fmt: skip
    ann, expires = {"account_certificate": ANN.certificate}, NOW_MS + 90 * DAY_MS
    before = {**ann, "pinned": LIST_2, "pinned_ms": NOW_MS, "now_ms": NOW_MS}
    file.accepted("first-seen", "nothing is pinned before", **ann, offered=LIST_2, now_ms=NOW_MS)
    file.accepted("next", "the list behind the pinned one names it", **before, offered=LIST_3)
    file.accepted("same-again", "the pinned list once more", **before, offered=LIST_2)
    ahead = ANN.list(9, fixed("some list"), [TABLET])
    file.accepted("versions-skipped", "the directory keeps only the newest", **before, offered=ahead)
    file.accepted("last-fresh-instant", "at its expiry", "boundary", **ann, offered=LIST_1, now_ms=expires)
    file.accepted("expired", "a millisecond later: usable, with a warning", "boundary", **ann, offered=LIST_1, now_ms=expires + 1)
    grace = expires + 30 * DAY_MS
    file.accepted("last-instant", "30 days later", "boundary", **ann, offered=LIST_1, now_ms=grace)

    def bad(id_, code, comment, offered, *flags, **more):
        file.refused(id_, code, comment, *flags, **{**before, "offered": offered, **more})

    bad("rolled-back", "rolled-back", "a lower version than the pinned one", LIST_1)
    bad("forked", "forked", "the pinned version with other devices", ANN.list(2, list_hash(LIST_1), [LAPTOP]))
    bad("forked-in-expiry-only", "forked", "the pinned version with another expiry", ANN.list(2, list_hash(LIST_1), [PHONE, LAPTOP], expires + 1))
    bad("chain-broken", "chain-broken", "the next version names another list", ANN.list(3, list_hash(LIST_1), [LAPTOP]))
    other = ANN.list(2, list_hash(LIST_1), [LAPTOP])
    bad("behind-a-fork", "chain-broken", "the next version names the other branch", ANN.list(3, list_hash(other), [LAPTOP]))
    bad("expired-for-30-days", "list-expired", "a millisecond past the 30 days", LIST_3, "boundary", now_ms=grace + 1)
    bad("not-signed", "bad-signature", "the next list, its signature broken", flip(LIST_3, -1))
    bad("of-another-account", "wrong-account", "a list of another account", BOB.list(3, list_hash(LIST_2), [BOB.device("phone")]))
    bob = {"account_certificate": BOB.certificate, "pinned_certificate": ANN.certificate}
    bad("pinned-for-another", "wrong-account", "a sound list of Bob in place of one of Ann", BOB.list(3, list_hash(LIST_2), [BOB.device("phone")]), **bob)
    bad("first-expired", "list-expired", "expired for a year, nothing pinned differently", LIST_2, now_ms=expires + 365 * DAY_MS)
    return file


def safety_number():
    file = File("safety-number", "ID-30", "Fingerprints of two accounts, the digits, and what the QR code holds. Nothing is refused here.")
    file.accepted("ann-and-bob", "seen from one side", certificates=[ANN.certificate, BOB.certificate])
    file.accepted("bob-and-ann", "the same number, seen from the other", certificates=[BOB.certificate, ANN.certificate])
    again = ANN.signed(i.account_signed(ANN.key, ANN.created_ms, fixed("another nonce", 16)), "account certificate")
    file.accepted("same-key-another-id", "Ann's key in another certificate: another number", certificates=[again, BOB.certificate])
    file.accepted("ann-and-eve", "another number", certificates=[ANN.certificate, EVE.certificate])
    file.accepted("with-oneself", "both fingerprints are one", certificates=[ANN.certificate, ANN.certificate])
    return file


def safety_number_qr():
    file = File("safety-number-qr", "ID-31", "What is scanned, compared with the number of the two certificates.")
    pair = {"certificates": [ANN.certificate, BOB.certificate]}

    def code(one, other):
        return i.qr(sorted(i.fingerprint(who.id, who.key) for who in (one, other)))

    sound = code(ANN, BOB)
    file.accepted("same", "the code of the same two accounts", **pair, scanned=sound)
    file.accepted("same-from-the-other-side", "certificates in the other order", certificates=pair["certificates"][::-1], scanned=sound)

    def bad(id_, code, comment, scanned, *flags):
        file.refused(id_, code, comment, *flags, **pair, scanned=scanned)

    bad("of-another-pair", "another-number", "the code of Ann and Eve", code(ANN, EVE))
    bad("larger-first", "another-number", "both fingerprints in the other order", sound[:1] + sound[31:] + sound[1:31])
    bad("bit-of-the-first", "another-number", "a bit of the smaller fingerprint", flip(sound, 1))
    bad("last-bit", "another-number", "the last bit", flip(sound, 60))
    bad("empty", "no-safety-code", "nothing", b"")
    bad("version-alone", "no-safety-code", "one byte", sound[:1])
    bad("cut-by-one-byte", "no-safety-code", "60 bytes", sound[:-1], "boundary")
    bad("trailing-byte", "no-safety-code", "62 bytes", sound + b"\0", "boundary")
    for version in (0, 2, 255):
        bad(f"version-{version}", "no-safety-code", f"version {version}", bytes([version]) + sound[1:])
    bad("some-text", "no-safety-code", "the code of something else", b"https://example.org/a-code-of-something-else-with-its-61-bytes"[:61])
    return file


def name():
    file = File("name", "ID-50", "What somebody may be called, in UTF-8.")
    for id_, comment, text in GOOD_NAMES:
        file.accepted(id_, comment, utf8=text.encode())
    for id_, code, comment, data in BAD_NAMES:
        file.refused(id_, code, comment, utf8=data if isinstance(data, bytes) else data.encode())
    return file


GOOD_NAMES = [
    ("one-letter", "one byte", "A"),
    ("64-bytes", "the most there may be", "a" * 64),
    ("with-a-space", "a space inside", "Ann Example"),
    ("arabic", "right to left by its letters alone", "\u0622\u0646"),
    ("emoji-style", "U+FE0F is allowed", "\u2764\ufe0f"),
    ("combining", "a letter with a combining accent", "e\u0301"),
    ("replacement-character", "U+FFFD is beside the range that is refused", "\ufffd"),
    ("4-bytes", "a character of four bytes", "\U0001f600"),
]

BAD_NAMES = [
    ("empty", "name-blank", "no byte", ""),
    ("blank", "name-blank", "a space", " "),
    ("blank-ideographic", "name-blank", "an ideographic space", "\u3000"),
    ("65-bytes", "name-too-long", "one byte too many", "a" * 65),
    ("65-bytes-of-two", "name-too-long", "33 characters of two bytes each", "\u00e9" * 33),
    ("not-utf8", "name-not-utf8", "a byte that begins nothing", b"Ann\xff"),
    ("cut-character", "name-not-utf8", "half a character", b"Ann\xc3"),
    ("surrogate", "name-not-utf8", "half a surrogate pair", b"\xed\xa0\x80"),
    ("overlong", "name-not-utf8", "a slash in two bytes", b"\xc0\xaf"),
    ("space-in-front", "name-outer-space", "begins with a space", " Ann"),
    ("space-behind", "name-outer-space", "ends with a space", "Ann "),
    ("no-break-space-behind", "name-outer-space", "ends with a no-break space", "Ann\u00a0"),
    ("nul", "name-control", "NUL", "An\0n"),
    ("line-break", "name-control", "a line break inside", "Ann\nBob"),
    ("delete", "name-control", "U+007F", "An\x7fn"),
    ("c1-control", "name-control", "U+0085", "An\u0085n"),
    ("line-separator", "name-control", "U+2028", "An\u2028n"),
    ("paragraph-separator", "name-control", "U+2029", "An\u2029n"),
    ("right-to-left-override", "name-direction", "U+202E", "Ann\u202ebob"),
    ("isolate", "name-direction", "U+2066", "Ann\u2066bob"),
    ("arabic-letter-mark", "name-direction", "U+061C", "Ann\u061cbob"),
    ("left-to-right-mark", "name-direction", "U+200E", "Ann\u200ebob"),
    ("zero-width-space", "name-invisible", "U+200B", "An\u200bn"),
    ("zero-width-joiner", "name-invisible", "U+200D", "An\u200dn"),
    ("soft-hyphen", "name-invisible", "U+00AD", "An\u00adn"),
    ("hangul-filler", "name-invisible", "U+3164", "\u3164"),
    ("variation-selector-15", "name-invisible", "U+FE0E, beside the one that is allowed", "\u2764\ufe0e"),
    ("byte-order-mark", "name-invisible", "U+FEFF", "\ufeffAnn"),
    ("tag-character", "name-invisible", "U+E0041", "Ann\U000e0041"),
    ("last-invisible", "name-invisible", "U+E0FFF", "Ann\U000e0fff"),
]


def invitation():
    file = File("invitation", "ID-40 ID-41 ID-42 ID-43 RELAY-40", "Written from its parts, or read.")
    url, name_ = b"wss://relay.example", "Ann".encode()
    result = file.accepted("made", "an invitation is written", account_certificate=ANN.certificate, relay_url=url, name=name_)
    text = result["text"]
    longest = file.accepted("longest", "the longest address and name: 1 140 characters", "boundary", account_certificate=ANN.certificate, relay_url=b"w" * 512, name=b"n" * 64)
    assert len(longest["text"]) == 1140
    file.accepted("read", "the text of `made`", text=text)
    file.accepted("read-upper-case", "the same, as a QR code likes it", text=text.upper())
    file.accepted("read-with-white-space", "the same with white space around", text=f"  {text} ")

    def written(certificate=ANN.certificate, url=url, name=name_, version=1, more=b""):
        payload = bytes([version]) + certificate + c.vec(url) + c.vec(name) + more
        return i.INVITATION_PREFIX + i.base32_encode(payload + c.H("invitation", [payload])[:4])

    bad = file.refused
    bad("empty", "no-invitation", "nothing", text="")
    bad("another-beginning", "no-invitation", "undertone2", text=text.replace("undertone1", "undertone2"))
    bad("without-its-beginning", "no-invitation", "the base32 alone", text=text.removeprefix("undertone1"))
    bad("1141-characters", "no-invitation", "longer than an invitation can be", "boundary", text=longest["text"] + "a")
    bad("a-0-inside", "alphabet", "a character that base32 does not have", text=text[:-1] + "0")
    bad("a-space-inside", "alphabet", "white space in the middle", text=text[:40] + " " + text[40:])
    bad("padded", "alphabet", "with padding", text=text + "=")
    bad("a-character-too-many", "alphabet", "no whole number of bytes", text=i.INVITATION_PREFIX + "aaaaaaaaa")
    bad("bits-left-over", "alphabet", "bits behind the last byte that are not zero", text=i.INVITATION_PREFIX + "aaaaaab")
    bad("beginning-alone", "checksum", "no payload and no checksum", text=i.INVITATION_PREFIX)
    bad("mistyped", "checksum", "one character is another", text=text[:50] + ("a" if text[50] != "a" else "b") + text[51:])
    bad("cut", "checksum", "the last eight characters are missing", text=text[:-8])
    for version in (0, 2, 255):
        bad(f"version-{version}", "version", f"version {version}", text=written(version=version))
    bad("trailing-byte", "malformed", "a byte behind the name", text=written(more=b"\0"))
    bad("no-name", "malformed", "the payload ends behind the address", text=short(ANN.certificate, url))
    bad("not-signed", "bad-signature", "the certificate does not verify", text=written(flip(ANN.certificate, -1)))
    bad("no-relay", "bad-relay-url", "an empty address", text=written(url=b""))
    bad("relay-of-513-bytes", "bad-relay-url", "an address that is too long", "boundary", text=written(url=b"w" * 513))
    bad("relay-with-a-space", "bad-relay-url", "a space in the address", text=written(url=b"wss://relay example"))
    bad("relay-not-ascii", "bad-relay-url", "the address is not ASCII", text=written(url="wss://relay.ex\u00e4mple".encode()))
    bad("name-blank", "name-blank", "no name", text=written(name=b""))
    bad("name-turned", "name-direction", "a name that turns the text around it", text=written(name="Ann\u202e".encode()))
    return file


def short(certificate, url):
    payload = b"\1" + certificate + c.vec(url)
    return i.INVITATION_PREFIX + i.base32_encode(payload + c.H("invitation", [payload])[:4])
