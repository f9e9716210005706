//! The frames of the relay protocol (spec/relay, byte maps).
//!
//! ```text
//! client → relay   u8 version = 1 | u64 request | u8 kind | body
//! relay → client   u8 version = 1 | u8 kind | body
//! ```
//!
//! One frame is one binary WebSocket message. A client numbers its requests; each gets exactly one [`Reply`] with the
//! same number, in the order of the requests. Frames that the relay sends on its own have no number.

use std::fmt;

use crate::opaque::VLBytes;
use tls_codec::{DeserializeBytes, Serialize, TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::chain::Leaf;
use crate::gate::{Gate, Proof, connection_input, verify};
use crate::id::{
    ConnectionNonce, EntryId, Generation, Head, InboxToken, InboxTokenHash, Incarnation, LogId, PayloadHash, RequestId,
    Seq, ServerId, Signature, SlotId, TakeId, VerifyKey,
};
use crate::label;
use crate::limits::{
    APPEND_ENTRIES_MAX, APPEND_LEN_MAX, COUNTER_MAX, EPHEMERAL_LEN_MAX, FRAME_LEN_MAX, INBOX_TOKENS_MAX, ITEM_LEN_MAX,
    PAYLOAD_LEN_MAX, PROOFS_MAX, PUBLISH_ITEMS_MAX, READ_ENTRIES_MAX, SLOT_BODY_LEN_MAX,
};
use crate::refusal::Refusal;

/// The version of the relay protocol, the first byte of every frame.
pub const VERSION: u8 = 1;

/// A request of a client.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct ClientFrame {
    /// Pairs the reply with this request; drawn by the client, unique on the connection.
    pub request: RequestId,
    /// What is asked.
    pub body: Request,
}

/// What a client asks.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[non_exhaustive]
pub enum Request {
    /// Creates a log at generation 0. Repeating it with the same keys is `Done` again.
    #[tls_codec(discriminant = 1)]
    Create(Create),
    /// Claims rights for this connection.
    #[tls_codec(discriminant = 2)]
    Prove {
        /// At most [`PROOFS_MAX`].
        proofs: Vec<Proof>,
    },
    /// Asks for all entries of a log from `from` on, now and as they come. Replaces an earlier subscription to it.
    #[tls_codec(discriminant = 3)]
    Subscribe {
        /// The log.
        log: LogId,
        /// The first entry wanted.
        from: Seq,
    },
    /// Ends a subscription.
    #[tls_codec(discriminant = 4)]
    Unsubscribe {
        /// The log.
        log: LogId,
    },
    /// Appends entries to one log, all or nothing.
    #[tls_codec(discriminant = 5)]
    Append(Append),
    /// Reads a page of a log.
    #[tls_codec(discriminant = 6)]
    Read {
        /// The log.
        log: LogId,
        /// The first entry wanted.
        from: Seq,
        /// At most so many entries; the relay's own bounds hold as well.
        limit: u16,
    },
    /// Sends to the present subscribers of a log, stores nothing.
    #[tls_codec(discriminant = 7)]
    Ephemeral {
        /// The log.
        log: LogId,
        /// The log's generation.
        generation: Generation,
        /// Opaque, at most [`EPHEMERAL_LEN_MAX`] bytes.
        payload: VLBytes,
    },
    /// Writes a directory slot.
    #[tls_codec(discriminant = 8)]
    Publish(Publish),
    /// Reads a directory slot and takes a one-time item out of it.
    #[tls_codec(discriminant = 9)]
    Take {
        /// The slot.
        slot: SlotId,
        /// What is wanted of it.
        kind: SlotKind,
        /// The same id gets the same answer for ten minutes.
        take: TakeId,
    },
    /// Opens an inbox, or replaces its tokens.
    #[tls_codec(discriminant = 10)]
    OpenInbox(OpenInbox),
    /// Puts an entry into an inbox.
    #[tls_codec(discriminant = 11)]
    Deposit(Deposit),
    /// Deletes the entries of an inbox up to and including `through`.
    #[tls_codec(discriminant = 12)]
    AckInbox {
        /// The inbox.
        log: LogId,
        /// The last entry to delete.
        through: Seq,
    },
}

/// Creates a log.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Create {
    /// [`LogId::of_control_key`] of `control`, so that nobody takes another's id.
    pub log: LogId,
    /// The control key of the log.
    pub control: VerifyKey,
    /// The gate of generation 0.
    pub gate: Gate,
}

/// Appends to one log.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Append {
    /// The log.
    pub log: LogId,
    /// The generation for which every entry was sealed.
    pub generation: Generation,
    /// 1 to [`APPEND_ENTRIES_MAX`]; only the last may turn.
    pub entries: Vec<NewEntry>,
}

/// One entry, before it has a place.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct NewEntry {
    /// Random; the relay accepts it once per log.
    pub id: EntryId,
    /// The priority class.
    pub class: Class,
    /// Seconds until the payload may be dropped; 0 is the relay's default.
    pub ttl_s: u32,
    /// Opaque, at most [`PAYLOAD_LEN_MAX`] bytes.
    pub payload: VLBytes,
    /// The gate of the next generation, if this entry ends the present one.
    pub turn: Option<Gate>,
}

/// The priority class: orders queues and logs against each other, never entries inside one log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum Class {
    /// Commits, turns, welcomes, handshakes: others wait for them.
    Control = 1,
    /// Urgent messages.
    Critical = 2,
    /// Ordinary messages.
    Normal = 3,
    /// History, own-device sync, anything that may be late.
    Bulk = 4,
}

/// What a directory slot holds under one kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u16)]
pub enum SlotKind {
    /// The device list of an account; no one-time items.
    DeviceList = 1,
    /// The prekey bundle of a device; one-time items are prekey pairs.
    PrekeyBundle = 2,
    /// The key packages of a device; the body is the last resort.
    KeyPackages = 3,
    /// The signed address of a device's inbox; no one-time items.
    InboxAddress = 4,
}

/// Writes one kind of one directory slot (rule RELAY-41).
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Publish {
    /// The slot's owner: the slot is [`SlotId::of_owner`].
    pub owner: VerifyKey,
    /// What is written.
    pub kind: SlotKind,
    /// Rises with each new body.
    pub version: u64,
    /// The part that every `take` gets, at most [`SLOT_BODY_LEN_MAX`] bytes.
    pub body: VLBytes,
    /// Items handed out once each, added to those that are there (to none, if the version rises).
    pub items: Vec<VLBytes>,
    /// By `owner`, over [`Publish::signature_input`].
    pub signature: Signature,
}

impl Publish {
    /// What the owner signs, bound to one connection.
    pub fn signature_input(
        nonce: &ConnectionNonce,
        server: &ServerId,
        kind: SlotKind,
        version: u64,
        body: &[u8],
        items: &[VLBytes],
    ) -> Vec<u8> {
        let items: Vec<u8> = items.iter().flat_map(|item| *PayloadHash::of(item.as_slice()).as_bytes()).collect();
        let kind = (kind as u16).to_be_bytes();
        connection_input(label::PUBLISH, nonce, server, &[&kind, &version.to_be_bytes(), body, &items])
    }

    /// Whether `owner` signed this publication for this connection.
    pub fn is_signed(&self, nonce: &ConnectionNonce, server: &ServerId) -> bool {
        let body = self.body.as_slice();
        let input = Self::signature_input(nonce, server, self.kind, self.version, body, &self.items);
        verify(&self.owner, &input, &self.signature)
    }
}

/// Opens an inbox (rule RELAY-30). The inbox is a log at generation 0 that only `owner` reads.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct OpenInbox {
    /// The reader; the inbox is [`LogId::of_inbox_key`].
    pub owner: VerifyKey,
    /// All tokens that admit deposits from now on, at most [`INBOX_TOKENS_MAX`].
    pub tokens: Vec<LaneToken>,
    /// By `owner`, over [`OpenInbox::signature_input`].
    pub signature: Signature,
}

impl OpenInbox {
    /// What the owner signs, bound to one connection.
    pub fn signature_input(nonce: &ConnectionNonce, server: &ServerId, tokens: &[LaneToken]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(tokens.len() * 33);
        for LaneToken { lane, token } in tokens {
            bytes.push(*lane as u8);
            bytes.extend_from_slice(token.as_bytes());
        }
        connection_input(label::INBOX_OPEN, nonce, server, &[&bytes])
    }

    /// Whether `owner` signed this order for this connection.
    pub fn is_signed(&self, nonce: &ConnectionNonce, server: &ServerId) -> bool {
        verify(&self.owner, &Self::signature_input(nonce, server, &self.tokens), &self.signature)
    }
}

/// A token, and the lane of the inbox to which it admits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct LaneToken {
    /// The lane.
    pub lane: Lane,
    /// The hash of the token.
    pub token: InboxTokenHash,
}

/// A lane of an inbox: each has a quota of its own, so that strangers cannot crowd out contacts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum Lane {
    /// For everybody who holds the device's public token.
    Knock = 1,
    /// For those to whom a token was given inside a session.
    Contacts = 2,
}

/// Puts an entry into an inbox.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Deposit {
    /// The inbox.
    pub log: LogId,
    /// Admits to one of its lanes.
    pub token: InboxToken,
    /// Random; the inbox accepts it once.
    pub id: EntryId,
    /// Opaque, at most [`PAYLOAD_LEN_MAX`] bytes.
    pub payload: VLBytes,
}

/// A frame of the relay.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[non_exhaustive]
pub enum RelayFrame {
    /// The first frame of every connection.
    #[tls_codec(discriminant = 1)]
    Hello(Hello),
    /// The answer to one request.
    #[tls_codec(discriminant = 2)]
    Reply {
        /// The number of the request.
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// Entries of a subscription, contiguous, in order.
    #[tls_codec(discriminant = 3)]
    Entries {
        /// The log.
        log: LogId,
        /// At least one.
        entries: Vec<Entry>,
    },
    /// The log turned, and the connection has proven no reading right for its new generation: the subscription waits
    /// behind `seq` until it has, for at most 60 seconds, then ends.
    #[tls_codec(discriminant = 4)]
    Turned {
        /// The log.
        log: LogId,
        /// The generation whose proof is needed.
        generation: Generation,
        /// The entry that began it.
        seq: Seq,
    },
    /// An ephemeral payload of a subscribed log.
    #[tls_codec(discriminant = 5)]
    Ephemeral {
        /// The log.
        log: LogId,
        /// The generation that the sender named.
        generation: Generation,
        /// Opaque.
        payload: VLBytes,
    },
    /// A subscription ended; the client may subscribe anew.
    #[tls_codec(discriminant = 6)]
    Ended {
        /// The log.
        log: LogId,
        /// Why.
        reason: Refusal,
    },
    /// The relay is about to stop; reconnect after the time given.
    #[tls_codec(discriminant = 7)]
    Draining {
        /// Milliseconds.
        retry_after_ms: u32,
    },
}

/// What a relay says first.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Hello {
    /// Names the relay in every proof.
    pub server: ServerId,
    /// The challenge of this connection.
    pub nonce: ConnectionNonce,
    /// The life of its store.
    pub incarnation: Incarnation,
    /// Milliseconds since 1970-01-01T00:00Z by the relay's clock, for display only.
    pub now_ms: u64,
}

/// The answer to a request.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[non_exhaustive]
pub enum Reply {
    /// Done, nothing to say (`Create`, `Subscribe`, `Unsubscribe`, `Ephemeral`, `AckInbox`, `OpenInbox`).
    #[tls_codec(discriminant = 1)]
    Done,
    /// Refused; nothing changed.
    #[tls_codec(discriminant = 2)]
    Refused(Refusal),
    /// To `Prove`: one result per proof, in order.
    #[tls_codec(discriminant = 3)]
    Proven {
        /// The results.
        results: Vec<ProofResult>,
    },
    /// To `Append` and `Deposit`: one place per entry, in order, all durable.
    #[tls_codec(discriminant = 4)]
    Appended {
        /// The places.
        places: Vec<Place>,
    },
    /// To `Read`: contiguous entries from the one asked for; none if it does not exist yet.
    #[tls_codec(discriminant = 5)]
    Page {
        /// The entries.
        entries: Vec<Entry>,
    },
    /// To `Publish`.
    #[tls_codec(discriminant = 6)]
    Published {
        /// The version that the slot now holds.
        version: u64,
        /// One-time items that are left.
        items_left: u32,
    },
    /// To `Take`.
    #[tls_codec(discriminant = 7)]
    Taken(Taken),
}

/// What became of one proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct ProofResult {
    /// Whether the right is granted.
    pub verdict: ProofVerdict,
    /// The log's generation.
    pub generation: Generation,
    /// The last entry of the log, 0 if there is none.
    pub last: Seq,
}

/// Whether a right is granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum ProofVerdict {
    /// Granted for this connection.
    Granted = 1,
    /// No such log or generation.
    Unknown = 2,
    /// The signature is not one of the gate's key.
    BadSignature = 3,
    /// An appending right for a generation that has ended.
    Stale = 4,
}

/// Where an entry stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Place {
    /// Its position.
    pub seq: Seq,
    /// The generation in which it was accepted.
    pub generation: Generation,
    /// The hash of the payload that was stored, which differs from the one sent if the id was there already.
    pub payload: PayloadHash,
    /// Whether the id was there already.
    pub duplicate: Presence,
}

/// Whether an entry id was new.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum Presence {
    /// New: this request stored it.
    New = 1,
    /// There already: an earlier request stored it.
    Duplicate = 2,
}

/// One entry of a log.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Entry {
    /// Position in the log.
    pub seq: Seq,
    /// The generation in which it was accepted.
    pub generation: Generation,
    /// The priority class.
    pub class: Class,
    /// The random id.
    pub id: EntryId,
    /// When the relay accepted it, milliseconds since 1970-01-01T00:00Z; for display only, not in the chain.
    pub accepted_ms: u64,
    /// The gate of the next generation, if this entry ended its own. In the chain: all members agree on what turned.
    pub turn: Option<Gate>,
    /// The payload, or what is left of it.
    pub content: EntryContent,
}

impl Entry {
    /// The fields that enter the chain.
    pub fn leaf(&self) -> Leaf {
        let payload = match &self.content {
            EntryContent::Payload(payload) => PayloadHash::of(payload.as_slice()),
            EntryContent::Stub(hash) => *hash,
        };
        Leaf { seq: self.seq, generation: self.generation, class: self.class, id: self.id, turn: self.turn, payload }
    }
}

/// The payload of an entry, or what is left of it.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum EntryContent {
    /// The payload, opaque.
    #[tls_codec(discriminant = 1)]
    Payload(VLBytes),
    /// The payload expired or was deleted; its hash keeps the chain whole.
    #[tls_codec(discriminant = 2)]
    Stub(PayloadHash),
}

/// What a `take` gets.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Taken {
    /// The version of the body.
    pub version: u64,
    /// The static part.
    pub body: VLBytes,
    /// A one-time item that nobody else gets; none if the slot has run out.
    pub item: Option<VLBytes>,
}

/// Names the head of a log beside its place: where a reader begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Checkpoint {
    /// The last entry included; 0 before the first.
    pub seq: Seq,
    /// The head behind it.
    pub head: Head,
}

/// A frame that could not be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than [`FRAME_LEN_MAX`].
    TooLong {
        /// Its length, bytes.
        frame_len: usize,
    },
    /// The first byte names a version that is not ours.
    Version {
        /// The first byte.
        version: u8,
    },
    /// The bytes are no frame, or bytes follow it.
    Malformed,
    /// A list, payload or counter is past its bound.
    Bound,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { frame_len } => write!(f, "a frame of {frame_len} bytes is longer than {FRAME_LEN_MAX}"),
            Self::Version { version } => write!(f, "version {version} is not {VERSION}"),
            Self::Malformed => f.write_str("the bytes are no frame"),
            Self::Bound => f.write_str("a list, payload or counter is past its bound"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl ClientFrame {
    /// Encodes the frame.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes one frame, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`]; the relay then answers `Malformed` to [`ClientFrame::peek_request`], or closes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let frame: Self = decode(bytes)?;
        if frame.body.is_bounded() { Ok(frame) } else { Err(DecodeError::Bound) }
    }

    /// The number of a request whose body may not decode, so that even a refusal can be paired.
    pub fn peek_request(bytes: &[u8]) -> Option<RequestId> {
        let rest = bytes.strip_prefix(&[VERSION])?;
        RequestId::tls_deserialize_bytes(rest).ok().map(|(request, _)| request)
    }
}

impl RelayFrame {
    /// Encodes the frame.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes one frame, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`]; the client then closes the connection.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let frame: Self = decode(bytes)?;
        if frame.is_bounded() { Ok(frame) } else { Err(DecodeError::Bound) }
    }

    fn is_bounded(&self) -> bool {
        match self {
            Self::Entries { entries, .. } => !entries.is_empty() && is_page(entries),
            Self::Reply { reply: Reply::Page { entries }, .. } => is_page(entries),
            Self::Reply { reply: Reply::Taken(taken), .. } => {
                taken.body.as_slice().len() <= SLOT_BODY_LEN_MAX
                    && taken.item.as_ref().is_none_or(|item| item.as_slice().len() <= ITEM_LEN_MAX)
            }
            Self::Reply { reply: Reply::Proven { results }, .. } => {
                results.len() <= PROOFS_MAX && results.iter().all(|r| counts(r.generation, r.last))
            }
            Self::Reply { reply: Reply::Appended { places }, .. } => {
                places.len() <= APPEND_ENTRIES_MAX && places.iter().all(|p| counts(p.generation, p.seq))
            }
            Self::Reply { reply: Reply::Refused(refusal), .. } | Self::Ended { reason: refusal, .. } => match refusal {
                Refusal::Stale { generation, turned_at } => counts(*generation, *turned_at),
                Refusal::Trimmed { first_seq, .. } => counts(Generation::FIRST, *first_seq),
                _ => true,
            },
            Self::Turned { generation, seq, .. } => counts(*generation, *seq),
            Self::Ephemeral { generation, payload, .. } => {
                counts(*generation, Seq::FIRST) && payload.as_slice().len() <= EPHEMERAL_LEN_MAX
            }
            Self::Reply { .. } | Self::Hello(_) | Self::Draining { .. } => true,
        }
    }
}

impl Entry {
    fn is_bounded(&self) -> bool {
        let payload_len = match &self.content {
            EntryContent::Payload(payload) => payload.as_slice().len(),
            EntryContent::Stub(_) => 0,
        };
        counts(self.generation, self.seq) && self.seq >= Seq::FIRST && payload_len <= PAYLOAD_LEN_MAX
    }
}

impl Request {
    fn is_bounded(&self) -> bool {
        match self {
            Self::Prove { proofs } => {
                proofs.len() <= PROOFS_MAX && proofs.iter().all(|proof| counts(proof.generation, Seq::FIRST))
            }
            Self::Append(append) => append.is_bounded(),
            Self::Ephemeral { generation, payload, .. } => {
                counts(*generation, Seq::FIRST) && payload.as_slice().len() <= EPHEMERAL_LEN_MAX
            }
            Self::Publish(publish) => {
                publish.version <= COUNTER_MAX
                    && publish.body.as_slice().len() <= SLOT_BODY_LEN_MAX
                    && publish.items.len() <= PUBLISH_ITEMS_MAX
                    && publish.items.iter().all(|item| item.as_slice().len() <= ITEM_LEN_MAX)
            }
            Self::OpenInbox(open) => open.tokens.len() <= INBOX_TOKENS_MAX,
            Self::Deposit(deposit) => deposit.payload.as_slice().len() <= PAYLOAD_LEN_MAX,
            Self::Subscribe { from, .. } | Self::Read { from, .. } => {
                *from >= Seq::FIRST && counts(Generation::FIRST, *from)
            }
            Self::AckInbox { through, .. } => counts(Generation::FIRST, *through),
            Self::Create(_) | Self::Unsubscribe { .. } | Self::Take { .. } => true,
        }
    }
}

impl Append {
    fn is_bounded(&self) -> bool {
        let (last, others) = match self.entries.split_last() {
            Some(split) => split,
            None => return false,
        };
        let payload_len = |entry: &NewEntry| entry.payload.as_slice().len();
        counts(self.generation, Seq::FIRST)
            && self.entries.len() <= APPEND_ENTRIES_MAX
            && self.entries.iter().all(|entry| payload_len(entry) <= PAYLOAD_LEN_MAX)
            && self.entries.iter().map(payload_len).sum::<usize>() <= APPEND_LEN_MAX
            && others.iter().all(|entry| entry.turn.is_none())
            && payload_len(last) > 0
    }
}

/// Whether so many entries, each within its bounds, may stand in one frame.
fn is_page(entries: &[Entry]) -> bool {
    entries.len() <= READ_ENTRIES_MAX && entries.iter().all(Entry::is_bounded)
}

/// Whether two counters stay below the point past which counting on could overflow.
fn counts(generation: Generation, seq: Seq) -> bool {
    generation.as_u64() <= COUNTER_MAX && seq.as_u64() <= COUNTER_MAX
}

fn encode(frame: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + frame.tls_serialized_len());
    bytes.push(VERSION);
    frame.tls_serialize(&mut bytes).expect("writing to a Vec does not fail, and lists are far below 2^30 bytes");
    bytes
}

fn decode<T: DeserializeBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > FRAME_LEN_MAX {
        return Err(DecodeError::TooLong { frame_len: bytes.len() });
    }
    let (&version, rest) = bytes.split_first().ok_or(DecodeError::Malformed)?;
    if version != VERSION {
        return Err(DecodeError::Version { version });
    }
    T::tls_deserialize_exact_bytes(rest).map_err(|_| DecodeError::Malformed)
}
