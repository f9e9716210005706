"""spec/dm: prekeys, the handshake, the ratchet with its header keys, and the post-quantum ratchet beside it."""

import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from . import conventions as c
from . import identity, mlkem
from .conventions import H, Refused, require, u8, u16, u32, u64, vec
from .vectors import Fault, subject

DAY_MS = identity.DAY_MS
MESSAGE_LEN_MAX = 65_536
CHUNK_LEN_MIN, CHUNK_LEN_MAX = 32, 1_184


def HKDF(salt, ikm, label, fields, count):
    return c.hkdf(salt, ikm, label, fields, count)


def Extract(salt, label, fields):
    return hmac.digest(salt, c.transcript(label, fields), "sha256")


def Expand(key, label, fields, count):
    okm = HKDFExpand(algorithm=hashes.SHA256(), length=32 * count, info=c.transcript(label, fields)).derive(key)
    return [okm[32 * n : 32 * n + 32] for n in range(count)]


def agree(secret, public):
    """DM-12: whatever is wrong with a key of the peer has one code in this chapter."""
    try:
        return c.x25519(secret, public)
    except Refused:
        raise Refused("weak-key") from None


# Prekeys

SIGNED, LAST_RESORT, PAIR = 1, 2, 3


def terms(kind, number, not_before_ms, not_after_ms):
    return u8(kind) + u64(number) + u64(not_before_ms) + u64(not_after_ms) + u8(0 if kind == PAIR else 1)


def prekey_signed(device_id, terms_and_keys):
    return [u8(1), device_id, terms_and_keys]


def sign_prekey(seed, device_id, terms_and_keys):
    return terms_and_keys + c.sign(seed, "prekey", prekey_signed(device_id, terms_and_keys))


def read_prekey(reader, keys_len):
    start = reader.at
    kind, number, not_before_ms, not_after_ms = reader.u8(), reader.u64(), reader.u64(), reader.u64()
    last_resort = reader.u8()
    require(kind in (1, 2, 3) and last_resort in (0, 1), "malformed")
    keys = reader.take(keys_len)
    prekey = {"kind": kind, "id": number, "not_before_ms": not_before_ms, "not_after_ms": not_after_ms}
    signed = reader.data[start : reader.at]
    return {**prekey, "last_resort": last_resort, "keys": keys, "signed": signed, "signature": reader.take(64)}


def read_body(reader):
    reader.version()
    return read_prekey(reader, 32), read_prekey(reader, 1184)


def read_item(reader):
    reader.version()
    return read_prekey(reader, 32 + 1184)


def exactly(data, length, read):
    """A structure of one length: a version, and another length is malformed (DM-05)."""
    c.Reader(data).version()
    require(len(data) == length, "malformed")
    return c.decode(data, length, read)


def verify_prekey(prekey, kind, device, now_ms, is_used=True):
    """DM-02, DM-03, DM-04, DM-06; the signature of a prekey that is not used need not be looked at."""
    device_id, signing_key = device
    if is_used:
        c.verify(signing_key, "prekey", prekey_signed(device_id, prekey["signed"]), prekey["signature"])
    require(prekey["kind"] == kind and prekey["last_resort"] == (0 if kind == PAIR else 1), "wrong-kind")
    require(prekey["not_before_ms"] <= now_ms + DAY_MS, "not-yet-valid")
    require(now_ms <= prekey["not_after_ms"], "expired")


def verify_bundle(body, item, device, now_ms):
    """The prekeys that an initiator uses: the signed one, and the pair or the one of last resort (DM-11)."""
    signed, last_resort = exactly(body, 1397, read_body)
    pair = exactly(item, 1307, read_item) if item is not None else None
    verify_prekey(signed, SIGNED, device, now_ms)
    verify_prekey(last_resort, LAST_RESORT, device, now_ms, is_used=pair is None)
    require(signed["id"] == last_resort["id"], "wrong-kind")
    if pair:
        verify_prekey(pair, PAIR, device, now_ms)
    return signed, None if pair else last_resort, pair


class Person:
    """A device, its account, and both certificates, as a client makes them of its own randomness."""

    def __init__(self, inputs):
        self.account_seed, self.signing_seed = inputs.bytes("account_seed", 32), inputs.bytes("signing_seed", 32)
        self.dh_secret = inputs.bytes("dh_secret", 32)
        account_key, created_ms = c.ed25519_public(self.account_seed), inputs.int("created_ms")
        signed = identity.account_signed(account_key, created_ms, inputs.bytes("account_nonce", 16))
        self.account_certificate = signed + c.sign(self.account_seed, "account certificate", [signed])
        self.account_id = H("account id", [self.account_certificate])
        # ID-17 and ID-64: valid from a day before; direct conversations, groups, primary.
        signed = identity.device_signed(
            self.account_id, c.ed25519_public(self.signing_seed), c.x25519_public(self.dh_secret),
            created_ms - DAY_MS, inputs.int("not_after_ms"), [1, 2, 3],
        )  # fmt: skip
        self.certificate = signed + c.sign(self.account_seed, "device certificate", [signed])
        self.device_id = H("device id", [self.certificate])
        inputs.end()

    def device(self):
        return self.device_id, c.ed25519_public(self.signing_seed)


class Prekeys:
    """What a device publishes: a signed prekey, a KEM prekey of last resort, a one-time pair (DM-06)."""

    def __init__(self, person, inputs):
        made_ms, self.signed_id, self.pair_id = inputs.int("made_ms"), inputs.int("signed_id"), inputs.int("pair_id")
        self.dh_secret, self.pair_dh_secret = inputs.bytes("dh_secret", 32), inputs.bytes("pair_dh_secret", 32)
        self.kem_seed = inputs.bytes("kem_d", 32) + inputs.bytes("kem_z", 32)
        self.pair_kem_seed = inputs.bytes("pair_kem_d", 32) + inputs.bytes("pair_kem_z", 32)
        inputs.end()
        last = made_ms + 30 * DAY_MS
        self.signed = terms(SIGNED, self.signed_id, made_ms, last) + c.x25519_public(self.dh_secret)
        self.last_resort = terms(LAST_RESORT, self.signed_id, made_ms, last) + mlkem.keygen(self.kem_seed)[0]
        keys = c.x25519_public(self.pair_dh_secret) + mlkem.keygen(self.pair_kem_seed)[0]
        self.pair = terms(PAIR, self.pair_id, made_ms, made_ms + 90 * DAY_MS) + keys
        both = [sign_prekey(person.signing_seed, person.device_id, prekey) for prekey in (self.signed, self.last_resort)]
        self.body = u8(1) + b"".join(both)
        self.item = u8(1) + sign_prekey(person.signing_seed, person.device_id, self.pair)


@subject("prekeys")
def prekeys(inputs):
    if "person" in inputs:
        person = Person(inputs.object("person"))
        made = Prekeys(person, inputs.object("prekeys"))
        signed = [made.signed, made.last_resort, made.pair]
        return {
            "account_id": person.account_id,
            "device_id": person.device_id,
            "signed": [c.transcript("prekey", prekey_signed(person.device_id, prekey)) for prekey in signed],
            "body": made.body,
            "item": made.item,
        }
    account = identity.decode_account(inputs.bytes("account_certificate"))
    account_id = identity.verify_account(account)
    device = identity.decode_device(inputs.bytes("device_certificate"))
    now_ms = inputs.int("now_ms")
    device_id = identity.verify_device(account, account_id, device, now_ms)
    item = inputs.bytes("item") if "item" in inputs else None
    body = inputs.bytes("body")
    verify_bundle(body, item, (device_id, device["signing_key"]), now_ms)
    return {"weak_start": item is None, "encoded": body}  # not all of it was verified


# The handshake


def session_id(chunk_len, initiator, responder, signed, last_resort, pair, ephemeral, ciphertext):
    """DM-14; both sides as (account id, device id)."""
    fields = [u8(1), u16(chunk_len), *initiator, *responder, signed, last_resort, pair, ephemeral, ciphertext]
    return fields, H("direct transcript", fields)


def handshake_keys(secrets, session):
    """DM-13: root, header, next header, pq."""
    return HKDF(bytes(32), b"".join(secrets), "direct handshake", [session], 4)


def encode_handshake(chunk_len, signed_id, pair_id, ephemeral, ciphertext):
    one_time = u8(0) if pair_id is None else u8(1) + u64(pair_id)
    return u8(1) + u16(chunk_len) + u64(signed_id) + one_time + ephemeral + ciphertext


def read_handshake(reader):
    reader.version()
    chunk_len = reader.u16()
    fields = {"chunk_len": chunk_len, "signed_id": reader.u64(), "pair_id": reader.option(c.Reader.u64)}
    return {**fields, "ephemeral": reader.take(32), "ciphertext": reader.take(1088)}


def decode_handshake(data):
    """DM-10."""
    c.Reader(data).version()
    require(len(data) <= 1140, "malformed")
    handshake = c.decode(data, 1140, read_handshake)
    require(CHUNK_LEN_MIN <= handshake["chunk_len"] <= CHUNK_LEN_MAX, "malformed")
    return handshake


@subject("handshake-message")
def handshake_message(inputs):
    handshake = decode_handshake(inputs.bytes("handshake"))
    return {"weak_start": handshake["pair_id"] is None, "encoded": inputs.bytes("handshake")}


@subject("handshake")
def handshake(inputs):
    """Every secret, as both sides agree on it, and what follows from them."""
    chunk_len = inputs.int("chunk_len", CHUNK_LEN_MAX)
    initiator = inputs.bytes("initiator_account_id", 32), inputs.bytes("initiator_device_id", 32)
    responder = inputs.bytes("responder_account_id", 32), inputs.bytes("responder_device_id", 32)
    ours, ephemeral = inputs.bytes("initiator_dh_secret", 32), inputs.bytes("ephemeral_secret", 32)
    theirs, signed = inputs.bytes("responder_dh_secret", 32), inputs.bytes("signed_secret", 32)
    public = c.x25519_public
    pairs = [(ours, signed), (ephemeral, theirs), (ephemeral, signed)]
    signed_field = inputs.bytes("signed_terms", 26) + public(signed)
    ek, dk = mlkem.keygen(inputs.bytes("kem_d", 32) + inputs.bytes("kem_z", 32))
    last_resort, pair = b"", b""
    if "pair_secret" in inputs:
        one_time = inputs.bytes("pair_secret", 32)
        pairs.append((ephemeral, one_time))
        pair = inputs.bytes("kem_terms", 26) + public(one_time) + ek
    else:
        last_resort = inputs.bytes("kem_terms", 26) + ek
    secrets = [agree(one, public(other)) for one, other in pairs]
    assert secrets == [agree(other, public(one)) for one, other in pairs]
    shared, ciphertext = mlkem.encapsulate(ek, inputs.bytes("kem_randomness", 32))
    assert mlkem.decapsulate(dk, ciphertext) == shared
    fields, session = session_id(
        chunk_len, initiator, responder, signed_field, last_resort, pair, public(ephemeral), ciphertext
    )
    root, header, next_header, pq = handshake_keys([*secrets, shared], session)
    return {
        "dh": secrets,
        "ephemeral": public(ephemeral),
        "ciphertext": ciphertext,
        "shared": shared,
        "transcript": c.transcript("direct transcript", fields),
        "session_id": session,
        "root_key": root,
        "header_key": header,
        "next_header_key": next_header,
        "pq_key": pq,
        "replay": H("direct replay", [public(ephemeral)]),
    }


# Steps of the ratchet


def root_step(root, secret, public):
    """DM-22: the next root, a chain, and the header key of the chain behind that one."""
    return HKDF(root, agree(secret, public), "direct root", [], 3)


def chain_step(chain):
    """DM-23: the next chain key, and a seed."""
    return Expand(chain, "direct chain", [], 2)


def message_key(seed, pq_key, pq_epoch, random):
    """DM-24."""
    return Extract(pq_key, "direct message", [seed, random, u32(pq_epoch)])


def pq_step(pq_key, session, epoch, shared, ek, ciphertext):
    """DM-98: the key of `epoch`, from that of the one before, and the confirmation."""
    return HKDF(pq_key, shared, "direct pq", [session, u32(epoch), ek, ciphertext], 2)


@subject("root-step")
def root_step_subject(inputs):
    secret, public = inputs.bytes("ours_secret", 32), inputs.bytes("theirs", 32)
    root, chain, header = root_step(inputs.bytes("root_key", 32), secret, public)
    return {"root_key": root, "chain_key": chain, "header_key": header}


@subject("chain-step")
def chain_step_subject(inputs):
    chain, seed = chain_step(inputs.bytes("chain_key", 32))
    return {"chain_key": chain, "seed": seed}


@subject("message-key")
def message_key_subject(inputs):
    place = inputs.bytes("pq_key", 32), inputs.int("pq_epoch", 2**32 - 1), inputs.bytes("random", 16)
    return {"message_key": message_key(inputs.bytes("seed", 32), *place)}


@subject("pq-step")
def pq_step_subject(inputs):
    ek, dk = mlkem.keygen(inputs.bytes("kem_seed", 64))
    shared, ciphertext = mlkem.encapsulate(ek, inputs.bytes("kem_randomness", 32))
    assert mlkem.decapsulate(dk, ciphertext) == shared
    place = inputs.bytes("pq_key", 32), inputs.bytes("session_id", 32), inputs.int("epoch", 2**32 - 1)
    key, confirmation = pq_step(*place, shared, ek, ciphertext)
    z_too = mlkem.decapsulate(dk, bytes([ciphertext[0] ^ 1]) + ciphertext[1:])
    return {
        "encapsulation_key": ek,
        "shared": shared,
        "shared_of_another_ciphertext": z_too,
        "pq_key": key,
        "answer": ciphertext + confirmation,
    }


# Chunks


def gf_times(a, b):
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11D << bit - 8
    return product


def gf_inverse(a):
    """a^254."""
    inverse = 1
    for _ in range(254):
        inverse = gf_times(inverse, a)
    return inverse


GF_INVERSE = {a: gf_inverse(a) for a in range(1, 256)}


def interpolate(points, x):
    """The value at x of the polynomial of lowest degree through the points, each (x, bytes), byte by byte."""
    length = len(points[0][1])
    total = bytearray(length)
    for i, (xi, yi) in enumerate(points):
        weight = 1
        for j, (xj, _) in enumerate(points):
            if j != i:
                weight = gf_times(weight, gf_times(x ^ xj, GF_INVERSE[xi ^ xj]))
        if weight:
            row = [gf_times(weight, value) for value in range(256)]
            for at in range(length):
                total[at] ^= row[yi[at]]
    return bytes(total)


def chunks_needed(value_len, chunk_len):
    return -(-value_len // chunk_len)


def cut(value, chunk_len, index):
    """DM-90."""
    k = chunks_needed(len(value), chunk_len)
    padded = value.ljust(k * chunk_len, b"\0")
    data = [padded[at * chunk_len : at * chunk_len + chunk_len] for at in range(k)]
    return data[index] if index < k else interpolate(list(enumerate(data)), index)


def join(chunks, value_len, chunk_len):
    """DM-92: `chunks` are as many as are needed, each (index, bytes)."""
    k = chunks_needed(value_len, chunk_len)
    assert len(chunks) == k
    return b"".join(dict(chunks).get(at) or interpolate(chunks, at) for at in range(k))[:value_len]


def chunk_len_of(inputs):
    chunk_len = inputs.int("chunk_len", 0xFFFF)
    require(CHUNK_LEN_MIN <= chunk_len <= CHUNK_LEN_MAX, "malformed")
    return chunk_len


@subject("chunks")
def chunks_subject(inputs):
    """Cuts a value, or brings it back from the first that are enough; a contradiction is refused (DM-99)."""
    chunk_len = chunk_len_of(inputs)
    if "value" in inputs:
        value, index = inputs.bytes("value"), inputs.int("index", 254)
        k = chunks_needed(len(value), chunk_len)
        return {"pieces": [cut(value, chunk_len, at) for at in range(k)], "chunk": cut(value, chunk_len, index)}
    value_len, have = inputs.int("value_len", 1184), {}
    for chunk in inputs.objects("chunks"):
        index, data = chunk.int("index", 254), chunk.bytes("chunk", chunk_len)
        chunk.end()
        require(have.get(index, data) == data, "pq-mismatch")
        have[index] = data
        if len(have) == chunks_needed(value_len, chunk_len):
            return {"value": join(list(have.items()), value_len, chunk_len)}
    raise Fault("are too few", field="inputs.chunks")


# Sessions


class PqRatchet:
    """The state diagram of the chapter, one side of it."""

    def __init__(self, session, is_initiator, chunk_len, key):
        self.session, self.is_initiator, self.chunk_len = session, is_initiator, chunk_len
        self.epoch, self.keys, self.since_heal = 0, {0: key}, 0
        self.begin_epoch()

    def begin_epoch(self):
        """DM-94, DM-101."""
        self.have, self.next_index, self.value, self.next_key = {}, 0, None, None
        self.offers = (self.epoch % 2 == 0) == self.is_initiator
        self.state = "due" if self.offers else "collecting"
        self.keys = {epoch: key for epoch, key in self.keys.items() if epoch > self.epoch - 8}

    def enter(self, key):
        self.epoch += 1
        self.keys[self.epoch] = key
        self.since_heal = 0
        self.begin_epoch()

    def send(self, draw):
        """The index and chunk of the next message (DM-91, DM-93, DM-95); `draw(name, length)` is asked where some is needed."""
        if self.state == "due":
            self.value, self.dk = mlkem.keygen(draw("offer_d", 32) + draw("offer_z", 32))
            self.state = "offering"
        elif self.state == "offered":
            shared, ciphertext = mlkem.encapsulate(self.offer, draw("answer_randomness", 32))
            place = self.keys[self.epoch], self.session, self.epoch + 1
            self.next_key, confirmation = pq_step(*place, shared, self.offer, ciphertext)
            self.value, self.state = ciphertext + confirmation, "answering"
        self.since_heal += 1
        if self.state == "answering" or (self.state == "offering" and not self.have):
            index, self.next_index = self.next_index, (self.next_index + 1) % 255
            return index, cut(self.value, self.chunk_len, index)
        return 255, bytes(self.chunk_len)

    def key_of(self, epoch):
        """DM-26, DM-100."""
        if self.state == "answering" and epoch == self.epoch + 1:
            return self.next_key
        require(epoch in self.keys, "unknown-pq-epoch")
        return self.keys[epoch]

    def receive(self, epoch, index, chunk):
        """What a message does whose payload has opened: a function that does it, once nothing can be refused any more."""
        if self.state == "answering" and epoch == self.epoch + 1:
            return lambda: self.enter(self.next_key)
        if index == 255 or epoch != self.epoch or self.state not in ("offering", "collecting"):
            return lambda: None
        require(self.have.get(index, chunk) == chunk, "pq-mismatch")
        have = {**self.have, index: chunk}
        value_len = 1184 if self.state == "collecting" else 1120
        if len(have) < chunks_needed(value_len, self.chunk_len):
            return lambda: self.have.update(have)
        value = join(list(have.items()), value_len, self.chunk_len)
        if self.state == "collecting":
            require(mlkem.ek_is_valid(value), "weak-key")

            def take_offer():
                self.offer, self.state = value, "offered"

            return take_offer
        ciphertext, confirmation = value[:1088], value[1088:]
        shared = mlkem.decapsulate(self.dk, ciphertext)
        place = self.keys[self.epoch], self.session, self.epoch + 1
        key, expected = pq_step(*place, shared, self.value, ciphertext)
        require(confirmation == expected, "pq-mismatch")
        return lambda: self.enter(key)


class Chain:
    """A receiving chain: its header key, and what of it is not used yet."""

    def __init__(self, header_key, chain_key, theirs):
        self.header_key, self.key, self.theirs = header_key, chain_key, theirs
        self.count, self.skipped = 0, {}

    def seeds_until(self, n):
        """The chain key behind message n, and the seeds of all from the next one to n (DM-32)."""
        require(n - self.count <= 2000, "jump-too-large")
        key, seeds = self.key, {}
        for at in range(self.count, n + 1):
            key, seeds[at] = chain_step(key)
        return key, seeds


class Session:
    """One side of a session (DM-20 to DM-37). Bounds on stored seeds are not modelled: no vector reaches them."""

    def __init__(self, session, keys, is_initiator, chunk_len, signed):
        root, header, next_header, pq = keys
        self.session, self.root = session, root
        self.pq = PqRatchet(session, is_initiator, chunk_len, pq)
        self.receiving, self.old, self.sent_count, self.previous_count = None, [], 0, 0
        if is_initiator:
            self.sending_chain, self.theirs = None, signed
            self.header_key, self.next_header_key, self.their_next_header_key = header, None, next_header
            self.secret = None
        else:
            self.sending_chain, self.theirs, self.secret = None, None, signed
            self.header_key, self.next_header_key, self.their_next_header_key = None, next_header, header

    def seal(self, ad, plaintext, draw):
        if self.sending_chain is None:
            assert self.theirs is not None, "the responder has not received the first message"
            self.secret = draw("ratchet_secret", 32)
            self.root, self.sending_chain, self.next_header_key = root_step(self.root, self.secret, self.theirs)
            self.previous_count, self.sent_count = self.sent_count, 0
        random = draw("random", 16)
        self.sending_chain, seed = chain_step(self.sending_chain)
        epoch = self.pq.epoch
        place = c.x25519_public(self.secret), self.sent_count, self.previous_count, epoch
        self.sent_count += 1
        key = message_key(seed, self.pq.key_of(epoch), epoch, random)
        index, chunk = self.pq.send(draw)
        return seal_message(self.header_key, key, random, place, ad, plaintext, index, chunk)["message"]

    def open(self, ad, message):
        chunk_len = self.pq.chunk_len
        require(76 + 16 + 33 <= len(message) <= MESSAGE_LEN_MAX, "malformed")
        for chain in (self.receiving, "next", *self.old):
            header_key = self.their_next_header_key if chain == "next" else chain and chain.header_key
            header = header_key and open_header(header_key, message)
            if header:
                break
        else:
            raise Refused("does-not-open")
        key, n, pn, epoch = header
        commit, seed = self.find_seed(chain, key, n, pn)
        random = message[:16]
        payload_key = message_key(seed, self.pq.key_of(epoch), epoch, random)
        opened = c.open_(payload_key, bytes(12), payload_aad(message[:76], ad), message[76:])
        require(len(opened) >= 1 + chunk_len, "malformed")
        plaintext, index, chunk = opened[: -1 - chunk_len], opened[-1 - chunk_len], opened[-chunk_len:]
        pq_commit = self.pq.receive(epoch, index, chunk)
        self.pq.since_heal += 1
        pq_commit()  # a new epoch begins with 0
        commit()
        return plaintext

    def find_seed(self, chain, key, n, pn):
        if chain != "next" and (chain is not self.receiving or n < chain.count):
            require(n in chain.skipped, "replay")
            return lambda: chain.skipped.pop(n), chain.skipped[n]
        require(n < 2**20 and pn <= 2**20, "counter-out-of-range")
        if chain == "next":
            require(self.is_waiting_for_answer(), "state-forked")
            received = self.receiving.count if self.receiving else 0
            require(pn >= received if self.receiving else pn == 0, "counter-out-of-range")
            require(pn - received <= 2000 and n <= 2000, "jump-too-large")
            root, chain_key, their_next = root_step(self.root, self.secret, key)
            new = Chain(self.their_next_header_key, chain_key, key)
            closed = self.receiving
            closed_seeds = closed.seeds_until(pn - 1)[1] if closed and pn > received else {}
            new_key, seeds = new.seeds_until(n)

            def commit():
                if closed:
                    closed.skipped.update(closed_seeds)
                    self.old = [old for old in [closed, *self.old] if old.skipped][:5]
                new.key, new.count = new_key, n + 1
                new.skipped.update({at: seed for at, seed in seeds.items() if at != n})
                self.receiving, self.root, self.their_next_header_key = new, root, their_next
                # The next message that is sent makes a root step, under the header key announced by the last one.
                self.header_key, self.theirs, self.sending_chain = self.next_header_key, key, None

            return commit, seeds[n]
        require(key == chain.theirs, "counter-out-of-range")
        new_key, seeds = chain.seeds_until(n)

        def commit():
            chain.key, chain.count = new_key, n + 1
            chain.skipped.update({at: seed for at, seed in seeds.items() if at != n})

        return commit, seeds[n]

    def is_waiting_for_answer(self):
        """Whether a ratchet key of ours is out that nobody has answered: the signed prekey, or that of a sending chain (DM-36)."""
        return self.sending_chain is not None or self.receiving is None and self.secret is not None


def open_header(header_key, message):
    """DM-21."""
    try:
        header = c.open_(header_key, message[:12], message[:16], message[16:76])
    except Refused:
        return None
    reader = c.Reader(header)
    return reader.take(32), reader.u32(), reader.u32(), reader.u32()


def payload_aad(prefix, ad):
    """DM-25."""
    return c.transcript("direct aad", [u8(1), prefix, ad])


def seal_message(header_key, key, random, place, ad, plaintext, index, chunk):
    """DM-20, DM-21, DM-25: `place` is ratchet key, n, pn, pq epoch."""
    ratchet_key, n, pn, epoch = place
    header = ratchet_key + u32(n) + u32(pn) + u32(epoch)
    prefix = random + c.seal(header_key, random[:12], random, header)
    aad = payload_aad(prefix, ad)
    payload = plaintext + u8(index) + chunk
    message = prefix + c.seal(key, bytes(12), aad, payload)
    require(len(message) <= MESSAGE_LEN_MAX, "too-long")
    return {"header": header, "aad": aad, "message": message}


@subject("ratchet-message")
def ratchet_message(inputs):
    """One message under given keys."""
    header_key, key = inputs.bytes("header_key", 32), inputs.bytes("message_key", 32)
    ad = inputs.bytes("ad")
    if "message" in inputs:
        chunk_len, message = chunk_len_of(inputs), inputs.bytes("message")
        require(76 + 16 + 33 <= len(message) <= MESSAGE_LEN_MAX, "malformed")
        header = open_header(header_key, message)
        require(header is not None, "does-not-open")
        opened = c.open_(key, bytes(12), payload_aad(message[:76], ad), message[76:])
        require(len(opened) >= 1 + chunk_len, "malformed")
        plaintext, index, chunk = opened[: -1 - chunk_len], opened[-1 - chunk_len], opened[-chunk_len:]
        names = ("ratchet_key", "n", "pn", "pq_epoch")
        return {**dict(zip(names, header)), "plaintext": plaintext, "chunk_index": index, "chunk": chunk}
    place = inputs.bytes("ratchet_key", 32), *(inputs.int(name, 2**32 - 1) for name in ("n", "pn", "pq_epoch"))
    text = inputs.bytes("plaintext"), inputs.int("chunk_index", 255), inputs.bytes("chunk")
    return seal_message(header_key, key, inputs.bytes("random", 16), place, ad, *text)


class Device:
    """One side of a conversation: what it sealed or received, and its session if it has one."""

    def __init__(self, person, prekeys=None):
        self.person, self.prekeys, self.session = person, prekeys, None
        self.seen = set()

    def initiate(self, peer, chunk_len, with_pair, ad, plaintext, now_ms, draw):
        item = peer.prekeys.item if with_pair else None
        signed, last_resort, pair = verify_bundle(peer.prekeys.body, item, peer.person.device(), now_ms)
        require(self.person.device_id != peer.person.device_id, "own-device")
        ephemeral, spk = draw("ephemeral_secret", 32), signed["keys"]
        theirs = c.x25519_public(peer.person.dh_secret)
        secrets = [agree(self.person.dh_secret, spk), agree(ephemeral, theirs), agree(ephemeral, spk)]
        if pair:
            secrets.append(agree(ephemeral, pair["keys"][:32]))
        ek = (pair or last_resort)["keys"][-1184:]
        require(mlkem.ek_is_valid(ek), "weak-key")
        shared, ciphertext = mlkem.encapsulate(ek, draw("kem_randomness", 32))
        ephemeral = c.x25519_public(ephemeral)
        prekey_fields = signed["signed"], last_resort["signed"] if last_resort else b"", pair["signed"] if pair else b""
        us, them = (self.person.account_id, self.person.device_id), (peer.person.account_id, peer.person.device_id)
        _, session = session_id(chunk_len, us, them, *prekey_fields, ephemeral, ciphertext)
        self.session = Session(session, handshake_keys([*secrets, shared], session), True, chunk_len, spk)
        head = encode_handshake(chunk_len, signed["id"], pair["id"] if pair else None, ephemeral, ciphertext)
        message = self.session.seal(ad, plaintext, draw)
        return u8(1) + vec(head) + vec(message)

    def accept(self, peer, first, ad):
        """DM-15 to DM-17."""
        reader = c.Reader(first)
        reader.version()
        head, message = reader.vec(), reader.vec()
        reader.end()
        head = decode_handshake(head)
        require(125 <= len(message) <= MESSAGE_LEN_MAX, "malformed")
        require(self.person.device_id != peer.person.device_id, "own-device")
        replay = head["signed_id"], H("direct replay", [head["ephemeral"]])
        require(replay not in self.seen, "replay")
        pre, ephemeral = self.prekeys, head["ephemeral"]
        require(pre and head["signed_id"] == pre.signed_id, "unknown-prekey")
        require(head["pair_id"] in (None, pre.pair_id) and not (head["pair_id"] and pre.pair_is_used), "unknown-prekey")
        theirs = c.x25519_public(peer.person.dh_secret)
        secrets = [agree(pre.dh_secret, theirs), agree(self.person.dh_secret, ephemeral), agree(pre.dh_secret, ephemeral)]
        last_resort, pair, kem_seed = pre.last_resort, b"", pre.kem_seed
        if head["pair_id"]:
            secrets.append(agree(pre.pair_dh_secret, ephemeral))
            last_resort, pair, kem_seed = b"", pre.pair, pre.pair_kem_seed
        shared = mlkem.decapsulate(mlkem.keygen(kem_seed)[1], head["ciphertext"])
        us, them = (self.person.account_id, self.person.device_id), (peer.person.account_id, peer.person.device_id)
        _, session = session_id(head["chunk_len"], them, us, pre.signed, last_resort, pair, ephemeral, head["ciphertext"])
        keys = handshake_keys([*secrets, shared], session)
        candidate = Session(session, keys, False, head["chunk_len"], pre.dh_secret)
        plaintext = candidate.open(ad, message)
        self.session = candidate
        self.seen.add(replay)
        pre.pair_is_used = pre.pair_is_used or bool(head["pair_id"])
        return plaintext


Prekeys.pair_is_used = False


@subject("conversation")
def conversation(inputs):
    """Two devices: the first message, then events of sealing and opening, in any order. One that is refused ends it."""
    people = [Person(inputs.object("initiator")), Person(inputs.object("responder"))]
    initiator = Device(people[0])
    responder = Device(people[1], Prekeys(people[1], inputs.object("prekeys")))
    sides = {"initiator": initiator, "responder": responder}
    chunk_len, with_pair, now_ms = inputs.int("chunk_len", 0xFFFF), inputs.bool("with_pair"), inputs.int("now_ms")
    messages, results, events = [], [], inputs.objects("events")
    for event in events:
        by, peer = event.text("by"), {"initiator": "responder", "responder": "initiator"}
        us, them, ad = sides[by], sides[peer[by]], event.bytes("ad")
        if "plaintext" in event:
            plaintext = event.bytes("plaintext")
            if messages:
                message = us.session.seal(ad, plaintext, event.bytes)
            else:
                assert by == "initiator"
                message = us.initiate(them, chunk_len, with_pair, ad, plaintext, now_ms, event.bytes)
            messages.append(message)
            done = {"message": message}
        else:
            message = messages[event.int("opens")] if "opens" in event else event.bytes("bytes")
            is_first = event.bool("is_first")
            try:
                done = {"plaintext": us.accept(them, message, ad) if is_first else us.session.open(ad, message)}
            except Refused as refused:
                if event is events[-1]:
                    raise
                raise Fault(f"an event before the last is refused: {refused.code}", field="inputs.events") from None
        event.end()
        results.append({**done, "pq_epoch": us.session.pq.epoch, "messages_since_pq_heal": us.session.pq.since_heal})
    return {
        "device_ids": [person.device_id for person in people],
        "body": responder.prekeys.body,
        "item": responder.prekeys.item,
        "session_id": initiator.session.session,
        "events": results,
    }
