//! What is to be appended: in order, sealed just before it is sent, sent again unchanged until its fate is known.
//!
//! ```text
//! queued ──seal──▶ sealed(g) ──append──▶ accepted(seq) ──seen in the log──▶ gone
//!                     │  ▲
//!                     └──┘ the log has left generation g without it: sealed anew, under the same entry id
//! ```
//!
//! A sealed row and the ratchet step that sealed it are one batch. That a log has left a generation is known from its
//! entries, up to the one that turned; only then may a row be sealed anew (rule DEL-12).

use undertone_wire::frame::{Append, Class, NewEntry, Request};
use undertone_wire::gate::Gate;
use undertone_wire::id::{EntryId, LogId, Seq};
use undertone_wire::limits::{APPEND_ENTRIES_MAX, APPEND_LEN_MAX};

use super::event::{EventRow, Failure};
use super::link::Pending;
use super::rows::{
    self, Change, ConversationRow, Draft, Handover, Item, Kind, LogRow, OutboxRow, PastRow, Phase, Sealed,
    SealedWelcome,
};
use super::step::Step;
use crate::content::status::STATUSES_MAX;
use crate::content::{
    CONTENT_LEN_MAX, Content, MessageId, MessageStatus, Profile, Status, StatusList, Typing, TypingCounter, TypingState,
};
use crate::conversation::{ConversationId, LocalId};
use crate::crypto::random_array;
use crate::envelope::ephemeral::{self, Ephemeral, EphemeralCounter, Signing};
use crate::envelope::{
    DedupId, Delivered, Envelope, EpochEvidence, Evidence, Extensions, Frame, FrameKind, IfUnknown, LogKeys, Parcel,
    ParcelKind, shell,
};
use crate::error::Error;
use crate::group::{self, GroupError, PreparedCommit};
use crate::identity::{AccountId, DeviceId};
use crate::limits::{TYPING_INTERVAL, WELCOME_LEN_MAX};
use crate::store::{Direction, StoreError, Table};

/// What a sealed row brings besides its payload.
#[derive(Default)]
pub(super) struct Carried {
    /// The gate, if it turns the log.
    pub turn: Option<Gate>,
    /// The MLS Welcomes of a commit.
    pub welcomes: Vec<SealedWelcome>,
    /// What a direct turn begins.
    pub handover: Option<Handover>,
    /// The devices whose wraps carry a handshake.
    pub handshakes: Vec<DeviceId>,
}

/// What became of a row that was to be sealed.
#[expect(clippy::large_enum_variant, reason = "one at a time, returned and taken apart")]
pub(super) enum Sealing {
    /// It is sealed for the present generation.
    Ready(Sealed),
    /// It has to wait, and all behind it: what is said after an invitation is meant for the invited too.
    NotYet,
    /// It will never be sent.
    Never(Failure),
    /// There is nothing left to do.
    Nothing,
}

impl Step<'_> {
    /// Puts a message into the outbox.
    pub(super) fn send(&mut self, id: &ConversationId, content: &Content) -> Result<LocalId, Error> {
        let body = content.encode()?;
        if body.len() > CONTENT_LEN_MAX {
            return Err(Error::TooLarge { len: body.len(), len_max: CONTENT_LEN_MAX });
        }
        let message = MessageId::of(id, &self.us.device().account(), &body);
        let ordinal = self.enqueue_frame(
            id,
            Frame::new(FrameKind::MESSAGE, IfUnknown::Keep, body),
            Some(message),
            Class::Normal,
        )?;
        Ok(LocalId::from_u64(ordinal))
    }

    /// Puts a frame into the outbox.
    pub(super) fn enqueue_frame(
        &mut self,
        id: &ConversationId,
        frame: Frame,
        message: Option<MessageId>,
        class: Class,
    ) -> Result<u64, Error> {
        let row = self.conversation(id)?;
        if !matches!(row.phase, Phase::Opening | Phase::Active) {
            return Err(Error::Ended);
        }
        let draft = self.draft(frame, message);
        self.enqueue(id, Item::Envelope(draft), class)
    }

    pub(super) fn draft(&mut self, frame: Frame, message: Option<MessageId>) -> Draft {
        let dedup = DedupId::from_bytes(random_array(self.rng));
        Draft { dedup, seq: None, sent_ms: self.now, frame: frame.encode().into(), message }
    }

    /// Puts anything into the outbox.
    pub(super) fn enqueue(&mut self, id: &ConversationId, item: Item, class: Class) -> Result<u64, Error> {
        let ordinal = self.next_ordinal()?;
        self.put_at(id, ordinal, item, class, None);
        Ok(ordinal)
    }

    pub(super) fn put_at(&mut self, id: &ConversationId, ordinal: u64, item: Item, class: Class, log: Option<LogId>) {
        let entry = EntryId::from_bytes(random_array(self.rng));
        let key = rows::outbox_key(id, ordinal);
        let outbox = OutboxRow { entry, class, item, log, sealed: None, accepted: None };
        rows::save(&mut self.tx, Table::Outbox, &key, &outbox);
        self.tx.put(Table::OutboxIndex, entry.as_bytes(), key);
        self.link.dirty.insert(*id);
    }

    /// Puts a delivery receipt into the outbox, unless an envelope has carried it meanwhile.
    pub(super) fn enqueue_receipt(&mut self, log: LogId) -> Result<(), Error> {
        let row = self.log_row(&log)?;
        let conversation = self.conversation(&row.conversation)?;
        if row.receipt_due < Seq::FIRST || conversation.phase != Phase::Active {
            return Ok(());
        }
        let frame = Frame::new(FrameKind::STATUS, IfUnknown::Ignore, Vec::new());
        let draft = self.draft(frame, None);
        let ordinal = self.next_ordinal()?;
        // To the very log, which need not be the one that lives.
        self.put_at(&row.conversation, ordinal, Item::Envelope(draft), Class::Normal, Some(log));
        Ok(())
    }

    /// Puts the committing of others' proposals into the outbox, unless somebody was faster, or a commit of ours is under
    /// way: whatever becomes of that, it ends the epoch in which they were proposed.
    pub(super) fn enqueue_proposals(&mut self, log: LogId) -> Result<(), Error> {
        let row = self.log_row(&log)?;
        let conversation = self.conversation(&row.conversation)?;
        if conversation.phase != Phase::Active
            || !group::has_pending_proposals(&mut self.tx, log)?
            || group::has_pending_commit(&mut self.tx, log)?
        {
            return Ok(());
        }
        // In front of everything that is queued: a group with a proposal sends no messages.
        let first = self.tx.scan_prefix(Table::Outbox, row.conversation.as_bytes(), Direction::Ascending, 1)?;
        let Some((first, value)) = first.first() else {
            return self.enqueue(&row.conversation, Item::Commit(Change::Proposals), Class::Control).map(|_| ());
        };
        if matches!(rows::decode::<OutboxRow>(value)?.item, Item::Commit(Change::Proposals)) {
            return Ok(());
        }
        let (_, ordinal) = split_key(first)?;
        self.put_at(&row.conversation, ordinal - 1, Item::Commit(Change::Proposals), Class::Control, None);
        Ok(())
    }

    /// After a commit that left us in though we had asked to leave: it was made before our wish was seen, and ended the
    /// epoch for which the wish was. We ask again.
    pub(super) fn ask_again_to_leave(&mut self, id: &ConversationId) -> Result<(), Error> {
        if self.conversation(id)?.phase != Phase::Leaving {
            return Ok(());
        }
        for (_, value) in self.tx.scan_prefix(Table::Outbox, id.as_bytes(), Direction::Ascending, usize::MAX)? {
            if matches!(rows::decode::<OutboxRow>(&value)?.item, Item::Leave) {
                return Ok(());
            }
        }
        self.enqueue(id, Item::Leave, Class::Control).map(|_| ())
    }

    /// Queues a new generation secret for a direct conversation.
    pub(super) fn turn_direct(&mut self, id: &ConversationId) -> Result<(), Error> {
        let row = self.conversation(id)?;
        if row.kind == Kind::Group {
            return Err(Error::NotADirect);
        }
        if row.phase != Phase::Active {
            return Err(Error::Ended);
        }
        let log = row.log.ok_or(StoreError::Corrupt)?;
        let wanted_at = Some(self.log_row(&log)?.generation);
        let ordinal = self.next_ordinal()?;
        self.put_at(id, ordinal, Item::Turn { wanted_at }, Class::Control, Some(log));
        Ok(())
    }

    /// Puts a turn in front of everything else that goes to a direct log, if the device lists are newer than those of its
    /// generation (rule DEL-71). A log that is only read to its end is turned when there is something to put into it.
    fn turn_to_newest(
        &mut self,
        id: &ConversationId,
        conversation: &ConversationRow,
        log: LogId,
        peer: AccountId,
    ) -> Result<(), Error> {
        if self.roster(&log)?.names() == self.newest_roster(&peer)?.names() {
            return Ok(());
        }
        let queue = self.tx.scan_prefix(Table::Outbox, id.as_bytes(), Direction::Ascending, usize::MAX)?;
        let mut has_work = conversation.log == Some(log);
        for (_, value) in &queue {
            let outbox: OutboxRow = rows::decode(value)?;
            if outbox.log.or(conversation.log) == Some(log) {
                match outbox.item {
                    Item::Turn { .. } if outbox.accepted.is_none() => return Ok(()),
                    _ => has_work = true,
                }
            }
        }
        if !has_work {
            return Ok(());
        }
        let ordinal = match queue.first() {
            Some((first, _)) => split_key(first)?.1 - 1,
            None => self.next_ordinal()?,
        };
        self.put_at(id, ordinal, Item::Turn { wanted_at: None }, Class::Control, Some(log));
        Ok(())
    }

    /// Sends what a conversation has to send, as far as it can be sent now.
    pub(super) fn pump(&mut self, id: &ConversationId) -> Result<(), Error> {
        let Some(conversation) = rows::load::<ConversationRow>(&self.tx, Table::Conversations, id.as_bytes())? else {
            return Ok(());
        };
        if !conversation.phase.is_in() {
            return Ok(());
        }
        if let Kind::Direct { peer } = conversation.kind {
            let us = self.us.account();
            if !self.is_listed() || self.is_held(&peer)? || self.is_held(&us)? {
                return Ok(());
            }
            if self.is_successor_due(&conversation)? {
                return self.begin_successor(*id, conversation, peer);
            }
        }
        for log in conversation.logs() {
            let row = self.log_row(&log)?;
            if conversation.log != Some(log) && !row.standing.is_inside() {
                self.move_on(id, log)?;
                continue;
            }
            if self.link.may_append(&log, &row, self.now) {
                self.pump_log(id, &conversation, log, row)?;
            }
        }
        Ok(())
    }

    /// What was to go to a log into which nothing goes any more goes to the one that lives: none of it stands in the old
    /// one, which was read up to its last turn (rule DEL-86).
    fn move_on(&mut self, id: &ConversationId, log: LogId) -> Result<(), Error> {
        for (key, value) in self.tx.scan_prefix(Table::Outbox, id.as_bytes(), Direction::Ascending, usize::MAX)? {
            let mut outbox: OutboxRow = rows::decode(&value)?;
            if outbox.log != Some(log) {
                continue;
            }
            match &mut outbox.item {
                // It says what was received of that very log, or turns it.
                Item::Envelope(draft) if is_delivery_receipt(draft)? => self.forget(&key, &outbox),
                Item::Envelope(draft) => {
                    (draft.seq, outbox.log) = (None, None);
                    self.rename_entry(&key, outbox)?;
                    self.link.dirty.insert(*id);
                }
                Item::Turn { .. } | Item::Commit(_) | Item::Leave => self.forget(&key, &outbox),
            }
        }
        Ok(())
    }

    /// Sends what goes to one log: what was sealed for it, and, if it is the one that lives, what is not sealed yet.
    fn pump_log(
        &mut self,
        id: &ConversationId,
        conversation: &ConversationRow,
        log: LogId,
        mut row: LogRow,
    ) -> Result<(), Error> {
        if self.is_turn_due(conversation.kind, &row) && conversation.log == Some(log) {
            row.turned_ms = self.now;
            row.save(&mut self.tx, &log);
            self.turn_direct(id)?;
        }
        if let Kind::Direct { peer } = conversation.kind {
            self.turn_to_newest(id, conversation, log, peer)?;
        }
        let queue = self.tx.scan_prefix(Table::Outbox, id.as_bytes(), Direction::Ascending, 2 * APPEND_ENTRIES_MAX)?;
        let mut entries: Vec<NewEntry> = Vec::new();
        let mut keys = Vec::new();
        let mut payloads_len = 0;
        for (key, value) in queue {
            let mut outbox: OutboxRow = rows::decode(&value)?;
            let is_turn = matches!(outbox.item, Item::Turn { .. } | Item::Commit(_));
            if outbox.accepted.is_some() || outbox.log.or(conversation.log) != Some(log) {
                continue;
            }
            if is_turn && !entries.is_empty() {
                break;
            }
            let sealed = match self.seal(&log, &mut row, conversation, &mut outbox)? {
                Sealing::Ready(sealed) => sealed,
                Sealing::NotYet => break,
                Sealing::Nothing => {
                    self.forget(&key, &outbox);
                    continue;
                }
                Sealing::Never(failure) => {
                    self.give_up(&key, failure)?;
                    continue;
                }
            };
            let (payload, turn) = (sealed.payload.clone(), sealed.turn);
            outbox.log = Some(log);
            outbox.sealed = Some(sealed);
            rows::save(&mut self.tx, Table::Outbox, &key, &outbox);
            payloads_len += payload.as_slice().len();
            if payloads_len > APPEND_LEN_MAX {
                break;
            }
            entries.push(NewEntry { id: outbox.entry, class: outbox.class, ttl_s: 0, payload, turn });
            keys.push(key);
            if is_turn || entries.len() == APPEND_ENTRIES_MAX {
                break;
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
        row.save(&mut self.tx, &log);
        self.link.logs.entry(log).or_default().is_busy = true;
        let append = Append { log, generation: row.generation, entries };
        self.request(Pending::Append { log, rows: keys }, Request::Append(append));
        Ok(())
    }

    /// Seals a row for the present generation, unless it is.
    fn seal(
        &mut self,
        log: &LogId,
        row: &mut LogRow,
        conversation: &ConversationRow,
        outbox: &mut OutboxRow,
    ) -> Result<Sealing, Error> {
        if let Some(sealed) = &outbox.sealed
            && sealed.generation == row.generation
        {
            return Ok(Sealing::Ready(sealed.clone()));
        }
        if let Item::Envelope(draft) = &mut outbox.item {
            draft.seq.get_or_insert(row.next_seq);
        }
        let mark = self.mark();
        let sealing = self.seal_anew(log, row, conversation, outbox)?;
        if matches!(sealing, Sealing::Never(_)) {
            // Such as a commit that is staged, and then too large for a parcel.
            self.undo_to(mark);
        }
        // Only what is sealed has taken a number and carried a receipt.
        if let (Sealing::Ready(_), Item::Envelope(Draft { seq: Some(seq), .. })) = (&sealing, &outbox.item) {
            row.next_seq = row.next_seq.max(seq.next());
            row.receipt_due = Seq::from_u64(0);
        }
        Ok(sealing)
    }

    fn seal_anew(
        &mut self,
        log: &LogId,
        row: &LogRow,
        conversation: &ConversationRow,
        outbox: &OutboxRow,
    ) -> Result<Sealing, Error> {
        // It lost its race, or its place: what it staged is taken back, the intent is examined anew.
        if matches!(outbox.item, Item::Commit(_)) && group::has_pending_commit(&mut self.tx, *log)? {
            group::discard_pending(&mut self.tx, *log)?;
        }
        let evidence = self.evidence(log, row, conversation.kind)?;
        let mark = self.mark();
        match (&outbox.item, conversation.kind) {
            (Item::Envelope(draft), Kind::Direct { peer }) => {
                let plaintext = self.envelope_of(draft, row)?;
                self.seal_direct(log, row, peer, outbox, evidence, &plaintext)
            }
            (Item::Turn { wanted_at }, Kind::Direct { peer }) => {
                self.seal_turn(log, row, peer, outbox, evidence, *wanted_at)
            }
            (Item::Envelope(draft), Kind::Group) => {
                if group::has_pending_proposals(&mut self.tx, *log)? {
                    self.enqueue_proposals(*log)?;
                    return Ok(Sealing::NotYet);
                }
                let plaintext = self.envelope_of(draft, row)?;
                match group::seal(&mut self.tx, self.us, *log, &evidence.to_bytes(), &plaintext, self.rng) {
                    Ok(body) => {
                        let parcel = Parcel { kind: ParcelKind::GroupMessage, evidence, body };
                        self.sealed(log, row, outbox, &parcel, Carried::default())
                    }
                    Err(error) => never(error),
                }
            }
            (Item::Leave, Kind::Group) => match group::leave(&mut self.tx, self.us, *log, &evidence.to_bytes()) {
                Ok(body) => {
                    let parcel = Parcel { kind: ParcelKind::GroupProposal, evidence, body };
                    self.sealed(log, row, outbox, &parcel, Carried::default())
                }
                Err(error) => never(error),
            },
            (Item::Commit(change), Kind::Group) => {
                let prepared = match self.prepare(log, change, &evidence)? {
                    Ok(prepared) => prepared,
                    Err(sealing) => {
                        self.undo_to(mark);
                        return Ok(sealing);
                    }
                };
                let welcomes = prepared
                    .welcomes
                    .into_iter()
                    .map(|welcome| SealedWelcome { device: welcome.to.device, welcome: welcome.bytes.into() })
                    .collect();
                let next = row.generation.next();
                let secret = group::pending_generation_secret(&mut self.tx, *log, next)?;
                let gate = LogKeys::derive(&secret, *log, next).gate();
                let parcel = Parcel { kind: ParcelKind::GroupCommit, evidence, body: prepared.commit };
                self.sealed(log, row, outbox, &parcel, Carried { turn: Some(gate), welcomes, ..Carried::default() })
            }
            _ => Ok(Sealing::Never(Failure::Refused)),
        }
    }

    /// Stages a commit.
    fn prepare(
        &mut self,
        log: &LogId,
        change: &Change,
        evidence: &Evidence,
    ) -> Result<Result<PreparedCommit, Sealing>, Error> {
        let aad = evidence.to_bytes();
        let prepared = match change {
            Change::Add { wanted, .. } if !wanted.is_empty() => return Ok(Err(Sealing::NotYet)),
            Change::Add { found, .. } => {
                let members = group::members(&mut self.tx, *log)?;
                let mut packages = Vec::new();
                for invitee in found {
                    if members.iter().any(|member| member.device == invitee.device) {
                        continue;
                    }
                    match group::verify_key_package(invitee.key_package.as_slice(), self.now) {
                        Ok(package) => packages.push(package),
                        Err(GroupError::Store { error }) => return Err(error.into()),
                        Err(_) => return Ok(Err(Sealing::Never(Failure::BadKeys))),
                    }
                }
                if packages.is_empty() {
                    return Ok(Err(Sealing::Nothing));
                }
                group::add(&mut self.tx, self.us, *log, &packages, &aad, self.rng)
            }
            Change::Remove { accounts } => {
                let members = group::members(&mut self.tx, *log)?;
                let present: Vec<_> = accounts
                    .iter()
                    .filter(|account| members.iter().any(|member| member.account == **account))
                    .copied()
                    .collect();
                if present.is_empty() {
                    return Ok(Err(Sealing::Nothing));
                }
                group::remove(&mut self.tx, self.us, *log, &present, &aad, self.rng)
            }
            Change::RemoveDevices { devices } => {
                let members = group::members(&mut self.tx, *log)?;
                let is_there = |device: &&DeviceId| members.iter().any(|member| member.device == **device);
                let present: Vec<_> = devices.iter().filter(is_there).copied().collect();
                if present.is_empty() {
                    return Ok(Err(Sealing::Nothing));
                }
                group::remove_devices(&mut self.tx, self.us, *log, &present, &aad, self.rng)
            }
            Change::Rename { name } => {
                let name = String::from_utf8(name.as_slice().to_vec()).map_err(|_| StoreError::Corrupt)?;
                let Ok(policy) = group::policy(&mut self.tx, *log)?.with_name(&name) else {
                    return Ok(Err(Sealing::Never(Failure::Refused)));
                };
                group::set_policy(&mut self.tx, self.us, *log, &policy, &aad, self.rng)
            }
            Change::Proposals => {
                if !group::has_pending_proposals(&mut self.tx, *log)? {
                    return Ok(Err(Sealing::Nothing));
                }
                match group::commit_pending(&mut self.tx, self.us, *log, &aad, self.rng) {
                    Ok(prepared) => Ok(prepared),
                    Err(GroupError::Store { error }) => return Err(error.into()),
                    // Somebody else will: to give up would be to try again at once, for ever.
                    Err(_) => return Ok(Err(Sealing::NotYet)),
                }
            }
        };
        Ok(match prepared {
            // Whoever could not be welcomed is not added.
            Ok(prepared) if prepared.welcomes.iter().any(|welcome| welcome.bytes.len() > WELCOME_LEN_MAX) => {
                Err(Sealing::Never(Failure::TooLarge))
            }
            Ok(prepared) => Ok(prepared),
            Err(GroupError::Store { error }) => return Err(error.into()),
            Err(GroupError::Forbidden { .. }) => Err(Sealing::Never(Failure::Forbidden)),
            Err(_) => Err(Sealing::Never(Failure::Overtaken)),
        })
    }

    /// Closes the shell around a parcel.
    pub(super) fn sealed(
        &mut self,
        log: &LogId,
        row: &LogRow,
        outbox: &OutboxRow,
        parcel: &Parcel,
        carried: Carried,
    ) -> Result<Sealing, Error> {
        let keys = self.keys(log, row)?;
        match shell::seal(&keys.outer, *log, row.generation, outbox.entry, outbox.class, parcel, self.rng) {
            Ok(payload) => {
                let Carried { turn, welcomes, handover, handshakes } = carried;
                let (generation, payload) = (row.generation, payload.into());
                Ok(Sealing::Ready(Sealed { generation, payload, turn, welcomes, handover, handshakes }))
            }
            Err(_) => Ok(Sealing::Never(Failure::Refused)),
        }
    }

    /// Completes an envelope with what we have received.
    fn envelope_of(&mut self, draft: &Draft, row: &LogRow) -> Result<Vec<u8>, Error> {
        let frame = Frame::decode(draft.frame.as_slice()).map_err(|_| StoreError::Corrupt)?;
        let delivered = Delivered::new(row.seq, row.missing.iter().copied());
        let seq = draft.seq.ok_or(StoreError::Corrupt)?;
        let (dedup, sent_ms, extensions) = (draft.dedup, draft.sent_ms, Extensions::NONE);
        Ok(Envelope { dedup, seq, sent_ms, delivered, frame, extensions }.encode())
    }

    /// What we have seen of the log, for others to compare.
    fn evidence(&mut self, log: &LogId, row: &LogRow, kind: Kind) -> Result<Evidence, Error> {
        let epoch = match kind {
            Kind::Direct { .. } => EpochEvidence::NONE,
            Kind::Group => group::epoch_evidence(&mut self.tx, *log)?,
        };
        Ok(Evidence { seq: row.seq, head: row.head, epoch })
    }

    /// The relay has made a row durable.
    pub(super) fn accepted(&mut self, key: &[u8], place: Seq) -> Result<(), Error> {
        let Some(mut outbox) = rows::load::<OutboxRow>(&self.tx, Table::Outbox, key)? else { return Ok(()) };
        if outbox.accepted.replace(place).is_some() {
            return Ok(());
        }
        rows::save(&mut self.tx, Table::Outbox, key, &outbox);
        if let Item::Envelope(Draft { message: Some(message), .. }) = outbox.item {
            let (conversation, local) = split_key(key)?;
            self.event(EventRow::Sent { conversation, message, local, place })?;
        }
        Ok(())
    }

    /// Gives a row another entry id: the relay keeps other bytes under the first.
    pub(super) fn rename_entry(&mut self, key: &[u8], mut outbox: OutboxRow) -> Result<(), Error> {
        self.tx.delete(Table::OutboxIndex, outbox.entry.as_bytes());
        outbox.entry = EntryId::from_bytes(random_array(self.rng));
        outbox.sealed = None;
        outbox.accepted = None;
        self.tx.put(Table::OutboxIndex, outbox.entry.as_bytes(), key.to_vec());
        rows::save(&mut self.tx, Table::Outbox, key, &outbox);
        Ok(())
    }

    /// Drops a row that will never be sent, and says so.
    pub(super) fn give_up(&mut self, key: &[u8], failure: Failure) -> Result<(), Error> {
        let Some(outbox) = rows::load::<OutboxRow>(&self.tx, Table::Outbox, key)? else { return Ok(()) };
        self.forget(key, &outbox);
        let (conversation, _) = split_key(key)?;
        let mut row = self.conversation(&conversation)?;
        match (&outbox.item, row.log) {
            // What it staged would be in the way of every later commit.
            (Item::Commit(_), Some(log)) if outbox.sealed.is_some() => group::discard_pending(&mut self.tx, log)?,
            (Item::Leave, _) if row.phase == Phase::Leaving => {
                row.phase = Phase::Active;
                self.save_conversation(&conversation, &row);
            }
            _ => {}
        }
        self.event(EventRow::Failed { conversation, account: None, failure })
    }

    fn forget(&mut self, key: &[u8], outbox: &OutboxRow) {
        self.tx.delete(Table::Outbox, key);
        self.tx.delete(Table::OutboxIndex, outbox.entry.as_bytes());
    }

    /// Drops everything that a conversation still had to send.
    pub(super) fn drop_outbox(&mut self, id: &ConversationId) -> Result<(), Error> {
        for (key, value) in self.tx.scan_prefix(Table::Outbox, id.as_bytes(), Direction::Ascending, usize::MAX)? {
            let outbox: OutboxRow = rows::decode(&value)?;
            self.forget(&key, &outbox);
        }
        Ok(())
    }

    /// Queues read receipts for everything up to `through` that has not had one.
    pub(super) fn mark_read(&mut self, id: &ConversationId, through: &MessageId) -> Result<(), Error> {
        let conversation = self.conversation(id)?;
        let place = self.tx.get(Table::MessageIndex, through.as_bytes())?.ok_or(Error::UnknownMessage)?;
        let (log, seq) = rows::split_place(&place)?;
        if self.conversation_of(&log)? != Some(*id) {
            return Err(Error::UnknownMessage);
        }
        if LogRow::load(&self.tx, &log)?.is_none() {
            // What we only have the history of was read elsewhere, or was not.
            return Ok(());
        }
        let mut statuses = self.read_in(&log, seq)?;
        if conversation.log == Some(log) {
            // What stands in a log that lost at first contact is shown before everything in the one that lives.
            for lost in &conversation.old_logs {
                let through = self.log_row(&lost.log)?.seq;
                statuses.extend(self.read_in(&lost.log, through)?);
            }
        }
        if conversation.phase != Phase::Active {
            return Ok(());
        }
        for statuses in statuses.chunks(STATUSES_MAX) {
            let body = StatusList::new(statuses.to_vec())?.encode();
            self.enqueue_frame(id, Frame::new(FrameKind::STATUS, IfUnknown::Ignore, body), None, Class::Normal)?;
        }
        Ok(())
    }

    /// Moves the mark of what is read in one log, and lists the messages of others that it passes.
    fn read_in(&mut self, log: &LogId, through: Seq) -> Result<Vec<MessageStatus>, Error> {
        let mut row = self.log_row(log)?;
        let mut statuses = Vec::new();
        let elsewhere = PastRow::load(&self.tx, log)?.map_or(row.read_through, |past| past.read_through);
        let before = row.read_through.max(elsewhere);
        if through <= before {
            return Ok(statuses);
        }
        let us = self.us.device().account();
        let (from, to) = (rows::place_key(log, before.next()), rows::place_key(log, through.next()));
        for (_, value) in self.tx.scan(Table::Messages, &from, &to, Direction::Ascending, usize::MAX)? {
            let message: rows::MessageRow = rows::decode(&value)?;
            if message.account != us {
                statuses.push(MessageStatus { message: message.id, status: Status::READ });
            }
        }
        row.read_through = through;
        row.save(&mut self.tx, log);
        Ok(statuses)
    }

    /// Queues our name for the others.
    pub(super) fn enqueue_profile(&mut self, id: &ConversationId) -> Result<(), Error> {
        let body = Profile { name: self.us.name().clone() }.encode();
        self.enqueue_frame(id, Frame::new(FrameKind::PROFILE, IfUnknown::Ignore, body), None, Class::Normal).map(|_| ())
    }

    /// Says to who is there that we are typing.
    pub(super) fn typing(&mut self, id: &ConversationId, state: TypingState) -> Result<(), Error> {
        let conversation = self.conversation(id)?;
        let Some(log) = conversation.log.filter(|_| conversation.phase == Phase::Active) else { return Ok(()) };
        let row = self.log_row(&log)?;
        if !self.link.may_append_passing(&log, &row) {
            return Ok(());
        }
        if let Some((at, said)) = self.link.typing.get(id)
            && *said == state
            && self.now.since(*at) < TYPING_INTERVAL
        {
            return Ok(());
        }
        self.link.typing.insert(*id, (self.now, state));
        let session_start_ms = *self.link.session_start.get_or_insert(self.now);
        self.link.passing_count += 1;
        let counter = TypingCounter::from_u64(self.link.passing_count);
        let typing = Typing { state, counter, topic: None };
        let message = Ephemeral {
            device: self.us.device().id(),
            session_start_ms,
            counter: EphemeralCounter::from_u64(self.link.passing_count),
            frame: Frame::new(FrameKind::TYPING, IfUnknown::Ignore, typing.encode()),
        };
        let keys = self.keys(&log, &row)?;
        let signing = match conversation.kind {
            Kind::Direct { .. } => Signing::Unsigned,
            Kind::Group => Signing::By(self.us.signing_key()),
        };
        let generation = row.generation;
        if let Ok(payload) = ephemeral::seal(&keys.ephemeral, log, generation, &message, signing, self.rng) {
            let payload = payload.into();
            self.request_at_once(Pending::Unwatched, Request::Ephemeral { log, generation, payload });
        }
        Ok(())
    }
}

fn never(error: GroupError) -> Result<Sealing, Error> {
    match error {
        GroupError::Store { error } => Err(error.into()),
        GroupError::Forbidden { .. } => Ok(Sealing::Never(Failure::Forbidden)),
        _ => Ok(Sealing::Never(Failure::Refused)),
    }
}

/// Whether an envelope says nothing but what it says by itself of its log.
fn is_delivery_receipt(draft: &Draft) -> Result<bool, Error> {
    let frame = Frame::decode(draft.frame.as_slice()).map_err(|_| StoreError::Corrupt)?;
    Ok(frame.kind() == FrameKind::STATUS && frame.body().is_empty())
}

/// The conversation and the ordinal of an outbox row.
pub(super) fn split_key(key: &[u8]) -> Result<(ConversationId, u64), Error> {
    let (conversation, ordinal) = key.split_first_chunk::<32>().ok_or(StoreError::Corrupt)?;
    let ordinal = u64::from_be_bytes(ordinal.try_into().map_err(|_| StoreError::Corrupt)?);
    Ok((ConversationId::from_bytes(*conversation), ordinal))
}
