//! The side of a transfer that gives its history (spec/history, rules HIST-01 to HIST-07).
//!
//! ```text
//! marks: each log, and below which place it is still to be given
//!    │ newest first over all logs
//!    ▼
//! chunks, sealed ──one step── intent: append them ──Appended──▶ the next ones
//! ```
//!
//! One append is under way at a time: the first chunk alone, then as many as a relay hands out in one frame.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;
use undertone_wire::frame::{Append, Class, Create, NewEntry, Place, Request};
use undertone_wire::gate::Right;
use undertone_wire::id::{Generation, LogId, PayloadHash, Seq};
use undertone_wire::refusal::{Action, Refusal};

use super::event::{EventRow, HistoryFailure};
use super::history::{all_rows, row_key};
use super::link::{Pending, sign_proof};
use super::query::{Others, Query};
use super::rows::{
    self, ContactRow, ConversationRow, Intent, Kind, LogRow, MessageRow, PastRow, place_key, split_place,
};
use super::step::Step;
use crate::content::{Content, Expiry};
use crate::conversation::{ConversationId, MessageStatus};
use crate::crypto::Secret32;
use crate::envelope::Extensions;
use crate::envelope::history::{
    CHUNK_LEN_MAX, HistoryChunk, HistoryContact, HistoryConversation, HistoryDigest, HistoryKind, HistoryLog,
    HistoryMessage, HistoryOffer, HistoryReached, HistoryRest, HistorySender, TransferKeys,
};
use crate::envelope::inbox::InboxKind;
use crate::error::Error;
use crate::identity::{AccountId, DeviceId};
use crate::limits::{
    HISTORY_CHUNKS_AT_ONCE, HISTORY_ELEMENTS_MAX, HISTORY_FIRST_COUNT, HISTORY_LIFETIME, HISTORY_LOGS_MAX,
};
use crate::store::{Direction, StoreError, Table, Tx};
use crate::time::UnixMs;

/// Begins the keys of [`GivingRow`]s.
const WORD: &[u8] = b"giving";

/// Messages of one log that are read at once.
const PAGE_LEN: usize = 32;

/// A transfer to another device of ours.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct GivingRow {
    /// The transfer secret, 32 bytes.
    secret: VLBytes,
    log: LogId,
    pub begun_ms: UnixMs,
    /// The messages that we had when it began.
    pub total: u64,
    /// How many of them are sealed, or left out.
    pub walked: u64,
    /// How many of them are sealed.
    count: u64,
    /// Over those that are sealed.
    digest: HistoryDigest,
    /// The number of the next chunk.
    next: u64,
    /// What is still to be given.
    marks: Vec<Mark>,
    /// The intent that appends what is sealed.
    in_flight: Option<u64>,
    /// The intent that tells the other device of it.
    offer: u64,
    stage: Stage,
}

/// How far we have come back in one log.
#[derive(Clone, Copy, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Mark {
    conversation: ConversationId,
    log: LogId,
    below: Seq,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
enum Stage {
    /// There is more to seal.
    Filling = 1,
    /// The last chunk is sealed.
    Ending = 2,
    /// A person has ended it; the last chunk is to say so.
    Cancelled = 3,
    /// It says so.
    Withdrawn = 4,
}

impl GivingRow {
    fn load(tx: &Tx<'_>, to: &DeviceId) -> Result<Option<Self>, StoreError> {
        rows::load(tx, Table::Meta, &row_key(WORD, to))
    }

    fn save(&self, tx: &mut Tx<'_>, to: &DeviceId) {
        rows::save(tx, Table::Meta, &row_key(WORD, to), self);
    }

    pub(super) fn all(tx: &Tx<'_>) -> Result<Vec<(DeviceId, Self)>, StoreError> {
        all_rows(tx, WORD)?.into_iter().map(|(device, value)| Ok((device, rows::decode(&value)?))).collect()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        matches!(self.stage, Stage::Cancelled | Stage::Withdrawn)
    }

    fn keys(&self) -> Result<TransferKeys, StoreError> {
        Secret32::from_slice(self.secret.as_slice()).map(TransferKeys::derive).ok_or(StoreError::Corrupt)
    }
}

impl Step<'_> {
    /// Draws a transfer secret, marks what we have, and seals the first chunk.
    pub(super) fn begin_giving(&mut self, to: &DeviceId) -> Result<(), Error> {
        self.forget_giving(to)?;
        let device = self.us.own_devices().device(to).cloned().ok_or(StoreError::Corrupt)?;
        let secret = Secret32::random(self.rng);
        let bytes = secret.expose().to_vec();
        let log = TransferKeys::derive(secret.duplicate()).log();
        let marks = self.history_marks()?;
        let mut total = 0;
        for mark in &marks {
            total += count_below(&self.tx, mark)?;
        }
        let number = self.next_ordinal()?;
        let offer = HistoryOffer { secret, number, total, extensions: Extensions::NONE };
        let offer = self.note_later(&device, InboxKind::History, &offer.encode())?;
        GivingRow {
            secret: bytes.into(),
            log,
            begun_ms: self.now,
            total,
            walked: 0,
            count: 0,
            digest: HistoryDigest::EMPTY,
            next: 0,
            marks,
            in_flight: None,
            offer,
            stage: Stage::Filling,
        }
        .save(&mut self.tx, to);
        self.give_more(to)
    }

    /// Forgets a transfer that has come to nothing, and the offer if nobody has heard it.
    pub(super) fn forget_giving(&mut self, to: &DeviceId) -> Result<(), Error> {
        if let Some(row) = GivingRow::load(&self.tx, to)? {
            self.end_intent(row.offer);
        }
        self.end_giving(to)
    }

    /// Forgets a transfer, its secret included.
    fn end_giving(&mut self, to: &DeviceId) -> Result<(), Error> {
        if let Some(row) = GivingRow::load(&self.tx, to)? {
            self.tx.delete(Table::Meta, &row_key(WORD, to));
            if let Some(ordinal) = row.in_flight {
                self.end_intent(ordinal);
            }
        }
        Ok(())
    }

    /// Ends a transfer as soon as what is under way has arrived; false if there is none.
    pub(super) fn cancel_giving(&mut self, to: &DeviceId) -> Result<bool, Error> {
        let Some(mut row) = GivingRow::load(&self.tx, to)?.filter(|row| !row.is_cancelled()) else { return Ok(false) };
        if self.link.intents.contains(&row.offer) {
            // Nobody knows of it.
            self.forget_giving(to)?;
            return Ok(true);
        }
        row.stage = Stage::Cancelled;
        row.marks.clear();
        row.save(&mut self.tx, to);
        Ok(true)
    }

    pub(super) fn fail_giving(&mut self, to: &DeviceId, because: HistoryFailure) -> Result<(), Error> {
        let was_cancelled = GivingRow::load(&self.tx, to)?.is_none_or(|row| row.is_cancelled());
        self.forget_giving(to)?;
        if was_cancelled { Ok(()) } else { self.history_failed(*to, because) }
    }

    /// Seals the next chunks, and intends to append them.
    fn give_more(&mut self, to: &DeviceId) -> Result<(), Error> {
        let Some(mut row) = GivingRow::load(&self.tx, to)? else { return Ok(()) };
        if !self.may_share_history(to) {
            return self.fail_giving(to, HistoryFailure::Removed);
        }
        let keys = row.keys()?;
        let first = row.next;
        let mut payloads: Vec<VLBytes> = Vec::new();
        let mut walk = Walk::new(std::mem::take(&mut row.marks));
        let chunks_count = if first == 0 { 1 } else { HISTORY_CHUNKS_AT_ONCE };
        let mut is_last = false;
        while payloads.len() < chunks_count && !is_last {
            let chunk = match row.stage {
                Stage::Cancelled => {
                    HistoryChunk { walked: row.walked, rest: HistoryRest::Cancelled, ..HistoryChunk::empty() }
                }
                _ => self.fill_chunk(&mut row, &mut walk)?,
            };
            is_last = chunk.rest != HistoryRest::Follows;
            let payload = keys.seal(row.next, &chunk, self.rng).map_err(|_| StoreError::Corrupt)?;
            payloads.push(payload.into());
            row.next += 1;
        }
        row.marks = walk.into_marks();
        row.stage = match (row.stage, is_last) {
            (Stage::Filling, true) => Stage::Ending,
            (Stage::Cancelled, true) => Stage::Withdrawn,
            (stage, _) => stage,
        };
        let intent = Intent::GiveHistory { to: *to, log: row.log, first, payloads };
        row.in_flight = Some(self.intend(&intent)?);
        row.save(&mut self.tx, to);
        Ok(())
    }

    /// A chunk with as much as fits, and no more than a hundred messages if it is the first.
    fn fill_chunk(&mut self, row: &mut GivingRow, walk: &mut Walk) -> Result<HistoryChunk, Error> {
        let messages_max = if row.next == 0 { HISTORY_FIRST_COUNT } else { HISTORY_ELEMENTS_MAX };
        let mut filling = Filling::new();
        loop {
            let Some((mark, seq, message)) = walk.peek(&self.tx)? else {
                filling.chunk.rest = HistoryRest::Done { count: row.count, digest: row.digest };
                break;
            };
            if !is_expired(&message, self.now) {
                if filling.chunk.messages.len() == messages_max {
                    break;
                }
                let digest = row.digest.with(&mark.log, seq, message.id.as_bytes());
                if !self.put_into(&mut filling, walk, &mark, seq, message)? {
                    break;
                }
                row.digest = digest;
                row.count += 1;
            }
            walk.step();
            // What another device gives us meanwhile may stand below a mark.
            row.walked = (row.walked + 1).min(row.total);
        }
        filling.chunk.walked = row.walked;
        Ok(filling.chunk)
    }

    /// Puts a message into a chunk, with what it needs to be shown; false if it does not fit.
    fn put_into(
        &mut self,
        filling: &mut Filling,
        walk: &mut Walk,
        mark: &Mark,
        seq: Seq,
        message: MessageRow,
    ) -> Result<bool, Error> {
        let mut more = More::default();
        let conversation = walk.conversation(&self.tx, &mark.conversation)?.clone();
        if !filling.logs.contains_key(&mark.log) {
            more.conversation = Some(self.told_conversation(&conversation)?);
        }
        let sender = HistorySender { account: message.account, device: message.device };
        more.sender = (!filling.senders.contains_key(&sender)).then_some(sender);
        let peer = match conversation.kind {
            Kind::Direct { peer } => Some(peer),
            Kind::Group => None,
        };
        for account in [Some(message.account), peer].into_iter().flatten() {
            let is_told = filling.contacts.contains(&account) || more.contacts.iter().any(|(told, _)| *told == account);
            if !is_told && let Some(known) = rows::load::<ContactRow>(&self.tx, Table::Contacts, account.as_bytes())? {
                let (certificate, name) = (known.certificate.as_slice().to_vec(), known.name.as_slice().to_vec());
                more.contacts.push((account, HistoryContact { certificate, name }));
            }
        }
        let reached = self.own_reached(walk, mark, seq, &message)?;
        let told = HistoryMessage {
            log: 0,
            sender: 0,
            seq,
            sender_seq: message.sender_seq,
            dedup: message.dedup,
            sent_ms: message.sent_ms,
            accepted_ms: message.accepted_ms,
            reached,
            content: message.content.as_slice().to_vec(),
        };
        Ok(filling.add(more, mark.log, sender, told))
    }

    fn told_conversation(&self, row: &ConversationRow) -> Result<HistoryConversation, Error> {
        let kind = match row.kind {
            Kind::Direct { peer } => HistoryKind::Direct { peer },
            Kind::Group => HistoryKind::Group { name: row.name.as_slice().to_vec() },
        };
        let mut logs = Vec::new();
        for log in row.shown().into_iter().take(HISTORY_LOGS_MAX) {
            let ours = LogRow::load(&self.tx, &log)?.map_or(Seq::from_u64(0), |row| row.read_through);
            let given = PastRow::load(&self.tx, &log)?.map_or(Seq::from_u64(0), |row| row.read_through);
            logs.push(HistoryLog { log, read_through: ours.max(given) });
        }
        Ok(HistoryConversation { kind, created_ms: row.created_ms, logs })
    }

    /// How far we know an own message to be.
    fn own_reached(
        &mut self,
        walk: &mut Walk,
        mark: &Mark,
        seq: Seq,
        message: &MessageRow,
    ) -> Result<HistoryReached, Error> {
        if message.account != self.us.account() {
            return Ok(HistoryReached::Untold);
        }
        let mut query = Query::over(&mut self.tx);
        let others = match walk.others.entry(mark.log) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(query.others(self.us, &mark.conversation, &mark.log)?)
            }
        };
        Ok(match query.status(&mark.log, seq, message, others)? {
            MessageStatus::Pending | MessageStatus::Sent => HistoryReached::Untold,
            MessageStatus::Delivered => HistoryReached::Delivered,
            MessageStatus::Read => HistoryReached::Read,
        })
    }

    /// Every log in which messages stand, and where its newest one of now is.
    fn history_marks(&self) -> Result<Vec<Mark>, Error> {
        let mut marks = Vec::new();
        for (key, value) in self.tx.scan_prefix(Table::Conversations, &[], Direction::Ascending, usize::MAX)? {
            let id = key.as_slice().try_into().map_err(|_| StoreError::Corrupt)?;
            let row: ConversationRow = rows::decode(&value)?;
            for log in row.shown().into_iter().take(HISTORY_LOGS_MAX) {
                let end = place_key(&log, Seq::from_u64(u64::MAX));
                let newest =
                    self.tx.scan(Table::Messages, &place_key(&log, Seq::FIRST), &end, Direction::Descending, 1)?;
                if let Some((newest, _)) = newest.first() {
                    let below = split_place(newest)?.1.next();
                    marks.push(Mark { conversation: ConversationId::from_bytes(id), log, below });
                }
            }
        }
        Ok(marks)
    }

    /// The request that appends chunks; none if they are not to be appended any more.
    pub(super) fn history_append(
        &mut self,
        ordinal: u64,
        to: &DeviceId,
        log: LogId,
        first: u64,
        payloads: Vec<VLBytes>,
    ) -> Result<Option<Request>, Error> {
        let Some(row) = GivingRow::load(&self.tx, to)?.filter(|row| row.in_flight == Some(ordinal)) else {
            self.end_intent(ordinal);
            return Ok(None);
        };
        if !self.may_share_history(to) {
            return self.fail_giving(to, HistoryFailure::Removed).map(|()| None);
        }
        let keys = row.keys()?;
        if let Some((nonce, server)) = self.link.connection()
            && self.link.transfers.insert(log)
        {
            let (control, gate) = (keys.control().verify_key(), keys.gate());
            self.request(Pending::Unwatched, Request::Create(Create { log, control, gate }));
            let proof = sign_proof(keys.append(), &nonce, &server, log, Generation::FIRST, Right::Append);
            self.request(Pending::Unwatched, Request::Prove { proofs: vec![proof] });
        }
        let ttl_s = u32::try_from(HISTORY_LIFETIME.as_secs()).expect("14 days are far below 2^32 seconds");
        let entry =
            |(number, payload)| NewEntry { id: keys.entry(number), class: Class::Bulk, ttl_s, payload, turn: None };
        let entries = (first..).zip(payloads).map(entry).collect();
        Ok(Some(Request::Append(Append { log, generation: Generation::FIRST, entries })))
    }

    /// The relay has the chunks.
    pub(super) fn history_appended(
        &mut self,
        ordinal: u64,
        to: &DeviceId,
        payloads: &[VLBytes],
        places: &[Place],
    ) -> Result<(), Error> {
        self.end_intent(ordinal);
        let Some(mut row) = GivingRow::load(&self.tx, to)?.filter(|row| row.in_flight == Some(ordinal)) else {
            return Ok(());
        };
        if payloads.len() != places.len() {
            return Err(Error::UnaskedReply);
        }
        let is_ours = |(payload, place): (&VLBytes, &Place)| PayloadHash::of(payload.as_slice()) == place.payload;
        if !payloads.iter().zip(places).all(is_ours) {
            return self.fail_giving(to, HistoryFailure::Damaged);
        }
        row.in_flight = None;
        row.save(&mut self.tx, to);
        match row.stage {
            Stage::Filling => {
                self.history_progress(*to, row.walked, row.total);
                self.give_more(to)
            }
            Stage::Ending => {
                self.end_giving(to)?;
                self.history_progress(*to, row.total, row.total);
                self.event(EventRow::HistorySent { to: *to, count: row.count })
            }
            Stage::Cancelled => self.give_more(to),
            Stage::Withdrawn => self.end_giving(to),
        }
    }

    /// The relay does not take the chunks.
    pub(super) fn history_refused(
        &mut self,
        ordinal: u64,
        to: &DeviceId,
        log: LogId,
        refusal: &Refusal,
    ) -> Result<(), Error> {
        if matches!(refusal, Refusal::Stale { .. }) || refusal.action() == Action::Fatal {
            self.end_intent(ordinal);
            return self.fail_giving(to, HistoryFailure::Refused);
        }
        // It may have lost the log, or what we have proven.
        self.link.transfers.remove(&log);
        self.delay_intent(ordinal, refusal);
        Ok(())
    }
}

/// A chunk that is being filled.
struct Filling {
    chunk: HistoryChunk,
    len: usize,
    logs: BTreeMap<LogId, u16>,
    senders: BTreeMap<HistorySender, u16>,
    contacts: BTreeSet<AccountId>,
}

/// What a message needs in its chunk besides itself.
#[derive(Default)]
struct More {
    conversation: Option<HistoryConversation>,
    sender: Option<HistorySender>,
    contacts: Vec<(AccountId, HistoryContact)>,
}

impl Filling {
    fn new() -> Self {
        let (logs, senders, contacts) = Default::default();
        Self { chunk: HistoryChunk::empty(), len: HistoryChunk::LEN_EMPTY, logs, senders, contacts }
    }

    /// Adds a message; false, and nothing is changed, if it does not fit.
    fn add(&mut self, more: More, log: LogId, sender: HistorySender, mut message: HistoryMessage) -> bool {
        let Self { chunk, len, logs, senders, contacts } = self;
        let more_len = message.encoded_len()
            + more.conversation.as_ref().map_or(0, HistoryConversation::encoded_len)
            + more.sender.map_or(0, |_| HistorySender::ENCODED_LEN)
            + more.contacts.iter().map(|(_, contact)| contact.encoded_len()).sum::<usize>();
        let is_full = *len + more_len > CHUNK_LEN_MAX
            || chunk.contacts.len() + more.contacts.len() > HISTORY_ELEMENTS_MAX
            || chunk.messages.len() == HISTORY_ELEMENTS_MAX;
        if is_full {
            return false;
        }
        *len += more_len;
        if let Some(conversation) = more.conversation {
            for told in &conversation.logs {
                let index = u16::try_from(logs.len()).unwrap_or(u16::MAX);
                logs.insert(told.log, index);
            }
            chunk.conversations.push(conversation);
        }
        if let Some(sender) = more.sender {
            let index = u16::try_from(senders.len()).unwrap_or(u16::MAX);
            senders.insert(sender, index);
            chunk.senders.push(sender);
        }
        for (account, contact) in more.contacts {
            contacts.insert(account);
            chunk.contacts.push(contact);
        }
        message.log = logs.get(&log).copied().unwrap_or(u16::MAX);
        message.sender = senders.get(&sender).copied().unwrap_or(u16::MAX);
        chunk.messages.push(message);
        true
    }
}

/// The way back through all logs, newest first.
struct Walk {
    lanes: Vec<Lane>,
    /// The lane of the message that was looked at last.
    at: Option<usize>,
    conversations: BTreeMap<ConversationId, ConversationRow>,
    others: BTreeMap<LogId, Others>,
}

/// One log.
struct Lane {
    mark: Mark,
    /// What was read of it and not given yet, newest first.
    page: VecDeque<(Seq, MessageRow)>,
    /// Below which place it is still to be read.
    unread_below: Seq,
    is_read: bool,
}

impl Walk {
    fn new(marks: Vec<Mark>) -> Self {
        let lane = |mark: Mark| Lane { mark, page: VecDeque::new(), unread_below: mark.below, is_read: false };
        let lanes = marks.into_iter().map(lane).collect();
        Self { lanes, at: None, conversations: BTreeMap::new(), others: BTreeMap::new() }
    }

    /// The newest message that is left.
    fn peek(&mut self, tx: &Tx<'_>) -> Result<Option<(Mark, Seq, MessageRow)>, Error> {
        let mut newest: Option<(UnixMs, usize)> = None;
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            lane.fill(tx)?;
            if let Some((_, message)) = lane.page.front()
                && newest.is_none_or(|(accepted, _)| message.accepted_ms > accepted)
            {
                newest = Some((message.accepted_ms, at));
            }
        }
        self.at = newest.map(|(_, at)| at);
        let found = self.at.and_then(|at| self.lanes.get(at));
        Ok(found.and_then(|lane| lane.page.front().map(|(seq, message)| (lane.mark, *seq, message.clone()))))
    }

    /// Passes the message that was looked at last.
    fn step(&mut self) {
        if let Some(lane) = self.at.take().and_then(|at| self.lanes.get_mut(at))
            && let Some((seq, _)) = lane.page.pop_front()
        {
            lane.mark.below = seq;
        }
    }

    /// The marks of what is left.
    fn into_marks(self) -> Vec<Mark> {
        let is_left = |lane: &Lane| !lane.page.is_empty() || !lane.is_read;
        self.lanes.into_iter().filter(is_left).map(|lane| lane.mark).collect()
    }

    fn conversation(&mut self, tx: &Tx<'_>, id: &ConversationId) -> Result<&ConversationRow, Error> {
        if !self.conversations.contains_key(id) {
            let row = rows::load(tx, Table::Conversations, id.as_bytes())?.ok_or(StoreError::Corrupt)?;
            self.conversations.insert(*id, row);
        }
        Ok(self.conversations.get(id).ok_or(StoreError::Corrupt)?)
    }
}

impl Lane {
    fn fill(&mut self, tx: &Tx<'_>) -> Result<(), Error> {
        if !self.page.is_empty() || self.is_read {
            return Ok(());
        }
        let log = &self.mark.log;
        let (from, to) = (place_key(log, Seq::FIRST), place_key(log, self.unread_below));
        let page = tx.scan(Table::Messages, &from, &to, Direction::Descending, PAGE_LEN)?;
        self.is_read = page.len() < PAGE_LEN;
        for (key, value) in page {
            let seq = split_place(&key)?.1;
            self.unread_below = seq;
            self.page.push_back((seq, rows::decode(&value)?));
        }
        Ok(())
    }
}

/// How many messages stand below a mark.
fn count_below(tx: &Tx<'_>, mark: &Mark) -> Result<u64, Error> {
    let end = place_key(&mark.log, mark.below);
    let mut from = place_key(&mark.log, Seq::FIRST);
    let mut count = 0;
    loop {
        let page = tx.scan(Table::Messages, &from, &end, Direction::Ascending, 512)?;
        count += page.len() as u64;
        let Some((last, _)) = page.last() else { return Ok(count) };
        from = [last.as_slice(), &[0]].concat();
    }
}

/// Whether a message is to be forgotten by now. What counts from its reading is another matter.
fn is_expired(message: &MessageRow, now: UnixMs) -> bool {
    let content = Content::decode(message.content.as_slice());
    let expires = content.ok().and_then(|content| content.expires);
    matches!(expires, Some(Expiry::At { unix_s }) if u64::from(unix_s) * 1_000 <= now.as_u64())
}
