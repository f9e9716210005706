//! The rows that the engine keeps, each a version byte and a TLS encoding.
//!
//! | table | key | row |
//! |---|---|---|
//! | Meta | a name | [`ClientRow`] |
//! | Meta | [`WELCOME_PREFIX`], log, device of the sender, ordinal | [`WelcomeRow`] |
//! | Meta | [`BUNDLE_PREFIX`], device | [`BundleRow`] |
//! | Meta | [`HELD_PREFIX`], account | `trust::HeldRow`: why nothing is sent to the account |
//! | Meta | [`ACCEPTED_PREFIX`], account, hash of a list | nothing: a person has accepted it beside ours |
//! | Meta | [`EARLY_PREFIX`], log, device of the sender, generation | [`EarlyRow`] |
//! | Meta | [`MENDING_PREFIX`], device | `mend::MendRow`: which intent mends the sessions with it |
//! | Meta | [`PAST_PREFIX`], log | [`PastRow`] |
//! | Meta | a word, device | `history::GivingRow`, `history::TakingRow` |
//! | Contacts | account | [`ContactRow`] |
//! | Conversations | conversation | [`ConversationRow`] |
//! | Logs | log | [`LogRow`] |
//! | Rosters | log | [`RosterRow`] |
//! | Heads | log, seq | a head, 32 bytes |
//! | EntryIds | log, generation, entry id | nothing: the entry was read |
//! | Outbox | conversation, ordinal | [`OutboxRow`] |
//! | OutboxIndex | entry id | the key of the outbox row |
//! | Messages | log, seq | [`MessageRow`] |
//! | MessageIndex | message id | the key of the message |
//! | Seen | log, device | the track of a sender |
//! | Receipts | a letter, then log and device, and more | what it has delivered, missed and read, and when it came |
//! | Undecryptable | log, seq | [`UndecryptableRow`] |
//! | Events | event id | `event::EventRow` |
//! | Intents | ordinal | [`Intent`] |

use tls_codec::{DeserializeBytes, Serialize, TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;
use undertone_wire::frame::{Checkpoint, Class, SlotKind};
use undertone_wire::gate::Gate;
use undertone_wire::id::{EntryId, Generation, Head, InboxToken, Incarnation, LogId, Seq, ServerId, TakeId};

use crate::content::MessageId;
use crate::conversation::ConversationId;
use crate::crypto::Secret32;
use crate::crypto::sign::SigningKey;
use crate::engine::event::Reason;
use crate::envelope::first_contact::LogPlace;
use crate::envelope::history::HistoryReached;
use crate::envelope::inbox::InboxKind;
use crate::envelope::receipts::MISSING_MAX;
use crate::envelope::{DedupId, LogOrder, LogRoot, NamedLists, SenderSeq};
use crate::identity::{AccountId, DeviceId};
use crate::limits::OLD_LOGS_MAX;
use crate::store::{StoreError, Table, Tx};
use crate::time::UnixMs;

/// The version in front of every row.
const ROW_VERSION: u8 = 1;

/// Reads a row.
pub(super) fn load<T: DeserializeBytes>(tx: &Tx<'_>, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
    tx.get(table, key)?.map(|bytes| decode(&bytes)).transpose()
}

/// Decodes a row.
pub(super) fn decode<T: DeserializeBytes>(bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&ROW_VERSION, rest)) => T::tls_deserialize_exact_bytes(rest).map_err(|_| StoreError::Corrupt),
        Some((&version, _)) if version > ROW_VERSION => Err(StoreError::TooNew),
        _ => Err(StoreError::Corrupt),
    }
}

/// Writes a row.
pub(super) fn save(tx: &mut Tx<'_>, table: Table, key: &[u8], row: &impl Serialize) {
    let mut bytes = vec![ROW_VERSION];
    row.tls_serialize(&mut bytes).expect("writing to a Vec does not fail, and rows are far below 2^30 bytes");
    tx.put(table, key, bytes);
}

/// The key of a row that stands at a place in a log.
pub(super) fn place_key(log: &LogId, seq: Seq) -> Vec<u8> {
    [log.as_bytes().as_slice(), &seq.to_be_bytes()].concat()
}

/// The log and the place of such a key.
pub(super) fn split_place(key: &[u8]) -> Result<(LogId, Seq), StoreError> {
    let (log, seq) = key.split_first_chunk::<32>().ok_or(StoreError::Corrupt)?;
    let seq = seq.try_into().map_err(|_| StoreError::Corrupt)?;
    Ok((LogId::from_bytes(*log), Seq::from_u64(u64::from_be_bytes(seq))))
}

/// The key of a row that belongs to a device in a log.
pub(super) fn device_key(log: &LogId, device: &DeviceId) -> Vec<u8> {
    [log.as_bytes().as_slice(), device.as_bytes()].concat()
}

/// The key under which it stands with which entry a device came into a group.
pub(super) fn joined_key(log: &LogId, device: &DeviceId) -> Vec<u8> {
    [b"j", device_key(log, device).as_slice()].concat()
}

/// The key of an outbox row.
pub(super) fn outbox_key(conversation: &ConversationId, ordinal: u64) -> Vec<u8> {
    [conversation.as_bytes().as_slice(), &ordinal.to_be_bytes()].concat()
}

/// What the client knows of itself and its relay.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct ClientRow {
    /// The relay that the account uses.
    pub relay_url: VLBytes,
    /// The identity of the relay, pinned at first contact.
    pub server: Option<ServerId>,
    /// The life of the relay's store when last seen.
    pub incarnation: Option<Incarnation>,
    /// The token that lets strangers knock at our inbox.
    pub knock: InboxToken,
    /// The last inbox entry that was handled.
    pub inbox_seq: Seq,
    /// The id of the next event.
    pub next_event: u64,
    /// The ordinal of the next outbox row or intent.
    pub next_ordinal: u64,
    /// What the relay should hold of our key packages and prekeys, to be topped up.
    pub shelves: Vec<Shelf>,
}

impl ClientRow {
    /// Where the row stands.
    pub(super) const KEY: &'static [u8] = b"client";

    pub(super) fn load(tx: &Tx<'_>) -> Result<Self, StoreError> {
        load(tx, Table::Meta, Self::KEY)?.ok_or(StoreError::Corrupt)
    }

    pub(super) fn save(&self, tx: &mut Tx<'_>) {
        save(tx, Table::Meta, Self::KEY, self);
    }
}

/// Begins the keys of [`WelcomeRow`]s.
pub(super) const WELCOME_PREFIX: &[u8] = b"welcome";

/// A Welcome into a group that we were removed from, as we have yet to read.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct WelcomeRow {
    /// The sender's, encoded.
    pub credential: VLBytes,
    /// The note, encoded.
    pub note: VLBytes,
}

/// One slot kind that we publish: its present version and body, to ask what is left without changing it.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct Shelf {
    pub kind: SlotKind,
    pub version: u64,
    pub body: VLBytes,
}

/// An account that we know.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct ContactRow {
    /// Its certificate, encoded.
    pub certificate: VLBytes,
    /// What it calls itself.
    pub name: VLBytes,
    /// The direct conversation with it.
    pub conversation: ConversationId,
}

impl ContactRow {
    pub(super) fn name(&self) -> String {
        String::from_utf8_lossy(self.name.as_slice()).into_owned()
    }
}

/// A conversation.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct ConversationRow {
    /// What kind it is.
    pub kind: Kind,
    /// How far it is.
    pub phase: Phase,
    /// The log to which it sends; in a direct conversation none until the peer's keys are known.
    pub log: Option<LogId>,
    /// Where that log stands among those of a direct conversation.
    pub order: LogOrder,
    /// Logs in whose place another one came, those that came last before it first. The first [`OLD_LOGS_MAX`] are read to
    /// their end; of others only what was read is shown.
    pub old_logs: Vec<OldLog>,
    /// When it began, for the order of a list.
    pub created_ms: UnixMs,
    /// The name of a group when we last were in it; empty in directs.
    pub name: VLBytes,
    /// The logs of which another device has given us the history, in the order of that device, newest first.
    pub past: Vec<LogId>,
}

impl ConversationRow {
    /// A conversation that has no log yet.
    pub(super) fn new(kind: Kind, now: UnixMs) -> Self {
        let (log, order, old_logs, past) = (None, LogOrder::default(), Vec::new(), Vec::new());
        Self { kind, phase: Phase::Opening, log, order, old_logs, created_ms: now, name: VLBytes::default(), past }
    }

    /// A group that we are in.
    pub(super) fn group(log: LogId, name: &str, now: UnixMs) -> Self {
        let (log, phase, name) = (Some(log), Phase::Active, name.as_bytes().into());
        Self { log, phase, name, ..Self::new(Kind::Group, now) }
    }

    /// The log to which it sends, then those before it, last ones first.
    pub(super) fn logs(&self) -> impl Iterator<Item = LogId> {
        self.log.into_iter().chain(self.old_logs.iter().map(|old| old.log))
    }

    /// Every log in which messages of it may stand, in the order in which they are shown, newest first.
    pub(super) fn shown(&self) -> Vec<LogId> {
        in_order_of(self.logs().collect(), &self.past)
    }

    /// The order of a log that would take the place of the one that lives, if lists of that age are all that we know. None
    /// if there is none.
    pub(super) fn next_order(&self, age: u64) -> Option<LogOrder> {
        match self.log {
            Some(_) if age < self.order.lists => None,
            Some(_) if age == self.order.lists => {
                self.order.round.checked_add(1).map(|round| LogOrder { lists: age, round })
            }
            _ => Some(LogOrder { lists: age, round: 0 }),
        }
    }

    /// Takes another log of the same two people: the highest order lives, and of one order the lowest id (rule DEL-50).
    pub(super) fn take_log(&mut self, order: LogOrder, log: LogId) -> Taken {
        let lives = self.log.map(|log| OldLog { order: self.order, log });
        let mut all: Vec<OldLog> = lives.into_iter().chain(self.old_logs.iter().copied()).collect();
        if all.iter().any(|known| known.log == log) {
            return Taken::Known;
        }
        all.push(OldLog { order, log });
        // In whichever order they came: all devices show them alike, and read the same ones.
        all.sort_unstable_by_key(|it| (std::cmp::Reverse(it.order), it.log));
        if all.iter().skip(1 + OLD_LOGS_MAX).any(|it| it.log == log) {
            return Taken::Refused;
        }
        let first = all.remove(0);
        (self.log, self.order, self.old_logs) = (Some(first.log), first.order, all);
        Taken::New { past: self.old_logs.get(OLD_LOGS_MAX).map(|old| old.log) }
    }

    /// Forgets a log of which there is nothing to show.
    pub(super) fn forget_log(&mut self, log: LogId) {
        self.old_logs.retain(|old| old.log != log);
    }
}

/// A log in whose place another one came.
#[derive(Clone, Copy, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct OldLog {
    pub order: LogOrder,
    pub log: LogId,
}

/// What became of another log of a conversation.
pub(super) enum Taken {
    /// It was there.
    Known,
    /// There are too many, and all of them come before it.
    Refused,
    /// It is one of them now; `past` has fallen out of those that are read.
    New { past: Option<LogId> },
}

/// Puts into `logs` what is only in `order`, each behind the one that stands before it there.
pub(super) fn in_order_of(mut logs: Vec<LogId>, order: &[LogId]) -> Vec<LogId> {
    let mut next = 0;
    for log in order {
        if let Some(at) = logs.iter().position(|known| known == log) {
            next = at + 1;
        } else {
            logs.insert(next, *log);
            next += 1;
        }
    }
    logs
}

/// What kind of conversation it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(super) enum Kind {
    /// Between two accounts.
    #[tls_codec(discriminant = 1)]
    Direct {
        /// The other account.
        peer: AccountId,
    },
    /// An MLS group.
    #[tls_codec(discriminant = 2)]
    Group,
}

/// How far a conversation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(super) enum Phase {
    /// The peer's keys are being fetched.
    Opening = 1,
    /// Messages flow.
    Active = 2,
    /// We left.
    Left = 3,
    /// We were removed.
    Removed = 4,
    /// The peer cannot be reached: its keys are missing or do not verify.
    Failed = 5,
    /// We asked to leave, and are in until a commit says that we are not.
    Leaving = 6,
    /// Another device of ours has told of it, and nobody has brought us into it.
    Past = 7,
}

impl Phase {
    /// Whether the entries of its log concern us, and something may still be appended.
    pub(super) fn is_in(self) -> bool {
        matches!(self, Self::Opening | Self::Active | Self::Leaving)
    }
}

/// Begins the keys of [`PastRow`]s.
pub(super) const PAST_PREFIX: &[u8] = b"past";

/// A log of which another device has given us the history. We may read it ourselves too, or come to.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct PastRow {
    pub conversation: ConversationId,
    /// The last message of others that was marked read there.
    pub read_through: Seq,
}

impl PastRow {
    pub(super) fn load(tx: &Tx<'_>, log: &LogId) -> Result<Option<Self>, StoreError> {
        load(tx, Table::Meta, &[PAST_PREFIX, log.as_bytes()].concat())
    }

    pub(super) fn save(&self, tx: &mut Tx<'_>, log: &LogId) {
        save(tx, Table::Meta, &[PAST_PREFIX, log.as_bytes()].concat(), self);
    }
}

/// One log of a conversation.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct LogRow {
    pub conversation: ConversationId,
    /// The generation that the log is in, behind the last entry that was handled.
    pub generation: Generation,
    /// The last entry that was handled.
    pub seq: Seq,
    /// The head behind it.
    pub head: Head,
    /// The secret of the generation in directs; groups export theirs. 32 bytes or none.
    pub secret: VLBytes,
    /// The root of a direct log, or the seed of a group's control key, if we hold it. 32 bytes or none.
    pub control: VLBytes,
    /// Where a direct log stands among those of its conversation.
    pub order: LogOrder,
    /// Whether the relay has the log.
    pub creation: Creation,
    /// The sequence number of our next envelope in this log.
    pub next_seq: SenderSeq,
    /// The last entry whose content asks for a delivery receipt that we have not sent.
    pub receipt_due: Seq,
    /// The last message of others that was marked read.
    pub read_through: Seq,
    /// The entries of others that could not be read, newest last, at most 64.
    pub missing: Vec<Seq>,
    /// When the generation began here, for the age of a direct turn.
    pub turned_ms: UnixMs,
    /// The log up to and including the turn that began the generation.
    pub began: Checkpoint,
    /// Whether we have the secret of the generation in directs.
    pub standing: Standing,
}

/// Whether we have the secret of a direct log's generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(super) enum Standing {
    /// We have, as far as we know.
    #[tls_codec(discriminant = 1)]
    Inside,
    /// The turn gave us none: it was void, or somebody will introduce us.
    #[tls_codec(discriminant = 2)]
    LeftOut(LeftOut),
    /// Too many logs came in its place: nothing of it is read any more.
    #[tls_codec(discriminant = 3)]
    Past,
}

/// What is known of a generation that began without us: whoever introduces us to it has to say the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct LeftOut {
    /// The gate that its turn brought; none if the relay alone says that our keys are not those of the log.
    pub gate: Option<Gate>,
    /// The lists that its turn named, if that could be read.
    pub lists: Option<NamedLists>,
    /// How long we wait to be introduced, before we begin another log (rule DEL-85).
    pub until: UnixMs,
}

impl Standing {
    /// Whether we have the secret of the present generation, as far as we know.
    pub(super) fn is_inside(self) -> bool {
        matches!(self, Self::Inside)
    }

    /// Whether there is a point in proving that to the relay.
    pub(super) fn is_provable(self) -> bool {
        matches!(self, Self::Inside | Self::LeftOut(LeftOut { gate: None, .. }))
    }
}

impl LogRow {
    /// A log that is read from behind `checkpoint` on, to be created at the relay.
    pub(super) fn new(
        conversation: ConversationId,
        generation: Generation,
        checkpoint: Checkpoint,
        now: UnixMs,
    ) -> Self {
        Self {
            conversation,
            generation,
            seq: checkpoint.seq,
            head: checkpoint.head,
            secret: Vec::new().into(),
            control: Vec::new().into(),
            order: LogOrder::default(),
            creation: Creation::Wanted,
            next_seq: SenderSeq::FIRST,
            receipt_due: Seq::from_u64(0),
            read_through: Seq::from_u64(0),
            missing: Vec::new(),
            turned_ms: now,
            began: checkpoint,
            standing: Standing::Inside,
        }
    }

    /// Goes on behind a place up to which it could not be read: what is in between is missing.
    pub(super) fn skip_to(&mut self, checkpoint: Checkpoint) {
        // One more than can be told: behind it nothing is reported as delivered (rule ENV-25).
        let room = (MISSING_MAX + 1).saturating_sub(self.missing.len());
        let skipped = std::iter::successors(Some(self.seq.next()), |seq| Some(seq.next()));
        self.missing.extend(skipped.take_while(|seq| *seq <= checkpoint.seq).take(room));
        (self.seq, self.head, self.began) = (checkpoint.seq, checkpoint.head, checkpoint);
    }

    /// The key that names the log, if we hold it.
    pub(super) fn control_key(&self, kind: Kind) -> Option<SigningKey> {
        let secret = Secret32::from_slice(self.control.as_slice())?;
        Some(match kind {
            Kind::Direct { .. } => LogRoot::from_secret(secret).control_key(&self.conversation, self.order),
            Kind::Group => SigningKey::from_seed(&secret),
        })
    }

    /// The place of a direct log in its present generation.
    pub(super) fn place(&self) -> LogPlace {
        LogPlace { conversation: self.conversation, order: self.order, generation: self.generation }
    }

    /// Whether the conversation is a direct one: its secrets stand here.
    pub(super) fn is_direct(&self) -> bool {
        !self.secret.as_slice().is_empty()
    }

    pub(super) fn load(tx: &Tx<'_>, log: &LogId) -> Result<Option<Self>, StoreError> {
        load(tx, Table::Logs, log.as_bytes())
    }

    pub(super) fn save(&self, tx: &mut Tx<'_>, log: &LogId) {
        save(tx, Table::Logs, log.as_bytes(), self);
    }
}

/// Whether the relay has a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(super) enum Creation {
    /// We are to create it.
    Wanted = 1,
    /// It is there.
    Done = 2,
}

/// Something to be appended.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct OutboxRow {
    /// Its id in the log, kept across retries and re-seals.
    pub entry: EntryId,
    pub class: Class,
    pub item: Item,
    /// The log to which it goes, if that is settled: after crossed first contacts a conversation has two, and what was
    /// sealed for one of them stays there.
    pub log: Option<LogId>,
    /// The bytes that were, or are about to be, handed to the relay.
    pub sealed: Option<Sealed>,
    /// Where the relay says it stands; the log has yet to show it.
    pub accepted: Option<Seq>,
}

/// A payload, sealed for one generation. Sent again unchanged until the log has left that generation.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct Sealed {
    pub generation: Generation,
    pub payload: VLBytes,
    /// The gate that the entry brings, if it turns the log.
    pub turn: Option<Gate>,
    /// The MLS Welcomes that go out once the commit is in the log, each to one device.
    pub welcomes: Vec<SealedWelcome>,
    /// What a direct turn begins.
    pub handover: Option<Handover>,
    /// The devices whose wraps carry the handshake of their session.
    pub handshakes: Vec<DeviceId>,
}

/// What a turn of a direct log begins, once the log shows it.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct Handover {
    /// The secret of the generation, 32 bytes.
    pub secret: VLBytes,
    /// The lists that begin with it.
    pub roster: RosterRow,
    /// Devices on these lists for which there is no wrap: they are introduced through their inboxes.
    pub left_out: Vec<DeviceId>,
}

/// The device lists by which a direct log is addressed in its present generation.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct RosterRow {
    /// Of the account with the lower id.
    pub lower: ListedRow,
    /// Of the account with the higher id.
    pub higher: ListedRow,
}

/// A verified device list, with the certificate under which it verified; both encoded.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct ListedRow {
    pub certificate: VLBytes,
    pub list: VLBytes,
}

/// Begins the keys of [`BundleRow`]s.
pub(super) const BUNDLE_PREFIX: &[u8] = b"bundle";

/// Begins the keys of accounts to which what is sent is held.
pub(super) const HELD_PREFIX: &[u8] = b"held";

/// Begins the keys of lists that a person has accepted beside the one that we hold of their account.
pub(super) const ACCEPTED_PREFIX: &[u8] = b"accepted";

/// Begins the keys of devices the sessions with which are being mended.
pub(super) const MENDING_PREFIX: &[u8] = b"mending";

/// Begins the keys of [`EarlyRow`]s.
pub(super) const EARLY_PREFIX: &[u8] = b"early";

/// The prekeys of a device with which we have no session yet.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(super) enum BundleRow {
    /// The intent of that ordinal fetches them.
    #[tls_codec(discriminant = 1)]
    Wanted { ordinal: u64 },
    /// They are here, verified, for the next message to the device.
    #[tls_codec(discriminant = 2)]
    Here { body: VLBytes, item: Option<VLBytes> },
}

/// An introduction to a later generation of a log than the one in which we read it: it serves if the turn that begins
/// that generation gives us no secret, or if we cannot read up to it. One of each sender: none replaces that of another.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct EarlyRow {
    /// The secret of the generation, 32 bytes.
    pub secret: VLBytes,
    /// The log up to and including the turn that began it.
    pub checkpoint: Checkpoint,
    /// The lists that began with it.
    pub roster: RosterRow,
}

/// The key of an [`EarlyRow`].
pub(super) fn early_key(log: &LogId, sender: &DeviceId, generation: Generation) -> Vec<u8> {
    [EARLY_PREFIX, log.as_bytes(), sender.as_bytes(), &generation.to_be_bytes()].concat()
}

/// An MLS Welcome for one device.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct SealedWelcome {
    pub device: DeviceId,
    pub welcome: VLBytes,
}

/// What is to be appended.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(super) enum Item {
    /// An envelope, still without receipts: they are added when it is sealed.
    #[tls_codec(discriminant = 1)]
    Envelope(Draft),
    /// A new generation of a direct log: if the device lists have changed, or if the log is still in the generation
    /// named. Everything else is drawn when it is sealed.
    #[tls_codec(discriminant = 2)]
    Turn { wanted_at: Option<Generation> },
    /// A change of a group.
    #[tls_codec(discriminant = 3)]
    Commit(Change),
    /// Our own leaving of a group.
    #[tls_codec(discriminant = 4)]
    Leave,
}

/// An envelope to be.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct Draft {
    pub dedup: DedupId,
    /// Drawn when it is sealed for the first time, so that numbers follow the order of the log.
    pub seq: Option<SenderSeq>,
    pub sent_ms: UnixMs,
    /// The frame, encoded.
    pub frame: VLBytes,
    /// The id of its message, if it is one.
    pub message: Option<MessageId>,
}

/// A change of a group, as an intent that survives lost races.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(super) enum Change {
    /// Adding accounts: those still looked up, and the devices found.
    #[tls_codec(discriminant = 1)]
    Add { wanted: Vec<AccountId>, found: Vec<Invitee> },
    /// Removing accounts.
    #[tls_codec(discriminant = 2)]
    Remove { accounts: Vec<AccountId> },
    /// A new name.
    #[tls_codec(discriminant = 3)]
    Rename { name: VLBytes },
    /// Committing what others have proposed.
    #[tls_codec(discriminant = 4)]
    Proposals,
    /// Removing single devices, of our own account.
    #[tls_codec(discriminant = 5)]
    RemoveDevices { devices: Vec<DeviceId> },
}

/// A device to be added to a group.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct Invitee {
    pub account: AccountId,
    pub device: DeviceId,
    pub key_package: VLBytes,
    /// The address of its inbox, encoded.
    pub address: VLBytes,
}

/// A message in a log.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct MessageRow {
    pub id: MessageId,
    pub account: AccountId,
    pub device: DeviceId,
    pub sender_seq: SenderSeq,
    pub dedup: DedupId,
    /// By the sender's clock: shown, never trusted.
    pub sent_ms: UnixMs,
    /// By the relay's clock: shown, never trusted.
    pub accepted_ms: UnixMs,
    /// The content, as it was received.
    pub content: VLBytes,
    /// How far another device knew it to be, if it is ours and was given to us.
    pub reached: HistoryReached,
}

/// An entry that could not be read.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct UndecryptableRow {
    pub reason: Reason,
    pub generation: Generation,
    pub entry: EntryId,
    pub at_ms: UnixMs,
    /// The payload, to be tried again when its sender shows its session.
    pub raw: VLBytes,
    pub class: Class,
    pub accepted_ms: UnixMs,
}

/// Something to be done at the relay besides appending. Kept until it is done or has failed for good.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[expect(clippy::large_enum_variant, reason = "read, pursued and dropped one at a time")]
pub(super) enum Intent {
    /// Writing a directory slot of ours.
    #[tls_codec(discriminant = 1)]
    Publish { kind: SlotKind, version: u64, body: VLBytes, items: Vec<VLBytes> },
    /// Creating a log.
    #[tls_codec(discriminant = 2)]
    Create { log: LogId },
    /// Taking a device off our account's list.
    #[tls_codec(discriminant = 9)]
    RemoveDevice { device: DeviceId },
    /// Introducing to a direct log, at that moment, whoever has not been heard in it.
    #[tls_codec(discriminant = 8)]
    Vouch { log: LogId, at: UnixMs },
    /// Learning the keys of an account.
    #[tls_codec(discriminant = 3)]
    Lookup { account: AccountId, purpose: Purpose, stage: Stage, take: TakeId },
    /// Putting an entry into an inbox.
    #[tls_codec(discriminant = 4)]
    Deposit { inbox: LogId, token: InboxToken, entry: EntryId, payload: VLBytes },
    /// Handing a new device what makes it one of ours, as long as it waits.
    #[tls_codec(discriminant = 5)]
    Grant { inbox: LogId, token: InboxToken, entry: EntryId, payload: VLBytes, expires: UnixMs },
    /// Appending chunks of history, from that number on, to the log of a transfer to one of our devices.
    #[tls_codec(discriminant = 6)]
    GiveHistory { to: DeviceId, log: LogId, first: u64, payloads: Vec<VLBytes> },
    /// Reading the history that one of our devices gives us.
    #[tls_codec(discriminant = 7)]
    TakeHistory { from: DeviceId, log: LogId },
}

/// Why an account is looked up.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(super) enum Purpose {
    /// To open the direct conversation with it.
    #[tls_codec(discriminant = 1)]
    Contact,
    /// To add it to a group, for the outbox row named.
    #[tls_codec(discriminant = 2)]
    Member { conversation: ConversationId, ordinal: u64 },
    /// To introduce one device of it to a direct log, as of the turn that put it on the lists.
    #[tls_codec(discriminant = 3)]
    Introduction { log: LogId, generation: Generation, checkpoint: Checkpoint, begun: Handover },
    /// To begin a session with one device of it.
    #[tls_codec(discriminant = 4)]
    Session,
    /// To say something to one device of it alone.
    #[tls_codec(discriminant = 6)]
    Note { kind: InboxKind, plaintext: VLBytes },
    /// To add one device of our own account to a group.
    #[tls_codec(discriminant = 5)]
    Sibling { log: LogId },
    /// To send one device of it a heartbeat, in a session that begins with it if there is trouble.
    #[tls_codec(discriminant = 7)]
    Mend,
}

/// How far a lookup is: each stage is one `take`.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(super) enum Stage {
    /// The device list of the account.
    #[tls_codec(discriminant = 1)]
    Devices,
    /// The inbox address of its device, whose credential is known.
    #[tls_codec(discriminant = 2)]
    Address { credential: VLBytes },
    /// Its prekeys or key packages; the address is empty where nothing goes to its inbox.
    #[tls_codec(discriminant = 3)]
    Keys { credential: VLBytes, address: VLBytes },
}

impl Stage {
    /// The credential of the device that the stage is about.
    pub(super) fn credential(&self) -> Option<&[u8]> {
        match self {
            Self::Devices => None,
            Self::Address { credential } | Self::Keys { credential, .. } => Some(credential.as_slice()),
        }
    }
}
