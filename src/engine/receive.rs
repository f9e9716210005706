//! Entries of logs: in order, each one checked against the chain, opened on a candidate, and handled or put aside with a
//! reason. The cursor moves in either case: a poison entry never wedges a log (A-RE-16).

use undertone_wire::VLBytes;
use undertone_wire::frame::{Checkpoint, Entry, EntryContent};
use undertone_wire::gate::Gate;
use undertone_wire::id::{Generation, LogId, PayloadHash, Seq};
use undertone_wire::refusal::Refusal;

use super::direct::Turned;
use super::event::{EventRow, Reason, Suspicion};
use super::rows::{
    self, Change, Item, Kind, LeftOut, LogRow, MessageRow, OutboxRow, PastRow, Phase, Standing, UndecryptableRow,
    place_key,
};
use super::step::Step;
use crate::content::{Content, MessageId, Profile, Status, StatusList, Typing};
use crate::conversation::ConversationId;
use crate::crypto::Secret32;
use crate::dm::{DmError, wrap};
use crate::envelope::ephemeral::{self, Ephemeral, Freshness};
use crate::envelope::history::HistoryReached;
use crate::envelope::receipts::MISSING_MAX;
use crate::envelope::shell::{self, ShellError};
use crate::envelope::{
    Delivered, DirectBody, Envelope, Evidence, FrameKind, LogKeys, NamedLists, Observation, Parcel, ParcelKind,
    SenderSeq, SenderTrack,
};
use crate::error::Error;
use crate::group::{self, GroupChange, GroupError, LeafOwner, Processed, Standing as GroupStanding};
use crate::identity::{AccountId, DeviceId};
use crate::limits::{HEADS_MAX, UNDECRYPTABLE_MAX};
use crate::store::{Direction, Table};
use crate::time::UnixMs;

/// Why an entry was not handled: a reason that is written down, or a failure of ours that stops everything.
pub(super) enum Refused {
    Because(Reason),
    Stop(Error),
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::Because(reason)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}

impl From<crate::store::StoreError> for Refused {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Stop(error.into())
    }
}

impl From<DmError> for Refused {
    fn from(error: DmError) -> Self {
        match error {
            DmError::Store(error) => Self::Stop(error.into()),
            DmError::NoSession => Self::Because(Reason::NoSession),
            DmError::Replay => Self::Because(Reason::Replayed),
            DmError::JumpTooLarge { .. } => Self::Because(Reason::TooFarAhead),
            DmError::Malformed => Self::Because(Reason::Malformed),
            _ => Self::Because(Reason::Authentication),
        }
    }
}

impl From<GroupError> for Refused {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Store { error } => Self::Stop(error.into()),
            GroupError::WrongEpoch { .. } => Self::Because(Reason::WrongEpoch),
            GroupError::Malformed => Self::Because(Reason::Malformed),
            GroupError::Forbidden { .. } => Self::Because(Reason::Forbidden),
            _ => Self::Because(Reason::Authentication),
        }
    }
}

/// What an entry did to its log.
enum Effect {
    /// The generation goes on.
    Stays,
    /// A valid commit: the next generation.
    Turns,
    /// A direct turn that is not void as far as we can tell.
    Direct(Turned),
}

impl Step<'_> {
    /// Handles entries of a conversation's log.
    pub(super) fn log_entries(&mut self, log: LogId, entries: Vec<Entry>) -> Result<(), Error> {
        let Some(mut row) = LogRow::load(&self.tx, &log)? else { return self.history_entries(log, &entries) };
        // What follows our end in a group is not for us, whoever hands it over.
        if !self.is_still_in(&row.conversation)? || row.standing == Standing::Past {
            return Ok(());
        }
        let link = self.link.logs.entry(log).or_default();
        if link.hold.is_some() {
            return Ok(());
        }
        self.heard.is_forced = std::mem::take(&mut link.is_forced);
        let generation = row.generation;
        for entry in &entries {
            if entry.seq <= row.seq {
                continue;
            }
            if entry.seq != row.seq.next() || entry.generation != row.generation {
                self.suspicion(&row, entry.seq, Suspicion::Skipped)?;
                self.lose_log(log, &Refusal::Unknown);
                break;
            }
            self.log_entry(&log, &mut row, entry)?;
            self.heard.is_forced = false;
            if row.seq < entry.seq {
                break;
            }
            if entry.turn.is_some() && !self.is_still_in(&row.conversation)? {
                break;
            }
        }
        row.save(&mut self.tx, &log);
        self.link.dirty.insert(row.conversation);
        if !self.is_still_in(&row.conversation)? {
            return self.take_welcome(&log, row.seq);
        }
        if row.generation != generation {
            if !row.standing.is_inside() {
                self.probe_all(log)?;
            }
            self.prove(&[(log, row)])?;
        }
        Ok(())
    }

    fn log_entry(&mut self, log: &LogId, row: &mut LogRow, entry: &Entry) -> Result<(), Error> {
        let head = entry.leaf().extend(&row.head);
        let mark = self.mark();
        self.heard.is_inside = false;
        let mut suspicion = None;
        let mut refused = None;
        let after = Checkpoint { seq: entry.seq, head };
        let own = self.tx.get(Table::OutboxIndex, entry.id.as_bytes())?;
        let handled = match own {
            Some(key) => self.own_entry(log, row, entry, &key, after),
            None => self.foreign_entry(log, row, entry, &mut suspicion),
        };
        let effect = match handled {
            Ok(effect) => effect,
            Err(Refused::Stop(error)) => return Err(error),
            Err(Refused::Because(reason)) => {
                self.undo_to(mark);
                if let Some(jump) = self.heard.take_jump() {
                    self.hold(*log, jump);
                    return Ok(());
                }
                self.note_refusals()?;
                self.put_aside(log, row, entry, reason)?;
                refused = Some(reason);
                Effect::Stays
            }
        };
        if self.heard.take_shown() {
            self.try_again(log, row)?;
        }
        if let Some(suspicion) = suspicion {
            self.suspicion(row, entry.seq, suspicion)?;
        }
        row.seq = entry.seq;
        row.head = head;
        if row.is_direct() && std::mem::take(&mut self.heard.is_inside) {
            self.tx.put(Table::EntryIds, &entry_key(log, entry), Vec::new());
            self.forget_entry_ids(log, entry.generation)?;
        }
        self.goes_on();
        self.remember_head(log, after);
        if let Some(gate) = entry.turn {
            // Valid or void: the relay counts on, and so do we (rule DEL-33).
            row.generation = row.generation.next();
            row.turned_ms = self.now;
            row.began = after;
            match effect {
                Effect::Direct(turned) => self.direct_turned(log, row, entry, gate, turned)?,
                Effect::Stays | Effect::Turns => self.void_turned(log, row, gate, refused)?,
            }
            self.forget_early(log, row.generation)?;
        }
        Ok(())
    }

    /// A direct log is in its next generation.
    fn direct_turned(
        &mut self,
        log: &LogId,
        row: &mut LogRow,
        entry: &Entry,
        gate: Gate,
        turned: Turned,
    ) -> Result<(), Error> {
        match turned {
            Turned::Inside(secret, roster) => {
                row.secret = secret.expose().to_vec().into();
                row.standing = Standing::Inside;
                roster.save(&mut self.tx, log);
                Ok(())
            }
            Turned::LeftOut { reason, lists } => {
                if !self.leave_out(log, row, gate, lists, Some(reason))? {
                    self.put_aside(log, row, entry, reason)?;
                }
                Ok(())
            }
            Turned::Forked => {
                self.put_aside(log, row, entry, Reason::Lists)?;
                self.void_turned(log, row, gate, Some(Reason::Lists))
            }
            Turned::Removed => {
                let conversation = row.conversation;
                let mut of = self.conversation(&conversation)?;
                of.phase = Phase::Removed;
                self.save_conversation(&conversation, &of);
                self.drop_outbox(&conversation)?;
                self.event(EventRow::Removed { conversation, by: self.us.account() })
            }
        }
    }

    /// A turn was void. In a direct log the secret stays, and serves if the gate is the one that it gives; any other is one
    /// of which we have no key (rule DEL-85).
    fn void_turned(&mut self, log: &LogId, row: &mut LogRow, gate: Gate, reason: Option<Reason>) -> Result<(), Error> {
        let Some(secret) = Secret32::from_slice(row.secret.as_slice()) else { return Ok(()) };
        if LogKeys::derive(&secret, *log, row.generation).gate() != gate {
            self.leave_out(log, row, gate, None, reason)?;
        }
        Ok(())
    }

    /// A generation has begun of which we have no secret: unless somebody has told it before, we wait to be introduced.
    /// True if somebody has.
    fn leave_out(
        &mut self,
        log: &LogId,
        row: &mut LogRow,
        gate: Gate,
        lists: Option<NamedLists>,
        reason: Option<Reason>,
    ) -> Result<bool, Error> {
        let is_void = reason.is_none_or(Reason::is_for_all);
        let said = LeftOut { gate: Some(gate), lists, until: self.successor_at(log, row.order, is_void)? };
        if let Some((secret, roster)) = self.early_begun(log, row.generation, row.began, &said)? {
            row.secret = secret.expose().to_vec().into();
            row.standing = Standing::Inside;
            roster.save(&mut self.tx, log);
            return Ok(true);
        }
        row.standing = Standing::LeftOut(said);
        self.link.logs.entry(*log).or_default().successor_at = Some(said.until);
        Ok(false)
    }

    /// An entry of our own, recognised by its id: nothing is decrypted.
    fn own_entry(
        &mut self,
        log: &LogId,
        row: &mut LogRow,
        entry: &Entry,
        key: &[u8],
        after: Checkpoint,
    ) -> Result<Effect, Refused> {
        let Some(outbox) = rows::load::<OutboxRow>(&self.tx, Table::Outbox, key)? else {
            return Err(Reason::Replayed.into());
        };
        let sealed = outbox.sealed.as_ref().map(|sealed| PayloadHash::of(sealed.payload.as_slice()));
        if sealed != Some(entry.leaf().payload) || entry.turn != outbox.sealed.as_ref().and_then(|s| s.turn) {
            self.suspicion(row, entry.seq, Suspicion::Replaced)?;
            self.rename_entry(key, outbox)?;
            return Ok(Effect::Stays);
        }
        self.heard.is_inside = true;
        if outbox.accepted.is_none() {
            self.accepted(key, entry.seq)?;
        }
        let sealed = outbox.sealed.ok_or(crate::store::StoreError::Corrupt)?;
        for device in &sealed.handshakes {
            wrap::carried(&mut self.tx, *log, *device)?;
        }
        self.tx.delete(Table::Outbox, key);
        self.tx.delete(Table::OutboxIndex, entry.id.as_bytes());
        match outbox.item {
            Item::Envelope(draft) => {
                if let Some(message) = draft.message {
                    let (account, device) = (self.us.device().account(), self.us.device().id());
                    let content = crate::envelope::Frame::decode(draft.frame.as_slice())
                        .map_err(|_| Refused::Because(Reason::Malformed))?
                        .into_body();
                    let row = MessageRow {
                        id: message,
                        account,
                        device,
                        sender_seq: draft.seq.unwrap_or(SenderSeq::FIRST),
                        dedup: draft.dedup,
                        sent_ms: draft.sent_ms,
                        accepted_ms: UnixMs::from_u64(entry.accepted_ms),
                        content: content.into(),
                        reached: HistoryReached::Untold,
                    };
                    self.save_message(log, entry.seq, row)?;
                }
                Ok(Effect::Stays)
            }
            Item::Turn { .. } => {
                let handover = sealed.handover.ok_or(crate::store::StoreError::Corrupt)?;
                Ok(Effect::Direct(self.own_turn(log, row, after, handover)?))
            }
            Item::Commit(change) => {
                let group_change = group::merge_pending(&mut self.tx, *log)?;
                if let Change::Add { found, .. } = &change {
                    self.welcome(log, row.generation.next(), after, found, &sealed.welcomes)?;
                }
                self.group_changed(log, row.conversation, entry.seq, &group_change)?;
                Ok(Effect::Turns)
            }
            Item::Leave => Ok(Effect::Stays),
        }
    }

    /// An entry of somebody else.
    ///
    /// What the sender had seen is compared before anything else is known to be right: where a fork keeps a message from
    /// opening, this is what tells it from garbage.
    fn foreign_entry(
        &mut self,
        log: &LogId,
        row: &mut LogRow,
        entry: &Entry,
        suspicion: &mut Option<Suspicion>,
    ) -> Result<Effect, Refused> {
        let EntryContent::Payload(payload) = &entry.content else { return Err(Reason::Expired.into()) };
        let keys = self.keys(log, row)?;
        let parcel = shell::open(&keys.outer, *log, entry.generation, entry.id, entry.class, payload.as_slice())
            .map_err(|error| match error {
                ShellError::DoesNotOpen => Reason::Shell,
                _ => Reason::Malformed,
            })?;
        if row.is_direct() && self.tx.get(Table::EntryIds, &entry_key(log, entry))?.is_some() {
            return Err(Reason::Replayed.into());
        }
        self.heard.is_inside = true;
        *suspicion = self.check_evidence(log, entry, &parcel.evidence)?;
        let conversation: rows::ConversationRow =
            rows::load(&self.tx, Table::Conversations, row.conversation.as_bytes())?
                .ok_or(crate::store::StoreError::Corrupt)?;
        match (conversation.kind, parcel.kind) {
            (Kind::Direct { .. }, ParcelKind::DirectMessage) => {
                let body = DirectBody::decode(&parcel.body).map_err(|_| Reason::Malformed)?;
                let roster = self.roster(log)?;
                if self.is_lost_own(&roster, &body) {
                    row.next_seq = row.next_seq.next();
                }
                let (device, plaintext) = self.open_direct(log, &roster, parcel.kind, &parcel.evidence, body)?;
                if plaintext.is_empty() {
                    // A heartbeat: its session has turned, and nobody is shown anything.
                    return no_turn(entry);
                }
                self.envelope(log, row, entry, device.account(), device.id(), &plaintext)?;
                no_turn(entry)
            }
            (Kind::Direct { .. }, ParcelKind::DirectTurn) => {
                let turned = self.open_turn(log, row, entry, &parcel.evidence, &parcel.body)?;
                Ok(Effect::Direct(turned))
            }
            (Kind::Group, ParcelKind::GroupMessage | ParcelKind::GroupCommit | ParcelKind::GroupProposal) => {
                let mark = self.mark();
                let handled = self.group_parcel(log, row, entry, &parcel);
                // Garbage, or a member in another epoch at the same place: what it had seen tells which.
                if let Err(Refused::Because(Reason::Authentication | Reason::WrongEpoch)) = &handled {
                    self.undo_to(mark);
                    if parcel.evidence.epoch != group::epoch_evidence(&mut self.tx, *log)? {
                        suspicion.get_or_insert(Suspicion::EpochFork);
                    }
                }
                handled
            }
            _ => Err(Reason::Malformed.into()),
        }
    }

    fn group_parcel(
        &mut self,
        log: &LogId,
        row: &mut LogRow,
        entry: &Entry,
        parcel: &Parcel,
    ) -> Result<Effect, Refused> {
        let is_commit = parcel.kind == ParcelKind::GroupCommit;
        if is_commit && entry.turn.is_none() {
            return Err(Reason::CommitWithoutTurn.into());
        }
        if is_commit && group::has_pending_commit(&mut self.tx, *log)? {
            // Ours has lost: the log has one winner per generation. The intent stays, and is staged anew.
            group::discard_pending(&mut self.tx, *log)?;
        }
        let aad = parcel.evidence.to_bytes();
        match (group::process(&mut self.tx, *log, &aad, &parcel.body)?, parcel.kind) {
            (Processed::Application { sender, plaintext }, ParcelKind::GroupMessage) => {
                self.envelope(log, row, entry, sender.account, sender.device, &plaintext)?;
                no_turn(entry)
            }
            (Processed::Commit(change), ParcelKind::GroupCommit) => {
                if change.standing == GroupStanding::Member {
                    let secret = group::generation_secret(&mut self.tx, *log, row.generation.next())?;
                    let gate = LogKeys::derive(&secret, *log, row.generation.next()).gate();
                    if entry.turn != Some(gate) {
                        return Err(void(entry));
                    }
                }
                self.group_changed(log, row.conversation, entry.seq, &change)?;
                Ok(Effect::Turns)
            }
            (Processed::Proposal { .. }, ParcelKind::GroupProposal) => {
                self.owe_commit(*log);
                no_turn(entry)
            }
            _ => Err(Reason::Malformed.into()),
        }
    }

    /// Handles what somebody else said.
    fn envelope(
        &mut self,
        log: &LogId,
        row: &mut LogRow,
        entry: &Entry,
        account: AccountId,
        device: DeviceId,
        plaintext: &[u8],
    ) -> Result<(), Refused> {
        let envelope = Envelope::decode(plaintext).map_err(|_| Reason::Malformed)?;
        self.observe(log, row, device, &envelope)?;
        self.delivered(log, row, account, device, &envelope)?;
        match envelope.frame.kind() {
            FrameKind::MESSAGE => {
                Content::decode(envelope.frame.body()).map_err(|_| Reason::Malformed)?;
                let id = MessageId::of(&row.conversation, &account, envelope.frame.body());
                let known = self.tx.get(Table::MessageIndex, id.as_bytes())?;
                if known.is_some_and(|place| !place.starts_with(log.as_bytes())) {
                    // Its sender did not know whether it stood in a log before this one.
                    row.receipt_due = entry.seq;
                    self.owe_receipt(*log);
                    return Ok(());
                }
                let message = MessageRow {
                    id,
                    account,
                    device,
                    sender_seq: envelope.seq,
                    dedup: envelope.dedup,
                    sent_ms: envelope.sent_ms,
                    accepted_ms: UnixMs::from_u64(entry.accepted_ms),
                    content: envelope.frame.body().to_vec().into(),
                    reached: HistoryReached::Untold,
                };
                self.save_message(log, entry.seq, message)?;
                if account != self.us.account() {
                    row.receipt_due = entry.seq;
                    self.owe_receipt(*log);
                }
                self.event(EventRow::Message { log: *log, seq: entry.seq })?;
            }
            FrameKind::STATUS => self.statuses(log, row, account, envelope.frame.body())?,
            FrameKind::PROFILE => self.profile(account, device, envelope.frame.body())?,
            // Kinds of a later version have no effect, and their senders are told nothing false (rule ENV-21).
            _ => {}
        }
        Ok(())
    }

    /// Checks the sender's sequence number.
    fn observe(&mut self, log: &LogId, row: &LogRow, device: DeviceId, envelope: &Envelope) -> Result<(), Refused> {
        let key = rows::device_key(log, &device);
        let track = match self.tx.get(Table::Seen, &key)? {
            Some(bytes) => SenderTrack::decode(&bytes).map_err(|_| crate::store::StoreError::Corrupt)?,
            // Whoever joined later does not miss what was said before.
            None => SenderTrack::starting_behind(SenderSeq::from_u64(envelope.seq.as_u64().saturating_sub(1))),
        };
        let (observation, track) = track.step(envelope.seq, envelope.dedup);
        match observation {
            Observation::InOrder | Observation::Late => {}
            Observation::Gap { from, to } => {
                self.event(EventRow::Gap { conversation: row.conversation, sender: device, from, to })?;
            }
            Observation::Duplicate => return Err(Reason::Replayed.into()),
            Observation::Regression => return Err(Reason::Regression.into()),
        }
        self.tx.put(Table::Seen, &key, track.encode());
        Ok(())
    }

    /// Takes note of what the sender has.
    fn delivered(
        &mut self,
        log: &LogId,
        row: &LogRow,
        account: AccountId,
        device: DeviceId,
        envelope: &Envelope,
    ) -> Result<(), Refused> {
        let key = [b"d", rows::device_key(log, &device).as_slice()].concat();
        let before: Delivered = rows::load(&self.tx, Table::Receipts, &key)?.unwrap_or(Delivered::NONE);
        // A claim past what the log holds is cut to what it can be true of.
        let through = envelope.delivered.through().min(row.seq);
        let told = Delivered::new(through, envelope.delivered.missing().iter().copied());
        let after = before.merge(&told);
        if after != before {
            rows::save(&mut self.tx, Table::Receipts, &key, &after);
        }
        if after.through() > before.through() && account != self.us.account() {
            self.event(EventRow::Delivered { conversation: row.conversation, by: account, through })?;
        }
        Ok(())
    }

    fn statuses(&mut self, log: &LogId, row: &mut LogRow, account: AccountId, body: &[u8]) -> Result<(), Refused> {
        if body.is_empty() {
            return Ok(());
        }
        let conversation = row.conversation;
        let is_sibling = account == self.us.account();
        let list = StatusList::decode(body).map_err(|_| Reason::Malformed)?;
        for crate::content::MessageStatus { message: id, status } in list.as_slice() {
            let Some(place) = self.tx.get(Table::MessageIndex, id.as_bytes())? else { continue };
            let (of, seq) = rows::split_place(&place)?;
            let known = rows::load::<MessageRow>(&self.tx, Table::Messages, &place)?;
            let is_ours = known.is_some_and(|message| message.account == self.us.account());
            // Whoever reads a message is in its conversation, and nobody reads its own.
            if *status != Status::READ || is_ours == is_sibling || self.conversation_of(&of)? != Some(conversation) {
                continue;
            }
            if is_sibling {
                self.read_by_sibling(log, row, (of, seq), *id)?;
                continue;
            }
            let key = [b"r", id.as_bytes().as_slice(), account.as_bytes()].concat();
            if self.tx.get(Table::Receipts, &key)?.is_none() {
                self.tx.put(Table::Receipts, &key, Vec::new());
                self.event(EventRow::Read { conversation, message: *id, by: account })?;
            }
        }
        Ok(())
    }

    /// Another device of ours has read up to a message: so have we.
    fn read_by_sibling(
        &mut self,
        log: &LogId,
        row: &mut LogRow,
        (of, seq): (LogId, Seq),
        message: MessageId,
    ) -> Result<(), Error> {
        let conversation = row.conversation;
        let mut other = if of == *log { None } else { LogRow::load(&self.tx, &of)? };
        if other.is_none() && of != *log {
            // A log that we only have the history of has no mark.
            return Ok(());
        }
        let mark = &mut other.as_mut().unwrap_or(row).read_through;
        if seq <= *mark {
            return Ok(());
        }
        *mark = seq;
        if let Some(other) = other {
            other.save(&mut self.tx, &of);
        }
        let by = self.us.account();
        self.event(EventRow::Read { conversation, message, by })
    }

    fn profile(&mut self, account: AccountId, _device: DeviceId, body: &[u8]) -> Result<(), Refused> {
        let profile = Profile::decode(body).map_err(|_| Reason::Malformed)?;
        self.learn_name(account, &profile.name)?;
        Ok(())
    }

    /// Compares what the sender had seen with what we have.
    fn check_evidence(&self, log: &LogId, entry: &Entry, evidence: &Evidence) -> Result<Option<Suspicion>, Refused> {
        if evidence.seq >= entry.seq {
            return Ok(Some(Suspicion::Rollback));
        }
        let ours = self.tx.get(Table::Heads, &place_key(log, evidence.seq))?;
        let differs = ours.is_some_and(|ours| ours.as_slice() != evidence.head.as_bytes());
        Ok(differs.then_some(Suspicion::Fork))
    }

    pub(super) fn remember_head(&mut self, log: &LogId, at: Checkpoint) {
        self.tx.put(Table::Heads, &place_key(log, at.seq), at.head.as_bytes().to_vec());
        if let Some(old) = at.seq.as_u64().checked_sub(HEADS_MAX) {
            self.tx.delete(Table::Heads, &place_key(log, Seq::from_u64(old)));
        }
    }

    pub(super) fn suspicion(&mut self, row: &LogRow, place: Seq, suspicion: Suspicion) -> Result<(), Error> {
        self.event(EventRow::Suspicion { conversation: row.conversation, place, suspicion })
    }

    pub(super) fn undecryptable_event(&mut self, row: &LogRow, place: Seq, reason: Reason) -> Result<(), Error> {
        self.event(EventRow::Undecryptable { conversation: row.conversation, place, reason })
    }

    /// Forgets ids of generations that are over, whose shells no key opens any more: two for each that is remembered.
    fn forget_entry_ids(&mut self, log: &LogId, generation: Generation) -> Result<(), Error> {
        let end = [log.as_bytes().as_slice(), &generation.to_be_bytes()].concat();
        for (key, _) in self.tx.scan(Table::EntryIds, log.as_bytes(), &end, Direction::Ascending, 2)? {
            self.tx.delete(Table::EntryIds, &key);
        }
        Ok(())
    }

    /// A session was shown, perhaps one that begins now: what came before in this generation and no session opened is tried
    /// again. The first that showed the session may have expired (rule DM-120).
    fn try_again(&mut self, log: &LogId, row: &mut LogRow) -> Result<(), Error> {
        for (key, value) in
            self.tx.scan_prefix(Table::Undecryptable, log.as_bytes(), Direction::Ascending, usize::MAX)?
        {
            let aside: UndecryptableRow = rows::decode(&value)?;
            let is_meant = matches!(aside.reason, Reason::Authentication | Reason::NoSession);
            if !is_meant || aside.generation != row.generation {
                continue;
            }
            let (_, seq) = rows::split_place(&key)?;
            let UndecryptableRow { generation, class, entry: id, accepted_ms, raw, .. } = aside;
            let (accepted_ms, content) = (accepted_ms.as_u64(), EntryContent::Payload(raw));
            let entry = Entry { seq, generation, class, id, accepted_ms, turn: None, content };
            let (mark, before) = (self.mark(), row.clone());
            self.tx.delete(Table::EntryIds, &entry_key(log, &entry));
            // What its sender says to have goes up to there at most (rule DEL-41).
            row.seq = Seq::from_u64(seq.as_u64().saturating_sub(1));
            match self.foreign_entry(log, row, &entry, &mut None) {
                Ok(Effect::Stays) => {
                    row.seq = before.seq;
                    self.tx.put(Table::EntryIds, &entry_key(log, &entry), Vec::new());
                    self.tx.delete(Table::Undecryptable, &key);
                    row.missing.retain(|missing| *missing != seq);
                }
                Err(Refused::Stop(error)) => return Err(error),
                Ok(_) | Err(Refused::Because(_)) => {
                    self.undo_to(mark);
                    *row = before;
                }
            }
        }
        // What is still refused was told when it came.
        self.heard.forget_refusals();
        Ok(())
    }

    /// Writes down an entry that could not be handled, and the reason; the newest of each log are kept.
    fn put_aside(&mut self, log: &LogId, row: &mut LogRow, entry: &Entry, reason: Reason) -> Result<(), Error> {
        let raw = match &entry.content {
            EntryContent::Payload(payload) => payload.clone(),
            EntryContent::Stub(_) => Vec::new().into(),
        };
        let (generation, class, at_ms) = (entry.generation, entry.class, self.now);
        let accepted_ms = UnixMs::from_u64(entry.accepted_ms);
        let aside = UndecryptableRow { reason, generation, entry: entry.id, at_ms, raw, class, accepted_ms };
        rows::save(&mut self.tx, Table::Undecryptable, &place_key(log, entry.seq), &aside);
        let kept =
            self.tx.scan_prefix(Table::Undecryptable, log.as_bytes(), Direction::Ascending, UNDECRYPTABLE_MAX + 1)?;
        if kept.len() > UNDECRYPTABLE_MAX
            && let Some((oldest, _)) = kept.first()
        {
            self.tx.delete(Table::Undecryptable, oldest);
        }
        // One more than can be told: behind it nothing is reported as delivered (rule ENV-25).
        if row.missing.len() <= MISSING_MAX {
            row.missing.push(entry.seq);
        }
        self.undecryptable_event(row, entry.seq, reason)
    }

    /// The conversation in which the messages of a log stand.
    pub(super) fn conversation_of(&self, log: &LogId) -> Result<Option<ConversationId>, Error> {
        if let Some(row) = LogRow::load(&self.tx, log)? {
            return Ok(Some(row.conversation));
        }
        Ok(PastRow::load(&self.tx, log)?.map(|past| past.conversation))
    }

    /// Writes down a message that we read in its log. It takes the place of what another device has told us of it.
    fn save_message(&mut self, log: &LogId, seq: Seq, mut row: MessageRow) -> Result<(), Error> {
        match rows::load::<MessageRow>(&self.tx, Table::Messages, &place_key(log, seq))? {
            Some(told) if told.id == row.id => row.reached = told.reached,
            Some(told) => self.tx.delete(Table::MessageIndex, told.id.as_bytes()),
            None => {}
        }
        self.put_message(log, seq, &row);
        Ok(())
    }

    pub(super) fn put_message(&mut self, log: &LogId, seq: Seq, row: &MessageRow) {
        let key = place_key(log, seq);
        rows::save(&mut self.tx, Table::Messages, &key, row);
        self.tx.put(Table::MessageIndex, row.id.as_bytes(), key);
    }

    /// Tells what a commit changed, and ends the conversation if it removed us.
    fn group_changed(
        &mut self,
        log: &LogId,
        conversation: ConversationId,
        at: Seq,
        change: &GroupChange,
    ) -> Result<(), Error> {
        let by = change.actor.account;
        if change.standing == GroupStanding::Removed {
            let mut row = self.conversation(&conversation)?;
            let (phase, by) = match row.phase {
                Phase::Leaving => (Phase::Left, self.us.device().account()),
                _ => (Phase::Removed, by),
            };
            row.phase = phase;
            self.save_conversation(&conversation, &row);
            self.drop_outbox(&conversation)?;
            return self.event(EventRow::Removed { conversation, by });
        }
        self.ask_again_to_leave(&conversation)?;
        if !change.added.is_empty() {
            for device in group::devices(&mut self.tx, *log)? {
                self.learn_member(&device)?;
            }
            for member in &change.added {
                // Its numbers go on where they were, less what it never came to send.
                self.tx.delete(Table::Seen, &rows::device_key(log, &member.device));
                rows::save(&mut self.tx, Table::Receipts, &rows::joined_key(log, &member.device), &at);
            }
        }
        // An account comes with its first device and goes with its last.
        let now = group::members(&mut self.tx, *log)?;
        let devices_now = |account: &AccountId| now.iter().filter(|member| member.account == *account).count();
        let in_all = |some: &[LeafOwner], account: &AccountId| some.iter().filter(|it| it.account == *account).count();
        let mut added: Vec<AccountId> = change.added.iter().map(|member| member.account).collect();
        let mut removed: Vec<AccountId> = change.removed.iter().map(|member| member.account).collect();
        for accounts in [&mut added, &mut removed] {
            accounts.sort_unstable();
            accounts.dedup();
        }
        added.retain(|account| devices_now(account) == in_all(&change.added, account));
        removed.retain(|account| devices_now(account) == 0);
        let renamed = change.policy.as_ref().filter(|policy| policy.old.name() != policy.new.name());
        let name: Option<VLBytes> = renamed.map(|policy| policy.new.name().as_bytes().into());
        if let Some(name) = &name {
            let mut row = self.conversation(&conversation)?;
            row.name = name.clone();
            self.save_conversation(&conversation, &row);
        }
        if added.is_empty() && removed.is_empty() && name.is_none() {
            return Ok(());
        }
        self.event(EventRow::GroupChanged { conversation, by, added, removed, name })
    }

    /// Whether we have a part in a conversation; if not, its log is none of our business.
    pub(super) fn is_still_in(&self, conversation: &ConversationId) -> Result<bool, Error> {
        Ok(self.conversation(conversation)?.phase.is_in())
    }

    /// Takes an ephemeral payload: shown if it is fresh, never stored.
    pub(super) fn passing(&mut self, log: LogId, generation: Generation, payload: &[u8]) -> Result<(), Error> {
        let Some(row) = LogRow::load(&self.tx, &log)? else { return Ok(()) };
        if row.generation != generation || !row.standing.is_inside() || !self.is_still_in(&row.conversation)? {
            return Ok(());
        }
        let keys = self.keys(&log, &row)?;
        let conversation = self.conversation(&row.conversation)?;
        let Some((account, message)) = self.open_passing(&keys, &log, &row, conversation.kind, payload)? else {
            return Ok(());
        };
        let freshness = self.link.passing.entry(log).or_default().accept(&message, self.now);
        if freshness == Freshness::Fresh
            && account != self.us.device().account()
            && message.frame.kind() == FrameKind::TYPING
            && let Ok(typing) = Typing::decode(message.frame.body())
        {
            let (conversation, state) = (row.conversation, typing.state);
            self.signal(super::event::Signal::Typing { conversation, account, state });
        }
        Ok(())
    }

    /// Opens an ephemeral payload and finds its sender; anything that is not right is dropped.
    fn open_passing(
        &mut self,
        keys: &LogKeys,
        log: &LogId,
        row: &LogRow,
        kind: Kind,
        payload: &[u8],
    ) -> Result<Option<(AccountId, Ephemeral)>, Error> {
        let Ok(opened) = ephemeral::open(&keys.ephemeral, *log, row.generation, payload) else { return Ok(None) };
        Ok(match kind {
            Kind::Direct { peer } => {
                let roster = self.roster(log)?;
                let theirs = roster.side_of(&peer).and_then(|side| roster.side(side).device(&opened.device()));
                theirs.and_then(|_| Some((peer, opened.unsigned().ok()?)))
            }
            Kind::Group => {
                let device = group::device(&mut self.tx, *log, &opened.device())?;
                device.and_then(|device| Some((device.account(), opened.verify(device.signing()).ok()?)))
            }
        })
    }
}

/// The key under which it stands that an entry was read.
fn entry_key(log: &LogId, entry: &Entry) -> Vec<u8> {
    [log.as_bytes().as_slice(), &entry.generation.to_be_bytes(), entry.id.as_bytes()].concat()
}

/// An entry that is not a turn, and did not turn.
fn no_turn(entry: &Entry) -> Result<Effect, Refused> {
    if entry.turn.is_none() { Ok(Effect::Stays) } else { Err(Reason::VoidTurn.into()) }
}

fn void(entry: &Entry) -> Refused {
    Refused::Because(if entry.turn.is_some() { Reason::VoidTurn } else { Reason::CommitWithoutTurn })
}
