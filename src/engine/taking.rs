//! The side of a transfer that takes the history of another device (spec/history, rules HIST-03, HIST-09 to HIST-15).
//!
//! ```text
//! offer in the inbox ─▶ row, intent: subscribe ─▶ chunk n ──one step── messages, names, marks, cursor
//!                                                   └─ damaged, missing or contradicting: the transfer ends, nothing else
//! ```
//!
//! Messages go to the places that they have in their logs, below or beside what we read ourselves: so the order on both
//! devices is the same, and what is there already is known by its place and by its id.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;
use undertone_wire::frame::{Entry, EntryContent, Request};
use undertone_wire::gate::Right;
use undertone_wire::id::{EntryId, Generation, LogId, Seq};
use undertone_wire::refusal::{Action, Refusal};

use super::event::{EventRow, HistoryFailure};
use super::history::{all_rows, row_key};
use super::link::{Pending, sign_proof};
use super::rows::{
    self, ContactRow, ConversationRow, Intent, Kind, MessageRow, PastRow, Phase, in_order_of, place_key,
};
use super::step::Step;
use crate::content::{Content, MessageId};
use crate::conversation::ConversationId;
use crate::crypto::Secret32;
use crate::envelope::history::{
    HistoryChunk, HistoryContact, HistoryConversation, HistoryDigest, HistoryKind, HistoryMessage, HistoryOffer,
    HistoryRest, HistorySender, TransferKeys,
};
use crate::envelope::inbox::InboxEntry;
use crate::error::Error;
use crate::identity::{AccountCertificate, AccountId, Device, DeviceId};
use crate::limits::HISTORY_LOGS_MAX;
use crate::store::{StoreError, Table, Tx};
use crate::time::UnixMs;

/// Begins the keys of [`TakingRow`]s.
const WORD: &[u8] = b"taking";

/// A transfer from another device of ours.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct TakingRow {
    /// The transfer secret, 32 bytes.
    secret: VLBytes,
    log: LogId,
    pub begun_ms: UnixMs,
    /// Rises with the transfers of the other device.
    number: u64,
    /// The messages that the other device had when it began.
    pub total: u64,
    /// How many of them are here, or left out.
    pub walked: u64,
    /// How many of them were given.
    count: u64,
    /// Over what stands in the store of those that were given.
    digest: HistoryDigest,
    /// The number of the next chunk.
    next: u64,
    /// The last entry of the transfer log that was handled.
    seq: Seq,
    /// The intent that reads the log.
    intent: u64,
}

impl TakingRow {
    fn load(tx: &Tx<'_>, from: &DeviceId) -> Result<Option<Self>, StoreError> {
        rows::load(tx, Table::Meta, &row_key(WORD, from))
    }

    fn save(&self, tx: &mut Tx<'_>, from: &DeviceId) {
        rows::save(tx, Table::Meta, &row_key(WORD, from), self);
    }

    pub(super) fn all(tx: &Tx<'_>) -> Result<Vec<(DeviceId, Self)>, StoreError> {
        all_rows(tx, WORD)?.into_iter().map(|(device, value)| Ok((device, rows::decode(&value)?))).collect()
    }

    /// The transfer that has this log.
    fn of_log(tx: &Tx<'_>, log: &LogId) -> Result<Option<(DeviceId, Self)>, StoreError> {
        Ok(Self::all(tx)?.into_iter().find(|(_, row)| row.log == *log))
    }

    fn keys(&self) -> Result<TransferKeys, StoreError> {
        Secret32::from_slice(self.secret.as_slice()).map(TransferKeys::derive).ok_or(StoreError::Corrupt)
    }
}

/// Why a chunk is not taken: the transfer ends with it, or everything does.
enum Untaken {
    Because(HistoryFailure),
    Stop(Error),
}

impl From<HistoryFailure> for Untaken {
    fn from(because: HistoryFailure) -> Self {
        Self::Because(because)
    }
}

impl From<Error> for Untaken {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}

impl From<StoreError> for Untaken {
    fn from(error: StoreError) -> Self {
        Self::Stop(error.into())
    }
}

impl Step<'_> {
    /// Another device says that it gives us its history.
    pub(super) fn history_offered(
        &mut self,
        device: &Device,
        opened: &InboxEntry,
        entry: EntryId,
    ) -> Result<(), Error> {
        if device.account() != self.us.account() || !self.may_share_history(&device.id()) {
            return Err(Error::BadKeys);
        }
        let plaintext = self.open_note(device, opened, entry)?;
        let offer = HistoryOffer::decode(&plaintext).map_err(|_| Error::BadKeys)?;
        let from = device.id();
        // Notes may overtake each other: a newer transfer takes the place of an older one, never the other way about.
        if TakingRow::load(&self.tx, &from)?.is_some_and(|row| row.number >= offer.number) {
            return Ok(());
        }
        self.drop_taking(&from)?;
        let (number, total) = (offer.number, offer.total);
        let secret = offer.secret.expose().to_vec();
        let log = TransferKeys::derive(offer.secret).log();
        let intent = self.intend(&Intent::TakeHistory { from, log })?;
        TakingRow {
            secret: secret.into(),
            log,
            begun_ms: self.now,
            number,
            total,
            walked: 0,
            count: 0,
            digest: HistoryDigest::EMPTY,
            next: 0,
            seq: Seq::from_u64(0),
            intent,
        }
        .save(&mut self.tx, &from);
        self.history_progress(from, 0, total);
        Ok(())
    }

    /// Forgets a transfer, its secret included; false if there is none.
    pub(super) fn drop_taking(&mut self, from: &DeviceId) -> Result<bool, Error> {
        let Some(row) = TakingRow::load(&self.tx, from)? else { return Ok(false) };
        self.tx.delete(Table::Meta, &row_key(WORD, from));
        self.end_intent(row.intent);
        if self.link.is_online() {
            self.request(Pending::Unwatched, Request::Unsubscribe { log: row.log });
        }
        Ok(true)
    }

    pub(super) fn fail_taking(&mut self, from: &DeviceId, because: HistoryFailure) -> Result<(), Error> {
        if self.drop_taking(from)? { self.history_failed(*from, because) } else { Ok(()) }
    }

    /// The request that reads a transfer log; none if it is not to be read any more.
    pub(super) fn history_subscribe(
        &mut self,
        ordinal: u64,
        from: &DeviceId,
        log: LogId,
    ) -> Result<Option<Request>, Error> {
        let Some(row) = TakingRow::load(&self.tx, from)?.filter(|row| row.intent == ordinal) else {
            self.end_intent(ordinal);
            return Ok(None);
        };
        if !self.may_share_history(from) {
            return self.fail_taking(from, HistoryFailure::Removed).map(|()| None);
        }
        if let Some((nonce, server)) = self.link.connection() {
            let keys = row.keys()?;
            let proof = sign_proof(keys.read(), &nonce, &server, log, Generation::FIRST, Right::Read);
            self.request(Pending::Unwatched, Request::Prove { proofs: vec![proof] });
        }
        Ok(Some(Request::Subscribe { log, from: row.seq.next() }))
    }

    /// The relay does not let us read a transfer log: most often it is not there yet.
    pub(super) fn history_unreadable(&mut self, ordinal: u64, from: &DeviceId, refusal: &Refusal) -> Result<(), Error> {
        match (refusal, refusal.action()) {
            (Refusal::Trimmed { .. }, _) => self.fail_taking(from, HistoryFailure::Expired),
            (_, Action::Fatal) => self.fail_taking(from, HistoryFailure::Refused),
            _ => {
                self.delay_intent(ordinal, refusal);
                Ok(())
            }
        }
    }

    /// The relay has ended our subscription to what may be a transfer log.
    pub(super) fn history_ended(&mut self, log: LogId, refusal: &Refusal) -> Result<(), Error> {
        let Some((from, row)) = TakingRow::of_log(&self.tx, &log)? else { return Ok(()) };
        self.link.resume(row.intent);
        self.history_unreadable(row.intent, &from, refusal)
    }

    /// Handles entries of what may be a transfer log.
    pub(super) fn history_entries(&mut self, log: LogId, entries: &[Entry]) -> Result<(), Error> {
        let Some((from, mut row)) = TakingRow::of_log(&self.tx, &log)? else { return Ok(()) };
        if !self.may_share_history(&from) {
            return self.fail_taking(&from, HistoryFailure::Removed);
        }
        let keys = row.keys()?;
        let before = row.next;
        for entry in entries.iter().filter(|entry| entry.seq > row.seq).cloned().collect::<Vec<_>>() {
            if entry.seq != row.seq.next() {
                // Left out by the relay: asked for again, from where we are.
                self.link.resume(row.intent);
                self.delay_intent(row.intent, &Refusal::Unknown);
                break;
            }
            row.seq = entry.seq;
            if entry.id != keys.entry(row.next) {
                continue;
            }
            let mark = self.mark();
            match self.take_chunk(&keys, &mut row, &entry) {
                Ok(HistoryRest::Follows) => row.next += 1,
                Ok(HistoryRest::Cancelled) => return self.fail_taking(&from, HistoryFailure::Cancelled),
                Ok(HistoryRest::Done { count, digest }) => {
                    if (count, digest) != (row.count, row.digest) {
                        return self.fail_taking(&from, HistoryFailure::Differs);
                    }
                    self.drop_taking(&from)?;
                    self.history_progress(from, row.total, row.total);
                    return self.event(EventRow::HistoryComplete { from, count });
                }
                Err(Untaken::Because(because)) => {
                    self.undo_to(mark);
                    return self.fail_taking(&from, because);
                }
                Err(Untaken::Stop(error)) => return Err(error),
            }
        }
        row.save(&mut self.tx, &from);
        if row.next != before {
            self.history_progress(from, row.walked, row.total);
        }
        Ok(())
    }

    /// Takes a chunk, whole or not at all (rule HIST-09).
    fn take_chunk(&mut self, keys: &TransferKeys, row: &mut TakingRow, entry: &Entry) -> Result<HistoryRest, Untaken> {
        let EntryContent::Payload(payload) = &entry.content else { return Err(HistoryFailure::Expired.into()) };
        let chunk = keys.open(row.next, payload.as_slice()).map_err(|_| HistoryFailure::Damaged)?;
        if chunk.walked < row.walked || chunk.walked > row.total {
            return Err(HistoryFailure::Differs.into());
        }
        for contact in &chunk.contacts {
            self.take_contact(contact)?;
        }
        let mut lanes = Vec::new();
        for conversation in &chunk.conversations {
            self.take_conversation(conversation, &mut lanes)?;
        }
        for message in &chunk.messages {
            self.take_message(row, &chunk, &lanes, message)?;
        }
        row.walked = chunk.walked;
        Ok(chunk.rest)
    }

    /// Somebody whom the other device knows: it fills a blank and replaces nothing.
    fn take_contact(&mut self, contact: &HistoryContact) -> Result<(), Untaken> {
        let certificate = AccountCertificate::decode(&contact.certificate).map_err(|_| HistoryFailure::Differs)?;
        let account = certificate.verify().map_err(|_| HistoryFailure::Differs)?;
        if account == self.us.account() {
            return Ok(());
        }
        let known = rows::load::<ContactRow>(&self.tx, Table::Contacts, account.as_bytes())?;
        if known.as_ref().is_some_and(|known| !known.name.as_slice().is_empty() || contact.name.is_empty()) {
            return Ok(());
        }
        let certificate = known.map_or_else(|| contact.certificate.clone().into(), |known| known.certificate);
        let conversation = ConversationId::direct(&self.us.account(), &account);
        let row = ContactRow { certificate, name: contact.name.clone().into(), conversation };
        rows::save(&mut self.tx, Table::Contacts, account.as_bytes(), &row);
        Ok(())
    }

    /// A conversation: one that we are in, or one to be shown as past.
    fn take_conversation(&mut self, told: &HistoryConversation, lanes: &mut Vec<Lane>) -> Result<(), Untaken> {
        let logs: Vec<LogId> = told.logs.iter().map(|log| log.log).collect();
        let (id, kind) = match (&told.kind, logs.first()) {
            (HistoryKind::Direct { peer }, _) => {
                let own = self.us.account();
                if *peer == own || rows::load::<ContactRow>(&self.tx, Table::Contacts, peer.as_bytes())?.is_none() {
                    return Err(HistoryFailure::Differs.into());
                }
                (ConversationId::direct(&own, peer), Kind::Direct { peer: *peer })
            }
            (HistoryKind::Group { .. }, Some(log)) => (ConversationId::group(log), Kind::Group),
            (HistoryKind::Group { .. }, None) => return Err(HistoryFailure::Differs.into()),
        };
        let known = rows::load::<ConversationRow>(&self.tx, Table::Conversations, id.as_bytes())?;
        let mut row = known.unwrap_or_else(|| {
            let log = if kind == Kind::Group { logs.first().copied() } else { None };
            ConversationRow { phase: Phase::Past, log, ..ConversationRow::new(kind, told.created_ms) }
        });
        if let (Phase::Past, HistoryKind::Group { name }) = (row.phase, &told.kind) {
            row.name = name.clone().into();
        }
        if row.kind != kind {
            return Err(HistoryFailure::Differs.into());
        }
        row.created_ms = row.created_ms.min(told.created_ms);
        row.past = in_order_of(logs, &row.past);
        if row.past.len() > HISTORY_LOGS_MAX {
            return Err(HistoryFailure::Differs.into());
        }
        self.save_conversation(&id, &row);
        for log in &told.logs {
            if self.conversation_of(&log.log)?.is_some_and(|of| of != id) {
                return Err(HistoryFailure::Differs.into());
            }
            let before = PastRow::load(&self.tx, &log.log)?.map_or(Seq::from_u64(0), |past| past.read_through);
            let read_through = before.max(log.read_through);
            PastRow { conversation: id, read_through }.save(&mut self.tx, &log.log);
            lanes.push(Lane { conversation: id, kind, log: log.log });
        }
        Ok(())
    }

    /// A message: kept if neither its place nor its id is known (rule HIST-11).
    fn take_message(
        &mut self,
        row: &mut TakingRow,
        chunk: &HistoryChunk,
        lanes: &[Lane],
        message: &HistoryMessage,
    ) -> Result<(), Untaken> {
        let lane = lanes.get(usize::from(message.log)).ok_or(HistoryFailure::Damaged)?;
        let sender = chunk.senders.get(usize::from(message.sender)).ok_or(HistoryFailure::Damaged)?;
        let HistorySender { account, device } = *sender;
        if !lane.admits(&account, &self.us.account()) || Content::decode(&message.content).is_err() {
            return Err(HistoryFailure::Differs.into());
        }
        let id = MessageId::of(&lane.conversation, &account, &message.content);
        let place = place_key(&lane.log, message.seq);
        let there = rows::load::<MessageRow>(&self.tx, Table::Messages, &place)?;
        let is_elsewhere = self.tx.get(Table::MessageIndex, id.as_bytes())?.is_some();
        let stands = match there {
            Some(there) => {
                self.raise_reached(&place, &there, message, &account);
                there.id
            }
            None => {
                if !is_elsewhere {
                    let content = message.content.clone().into();
                    let (sender_seq, dedup, reached) = (message.sender_seq, message.dedup, message.reached);
                    let (sent_ms, accepted_ms) = (message.sent_ms, message.accepted_ms);
                    let row =
                        MessageRow { id, account, device, sender_seq, dedup, sent_ms, accepted_ms, content, reached };
                    self.put_message(&lane.log, message.seq, &row);
                }
                id
            }
        };
        row.digest = row.digest.with(&lane.log, message.seq, stands.as_bytes());
        row.count += 1;
        Ok(())
    }

    /// What the other device knows of an own message that we have too.
    fn raise_reached(&mut self, place: &[u8], there: &MessageRow, told: &HistoryMessage, account: &AccountId) {
        if *account == self.us.account() && there.account == *account && told.reached > there.reached {
            let row = MessageRow { reached: told.reached, ..there.clone() };
            rows::save(&mut self.tx, Table::Messages, place, &row);
        }
    }
}

/// A log of a chunk, as it stands here.
struct Lane {
    conversation: ConversationId,
    kind: Kind,
    log: LogId,
}

impl Lane {
    /// Whether an account may have sent something there.
    fn admits(&self, account: &AccountId, own: &AccountId) -> bool {
        match self.kind {
            Kind::Direct { peer } => account == own || *account == peer,
            Kind::Group => true,
        }
    }
}
