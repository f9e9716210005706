//! What an app reads: computed from rows, on the spot.

use std::collections::BTreeMap;

use undertone_wire::id::{LogId, Seq};

use super::event::{Event, EventRow};
use super::roster::Roster;
use super::rows::{
    self, ContactRow, ConversationRow, Draft, Item, Kind, LogRow, MessageRow, OutboxRow, Phase, place_key,
};
use crate::content::Content;
use crate::conversation::{
    Conversation, ConversationId, ConversationKind, ConversationState, LocalId, Member, Message, MessageStatus,
};
use crate::envelope::history::HistoryReached;
use crate::envelope::{Delivered, Frame};
use crate::error::Error;
use crate::group;
use crate::identity::{AccountCertificate, AccountId, Device, DeviceId, LocalIdentity, SafetyNumber};
use crate::store::{Direction, Overlay, StoreError, StoreView, Table, Tx};

/// Reading, in a step or outside one.
pub(super) struct Query<'q, 's> {
    tx: &'q mut Tx<'s>,
}

/// Runs a reading outside a step.
pub(super) fn reading<R>(
    store: &dyn StoreView,
    overlay: &Overlay,
    read: impl FnOnce(&mut Query<'_, '_>) -> Result<R, Error>,
) -> Result<R, Error> {
    let mut tx = Tx::new(store, overlay);
    read(&mut Query { tx: &mut tx })
}

/// A log's members besides us, for the status of messages.
pub(super) struct Others {
    devices: Vec<Other>,
}

/// A device of somebody else.
struct Other {
    account: AccountId,
    device: DeviceId,
    /// The entry with which it came: nothing up to there is for it.
    joined: Seq,
}

impl<'q, 's> Query<'q, 's> {
    pub(super) fn over(tx: &'q mut Tx<'s>) -> Self {
        Self { tx }
    }

    /// The rows that are read.
    pub(super) fn rows(&self) -> &Tx<'s> {
        self.tx
    }

    /// Resolves a stored event; none if what it refers to is gone.
    pub(super) fn event(&mut self, us: &LocalIdentity, row: &EventRow) -> Result<Option<Event>, Error> {
        Ok(Some(match row.clone() {
            EventRow::Contact { account } => match self.contact(&account)? {
                Some(contact) => Event::Contact { account, name: contact.name(), conversation: contact.conversation },
                None => return Ok(None),
            },
            EventRow::Ready { conversation } => Event::Ready { conversation },
            EventRow::Message { log, seq } => {
                let Some(row) = rows::load::<MessageRow>(self.tx, Table::Messages, &place_key(&log, seq))? else {
                    return Ok(None);
                };
                let Some(of) = LogRow::load(self.tx, &log)? else { return Ok(None) };
                let others = self.others(us, &of.conversation, &log)?;
                Event::Message(Box::new(self.message(us, &of.conversation, &log, seq, row, &others)?))
            }
            EventRow::Sent { conversation, message, local, place } => {
                Event::Sent { conversation, message, local: LocalId::from_u64(local), place }
            }
            EventRow::Delivered { conversation, by, through } => Event::Delivered { conversation, by, through },
            EventRow::Read { conversation, message, by } => Event::Read { conversation, message, by },
            EventRow::GroupChanged { conversation, by, added, removed, name } => {
                let name = name.map(|name| String::from_utf8_lossy(name.as_slice()).into_owned());
                Event::GroupChanged { conversation, by, added, removed, name }
            }
            EventRow::Removed { conversation, by } => Event::Removed { conversation, by },
            EventRow::Undecryptable { conversation, place, reason } => {
                Event::Undecryptable { conversation, place, reason }
            }
            EventRow::Gap { conversation, sender, from, to } => Event::Gap { conversation, sender, from, to },
            EventRow::Suspicion { conversation, place, suspicion } => {
                Event::Suspicion { conversation, place, suspicion }
            }
            EventRow::DeviceLinked { account, device } => Event::DeviceLinked { account, device },
            EventRow::SendingHeld { account, because } => Event::SendingHeld { account, because },
            EventRow::Trouble { account, device, trouble } => Event::Trouble { account, device, trouble },
            EventRow::HistorySent { to, count } => Event::HistorySent { to, count },
            EventRow::HistoryComplete { from, count } => Event::HistoryComplete { from, count },
            EventRow::HistoryFailed { with, because } => Event::HistoryFailed { with, because },
            EventRow::DeviceRemoved { account, device } => Event::DeviceRemoved { account, device },
            EventRow::Failed { conversation, account, failure } => Event::Failed { conversation, account, failure },
        }))
    }

    pub(super) fn conversations(&mut self, us: &LocalIdentity) -> Result<Vec<Conversation>, Error> {
        let rows = self.tx.scan_prefix(Table::Conversations, &[], Direction::Ascending, usize::MAX)?;
        let mut found = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            let id = ConversationId::from_bytes(key.as_slice().try_into().map_err(|_| StoreError::Corrupt)?);
            let row: ConversationRow = rows::decode(&value)?;
            found.push((row.created_ms, self.described(us, id, &row)?));
        }
        found.sort_by(|(left, _), (right, _)| right.cmp(left));
        Ok(found.into_iter().map(|(_, conversation)| conversation).collect())
    }

    pub(super) fn conversation(&mut self, us: &LocalIdentity, id: &ConversationId) -> Result<Conversation, Error> {
        let row = self.row(id)?;
        self.described(us, *id, &row)
    }

    fn described(
        &mut self,
        us: &LocalIdentity,
        id: ConversationId,
        row: &ConversationRow,
    ) -> Result<Conversation, Error> {
        let own = us.device().account();
        let (kind, name, accounts) = match (row.kind, row.log) {
            (Kind::Direct { peer }, _) => {
                let name = self.contact(&peer)?.map(|contact| contact.name()).unwrap_or_default();
                (ConversationKind::Direct { peer }, name, vec![own, peer])
            }
            (Kind::Group, Some(log)) => {
                let name = String::from_utf8_lossy(row.name.as_slice()).into_owned();
                let accounts = group::members(self.tx, log).unwrap_or_default();
                (ConversationKind::Group, name, accounts.into_iter().map(|member| member.account).collect())
            }
            (Kind::Group, None) => return Err(StoreError::Corrupt.into()),
        };
        let mut accounts = accounts;
        accounts.sort_unstable();
        accounts.dedup();
        let members = accounts
            .into_iter()
            .map(|account| Ok(Member { account, name: self.name(us, &account)? }))
            .collect::<Result<_, Error>>()?;
        let state = match row.phase {
            Phase::Opening => ConversationState::Opening,
            Phase::Active => ConversationState::Active,
            Phase::Left | Phase::Leaving => ConversationState::Left,
            Phase::Removed => ConversationState::Removed,
            Phase::Failed => ConversationState::Failed,
            Phase::Past => ConversationState::Past,
        };
        let outbox = self.tx.scan_prefix(Table::Outbox, id.as_bytes(), Direction::Ascending, usize::MAX)?;
        let mut unsent_count = 0;
        for (_, value) in &outbox {
            unsent_count += usize::from(rows::decode::<OutboxRow>(value)?.accepted.is_none());
        }
        Ok(Conversation { id, kind, name, state, members, unsent_count })
    }

    /// What an account calls itself, as far as we know.
    fn name(&mut self, us: &LocalIdentity, account: &AccountId) -> Result<Option<String>, Error> {
        if *account == us.device().account() {
            return Ok(Some(us.name().as_str().to_owned()));
        }
        Ok(self.contact(account)?.map(|contact| contact.name()).filter(|name| !name.is_empty()))
    }

    pub(super) fn history(
        &mut self,
        us: &LocalIdentity,
        id: &ConversationId,
        before: Option<&Message>,
        limit: usize,
    ) -> Result<Vec<Message>, Error> {
        let row = self.row(id)?;
        let mut newest_first = Vec::new();
        // What had no place when it was read may have one now.
        let mut placed = match before {
            Some(before) => self.tx.get(Table::MessageIndex, before.id.as_bytes())?,
            None => None,
        };
        if placed.is_none() {
            newest_first.extend(self.unplaced(us, id, before, limit)?);
        }
        for log in row.shown() {
            if newest_first.len() >= limit {
                break;
            }
            let to = match &placed {
                Some(at) if !at.starts_with(log.as_bytes()) => continue,
                Some(at) => at.to_vec(),
                None => place_key(&log, Seq::from_u64(u64::MAX)),
            };
            // A page that began in one log goes on with the whole of those before it.
            placed = None;
            let from = place_key(&log, Seq::from_u64(0));
            let others = self.others(us, id, &log)?;
            let room = limit - newest_first.len();
            for (key, value) in self.tx.scan(Table::Messages, &from, &to, Direction::Descending, room)? {
                newest_first.push(self.message(us, id, &log, seq_of(&key)?, rows::decode(&value)?, &others)?);
            }
        }
        newest_first.truncate(limit);
        newest_first.reverse();
        Ok(newest_first)
    }

    /// Our own messages that have no place yet, newest first.
    fn unplaced(
        &mut self,
        us: &LocalIdentity,
        id: &ConversationId,
        before: Option<&Message>,
        limit: usize,
    ) -> Result<Vec<Message>, Error> {
        let mut found = Vec::new();
        for (_, value) in self.tx.scan_prefix(Table::Outbox, id.as_bytes(), Direction::Descending, usize::MAX)? {
            let outbox: OutboxRow = rows::decode(&value)?;
            let Item::Envelope(Draft { message: Some(message), sent_ms, frame, .. }) = outbox.item else { continue };
            let frame = Frame::decode(frame.as_slice()).map_err(|_| StoreError::Corrupt)?;
            found.push(Message {
                id: message,
                conversation: *id,
                place: None,
                account: us.device().account(),
                device: us.device().id(),
                sent: sent_ms,
                accepted: None,
                content: Content::decode(frame.body()).map_err(|_| StoreError::Corrupt)?,
                status: if outbox.accepted.is_some() { MessageStatus::Sent } else { MessageStatus::Pending },
            });
        }
        let skipped = before.and_then(|before| found.iter().position(|message| message.id == before.id));
        Ok(found.into_iter().skip(skipped.map_or(0, |at| at + 1)).take(limit).collect())
    }

    fn message(
        &mut self,
        us: &LocalIdentity,
        id: &ConversationId,
        log: &LogId,
        seq: Seq,
        row: MessageRow,
        others: &Others,
    ) -> Result<Message, Error> {
        let is_ours = row.account == us.device().account();
        let status = if is_ours { self.status(log, seq, &row, others)? } else { MessageStatus::Delivered };
        Ok(Message {
            id: row.id,
            conversation: *id,
            place: Some(seq),
            account: row.account,
            device: row.device,
            sent: row.sent_ms,
            accepted: Some(row.accepted_ms),
            content: Content::decode(row.content.as_slice()).map_err(|_| StoreError::Corrupt)?,
            status,
        })
    }

    /// How far a placed message of ours is.
    pub(super) fn status(
        &mut self,
        log: &LogId,
        seq: Seq,
        row: &MessageRow,
        others: &Others,
    ) -> Result<MessageStatus, Error> {
        let told = match row.reached {
            HistoryReached::Untold => MessageStatus::Sent,
            HistoryReached::Delivered => MessageStatus::Delivered,
            HistoryReached::Read => return Ok(MessageStatus::Read),
        };
        // Of each account, whether one of its devices has it.
        let mut delivered: BTreeMap<AccountId, bool> = BTreeMap::new();
        for other in others.devices.iter().filter(|other| other.joined < seq) {
            let device = rows::device_key(log, &other.device);
            let told: Option<Delivered> = rows::load(self.tx, Table::Receipts, &[b"d", device.as_slice()].concat())?;
            *delivered.entry(other.account).or_default() |= told.is_some_and(|told| told.covers(seq));
        }
        let mut is_read = !delivered.is_empty();
        for account in delivered.keys() {
            let key = [b"r", row.id.as_bytes().as_slice(), account.as_bytes()].concat();
            is_read = is_read && self.tx.get(Table::Receipts, &key)?.is_some();
        }
        let is_delivered = !delivered.is_empty() && delivered.values().all(|has| *has);
        Ok(match (is_read, is_delivered) {
            (true, _) => MessageStatus::Read,
            (false, true) => MessageStatus::Delivered,
            (false, false) => told,
        })
    }

    pub(super) fn others(&mut self, us: &LocalIdentity, id: &ConversationId, log: &LogId) -> Result<Others, Error> {
        let own = us.device();
        Ok(match self.row(id)?.kind {
            Kind::Direct { peer } => {
                let roster = Roster::load(self.tx, log)?;
                let listed = roster.iter().flat_map(Roster::devices).map(|(_, device)| device);
                let theirs = listed.filter(|device| device.account() == peer);
                let other = |device: &Device| Other { account: peer, device: device.id(), joined: Seq::from_u64(0) };
                Others { devices: theirs.map(other).collect() }
            }
            Kind::Group => {
                let mut devices = Vec::new();
                for group::Member { account, device, .. } in group::members(self.tx, *log).unwrap_or_default() {
                    if account != own.account() {
                        let key = rows::joined_key(log, &device);
                        let joined = rows::load(self.tx, Table::Receipts, &key)?.unwrap_or(Seq::from_u64(0));
                        devices.push(Other { account, device, joined });
                    }
                }
                Others { devices }
            }
        })
    }

    pub(super) fn safety_number(&mut self, us: &LocalIdentity, account: &AccountId) -> Result<SafetyNumber, Error> {
        let contact = self.contact(account)?.ok_or(Error::UnknownAccount)?;
        let theirs = AccountCertificate::decode(contact.certificate.as_slice()).map_err(|_| StoreError::Corrupt)?;
        Ok(SafetyNumber::of(us.account_certificate(), &theirs))
    }

    pub(super) fn log_of(&mut self, id: &ConversationId) -> Result<Option<LogId>, Error> {
        Ok(self.row(id)?.log)
    }

    fn row(&mut self, id: &ConversationId) -> Result<ConversationRow, Error> {
        rows::load(self.tx, Table::Conversations, id.as_bytes())?.ok_or(Error::UnknownConversation)
    }

    fn contact(&mut self, account: &AccountId) -> Result<Option<ContactRow>, Error> {
        Ok(rows::load(self.tx, Table::Contacts, account.as_bytes())?)
    }
}

/// The place at the end of a key.
fn seq_of(key: &[u8]) -> Result<Seq, Error> {
    let seq = key.last_chunk::<8>().ok_or(StoreError::Corrupt)?;
    Ok(Seq::from_u64(u64::from_be_bytes(*seq)))
}
