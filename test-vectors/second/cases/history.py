"""A transfer log, its chunks, and the digest over what was given."""

from .. import conventions as c
from .. import history as h
from .. import log as l
from ..conventions import u8, u16, u64, vec
from .making import File, fixed, flip

SECRET = fixed("transfer secret")
CERTIFICATE = fixed("a certificate, of which only the length is looked at", 121)


def files():
    return [transfer_log(), history_digest(), history_chunk()]


def transfer_log():
    file = File("transfer-log", "HIST-02 ENV-01", "Everything that follows from a transfer secret. Nothing is refused here.")
    file.accepted("first-chunk", "the entry of chunk 0", transfer_secret=SECRET, number=0)
    file.accepted("second-chunk", "another entry, the same log", transfer_secret=SECRET, number=1)
    file.accepted("another-secret", "another log", transfer_secret=fixed("another transfer secret"), number=0)
    file.accepted("last-number", "the highest number", "boundary", transfer_secret=SECRET, number=2**53)
    return file


def history_digest():
    file = File("history-digest", "HIST-13", "The digest over the messages given, behind each of them. Nothing is refused here.")
    one, two = fixed("one message id"), fixed("another message id")
    log = h.log_id(SECRET)
    whole = file.accepted("two-messages", "newest first", log=log, seqs=[9, 7], message_ids=[one, two])
    other = file.accepted("other-order", "the same two: another digest", log=log, seqs=[7, 9], message_ids=[two, one])
    assert whole["digests"][1] != other["digests"][1]
    file.accepted("other-places", "the same ids at other places", log=log, seqs=[9, 8], message_ids=[one, two])
    file.accepted("one-message", "only the first of them", log=log, seqs=[9], message_ids=[one])
    return file


def history_log(name, read_through=3):
    return fixed(name) + u64(read_through)


def direct(*logs):
    return u8(1) + fixed("peer") + u64(1_000) + vec(b"".join(logs))


def group(name, *logs):
    return u8(2) + vec(name) + u64(2_000) + vec(b"".join(logs))


def message(log=2, sender=0, seq=7, sender_seq=1, dedup=fixed("dedup id", 16), sent_ms=1_000, reached=1, content=b"words"):
    numbers = u16(log) + u16(sender) + u64(seq) + u64(sender_seq)
    return numbers + dedup + u64(sent_ms) + u64(2_000) + u8(reached) + vec(content)


def chunk(version=1, walked=1, contacts=None, conversations=None, senders=None, messages=None, rest=u8(1)):
    contacts = [vec(CERTIFICATE) + vec(b"Bob")] if contacts is None else contacts
    conversations = [direct(history_log("one log"), history_log("older log")), group(b"tea", history_log("group"))] if conversations is None else conversations
    senders = [fixed("peer") + fixed("device")] if senders is None else senders
    messages = [message()] if messages is None else messages
    return u8(version) + u64(walked) + b"".join(vec(b"".join(each)) for each in (contacts, conversations, senders, messages)) + rest


def history_chunk():
    file = File("history-chunk", "HIST-07 HIST-08", "A chunk of history, sealed for its place in a transfer.")
    place, nonce = {"transfer_secret": SECRET, "number": 3}, fixed("chunk nonce", 24)
    made = file.accepted("one-of-everything", "a direct conversation with two logs, a group, a message", **place, chunk=chunk(), nonce=nonce)
    done = u8(2) + u64(1) + fixed("digest")
    last = file.accepted("the-last", "count and digest", **place, chunk=chunk(rest=done), nonce=nonce)
    file.accepted("nothing", "the giver has ended it", **place, chunk=chunk(contacts=[], conversations=[], senders=[], messages=[], rest=u8(3)), nonce=nonce)
    sealed = bytes.fromhex(made["payload"])
    file.accepted("opens", "the first payload", **place, payload=sealed)
    file.accepted("opens-the-last", "the second payload", **place, payload=bytes.fromhex(last["payload"]))

    def bad(id_, code, comment, payload=sealed, *flags, **changes):
        file.refused(id_, code, comment, *flags, **{**place, **changes, "payload": payload})

    bad("another-number", "does-not-open", "sealed for another number", number=2)
    bad("another-transfer", "does-not-open", "sealed for another transfer", transfer_secret=fixed("another transfer secret"))
    bad("bit-of-the-nonce", "does-not-open", "a bit of the nonce", flip(sealed, 0))
    bad("bit-of-the-ciphertext", "does-not-open", "a bit of the ciphertext", flip(sealed, 24))
    bad("bit-of-the-tag", "does-not-open", "the last bit", flip(sealed, -1))
    bad("cut-by-one-byte", "does-not-open", "the last byte is missing", sealed[:-1])
    key, aad = l.generation_key(SECRET, "outer key", h.log_id(SECRET), 0), bytes.fromhex(made["aad"])

    def inside(id_, code, comment, padded, *flags):
        bad(id_, code, comment, c.xseal(key, nonce, aad, padded), *flags)

    def packed(id_, code, comment, encoded, *flags):
        inside(id_, code, comment, l.pad(encoded), *flags)

    padded = bytes.fromhex(made["padded"])
    inside("padding-not-zero", "padding", "the last byte of the padding is 1", padded[:-1] + b"\1")
    inside("padded-by-one-more", "padding", "padded to no bucket", padded + b"\0")
    packed("empty", "malformed", "a chunk of no byte", b"")
    packed("cut", "malformed", "the chunk lacks its last byte", chunk()[:-1])
    packed("continued", "malformed", "a byte behind the chunk", chunk() + b"\0")
    packed("version-2", "version", "version 2", chunk(version=2))
    packed("rest-4", "kind", "what follows is of no kind", chunk(rest=u8(4)))
    packed("conversation-3", "kind", "a conversation of no kind", chunk(conversations=[u8(3) + direct(history_log("one log"))[1:]], messages=[]))
    packed("reached-3", "kind", "a state that there is not", chunk(messages=[message(reached=3)]))
    past = 2**53 + 1
    for id_, comment, changes in [
        ("log", "a log that is not there", {"log": 3}),
        ("sender", "a sender that is not there", {"sender": 1}),
        ("seq-0", "no place", {"seq": 0}),
        ("seq-past-2-53", "seq 2^53 + 1", {"seq": past}),
        ("sender-seq-0", "no number of an envelope", {"sender_seq": 0}),
        ("dedup-zero", "a dedup id of zeros", {"dedup": bytes(16)}),
        ("sent-at-0", "the instant 0", {"sent_ms": 0}),
        ("sent-in-10000", "the year 10000", {"sent_ms": h.YEAR_10000_MS}),
    ]:
        packed(id_, "bound", comment, chunk(messages=[message(**changes)]))
    for id_, comment, changes in [
        ("walked-past-2-53", "walked 2^53 + 1", {"walked": past}),
        ("count-past-2-53", "count 2^53 + 1", {"rest": u8(2) + u64(past) + bytes(32)}),
        ("certificate-short", "a certificate of 120 bytes", {"contacts": [vec(CERTIFICATE[:-1]) + vec(b"Bob")]}),
        ("name-outer-space", "a name that begins with a space", {"contacts": [vec(CERTIFICATE) + vec(b" Bob")]}),
        ("group-of-two-logs", "a group with two logs", {"conversations": [group(b"tea", *[history_log("one")] * 3)]}),
        ("group-name-long", "a name of 129 bytes", {"conversations": [direct(*[history_log("one")] * 2), group(b"t" * 129, history_log("group"))]}),
        ("no-log", "a conversation without a log", {"conversations": [direct()], "messages": []}),
        ("65-logs", "a conversation with 65 logs", {"conversations": [direct(*[history_log("one")] * 65)]}),
        ("read-past-2-53", "read through 2^53 + 1", {"conversations": [direct(*[history_log("one", past)] * 3)]}),
    ]:
        packed(id_, "bound", comment, chunk(**changes))
    return file
