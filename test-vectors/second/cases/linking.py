"""spec/identity, Linking and grants."""

from .. import conventions as c
from .. import identity as i
from .. import linking as l
from .identity import ANN, EVE, LAPTOP, LIST_1, LIST_2, NOW_MS, PHONE
from .making import File, fixed

URL, NAME = b"wss://relay.example", "Ann".encode()
SERVER = fixed("server")


def files():
    return [linking_offer(), linking(), grant(), key_grant()]


def mailbox(of):
    return fixed(f"inbox of {of}") + fixed(f"token of {of}")


def linking_offer():
    file = File("linking-offer", "ID-70 ID-71", "Written from its parts, or read; dates and relay are looked at only with now_ms.")
    secret, new = fixed("linking secret of new"), mailbox("new")
    made = {"secret": secret, "mailbox": new, "server": SERVER, "begun_ms": NOW_MS}
    text = file.accepted("made", "what a new device shows", **made, relay_url=URL)["text"]
    longest = file.accepted("longest", "the longest address of a relay", "boundary", **made, relay_url=b"w" * 512)["text"]
    file.accepted("read", "the text of `made`", text=text)
    file.accepted("read-upper-case", "the same, as a QR code likes it", text=text.upper())
    file.accepted("read-with-white-space", "the same with white space around", text=f" {text}\n")
    last = NOW_MS + l.LINKING_MS
    file.accepted("last-instant", "at the last moment, at its relay", "boundary", text=text, now_ms=last, server=SERVER)

    def written(key=c.x25519_public(secret), url=URL, version=1, more=b""):
        payload = l.offer_payload(key, new, SERVER, last, url) + more
        payload = bytes([version]) + payload[1:]
        return l.PREFIX + i.base32_encode(payload + c.H("linking offer", [payload])[:4])

    bad = file.refused
    bad("too-late", "expired", "a millisecond later", "boundary", text=text, now_ms=last + 1, server=SERVER)
    bad("another-relay", "another-relay", "a device that is connected elsewhere", text=text, now_ms=NOW_MS, server=fixed("another server"))
    bad("empty", "no-offer", "nothing", text="")
    bad("an-invitation", "no-offer", "the beginning of an invitation", text=text.replace(l.PREFIX, "undertone1"))
    bad("one-character-too-many", "no-offer", "longer than an offer can be", "boundary", text=longest + "a" * (1063 - len(longest)))
    bad("a-1-inside", "alphabet", "a character that base32 does not have", text=text[:-1] + "1")
    bad("a-space-inside", "alphabet", "white space in the middle", text=text[:40] + " " + text[40:])
    bad("beginning-alone", "checksum", "no payload and no checksum", text=l.PREFIX)
    bad("mistyped", "checksum", "one character is another", text=text[:50] + ("a" if text[50] != "a" else "b") + text[51:])
    bad("cut", "alphabet", "the last eight characters are missing, and bits are left over", text=text[:-8])
    for version in (0, 2, 255):
        bad(f"version-{version}", "version", f"version {version}", text=written(version=version))
    bad("trailing-byte", "malformed", "a byte behind the address", text=written(more=b"\0"))
    bad("key-of-low-order", "low-order", "a key with which everybody agrees on zeros", text=written(key=bytes(32)))
    bad("key-not-canonical", "non-canonical", "2^255 - 19 + 9 for 9", text=written(key=(2**255 - 10).to_bytes(32, "little")))
    bad("no-relay", "bad-relay-url", "an empty address", text=written(url=b""))
    bad("relay-with-a-space", "bad-relay-url", "a space in the address", text=written(url=b"wss://relay example"))
    return file


def granted(credential=None, list_=LIST_2, name=NAME, url=URL, version=1, more=b""):
    credential = credential or b"\1" + ANN.certificate + LAPTOP
    return bytes([version]) + credential + list_ + c.vec(name) + c.vec(url) + more


def linking():
    file = File("linking", "ID-70 ID-71 ID-72 ID-73 ID-74 ID-75 ID-76 ID-77 ID-78", "All that two devices send, from what both draw.")
    for who, relay_url in (("one", URL), ("two", b"ws://127.0.0.1:8787/v1/ws")):
        drawn = {
            "secret_of_new": fixed(f"linking secret of new, {who}"),
            "signing_seed": fixed("signing key of laptop of Ann"),
            "dh_secret": fixed("DH key of laptop of Ann"),
            "mailbox_of_new": mailbox(f"new, {who}"),
            "secret_of_old": fixed(f"linking secret of old, {who}"),
            "kem_d": fixed(f"linking KEM of old, {who}"),
            "nonce_of_old": fixed(f"linking nonce of old, {who}"),
            "mailbox_of_old": mailbox(f"old, {who}"),
            "kem_randomness": fixed(f"linking KEM randomness of new, {who}"),
            "nonce_of_new": fixed(f"linking nonce of new, {who}"),
        }
        file.accepted(who, "a whole linking, and what either side would send to end it", **drawn, server=SERVER, relay_url=relay_url, begun_ms=NOW_MS, grant=granted())
    return file


def grant():
    file = File("grant", "ID-67", "What a new device is handed. Whether it fits the device is not looked at here.")
    sound = granted()
    file.accepted("read", "a laptop becomes one of Ann's", grant=sound)
    file.accepted("longest-address", "the longest address and name", "boundary", grant=granted(name=b"n" * 64, url=b"w" * 512))
    file.accepted("a-list-without-the-device", "that is for the device to refuse", grant=granted(list_=LIST_1))
    file.bad_encodings(("grant", sound), len_max=4981, versions_at=(0, 1, 2))
    file.refused("many-capabilities", "bound", "33 capabilities", "boundary", grant=granted(b"\1" + ANN.certificate + ANN.device("laptop", capabilities=list(range(1, 34)))))
    file.refused("list-of-nobody", "bound", "a list without a device", grant=granted(list_=ANN.list(1, i.NO_LIST, [])))
    file.refused("list-version-0", "bound", "list version 0", grant=granted(list_=ANN.list(0, i.NO_LIST, [PHONE])))
    file.refused("no-name", "name-blank", "an empty name", grant=granted(name=b""))
    file.refused("no-relay", "bad-relay-url", "an empty address", grant=granted(url=b""))
    return file


def key_grant():
    file = File("key-grant", "ID-79", "The account key on its way to a primary device, and whose it is.")
    for who in (ANN, EVE):
        file.accepted(who.name.lower(), f"the account key of {who.name}", key_grant=b"\1" + who.seed)
    sound = b"\1" + ANN.seed
    file.bad_encodings(("key_grant", sound), len_max=33)
    return file
