//! Introductions: how a device comes to a direct log (spec/delivery, rules DEL-50, DEL-51, DEL-77 to DEL-79, DEL-84 to
//! DEL-87).
//!
//! ```text
//! first contact   log, S_0 ─▶ one device of the peer ─▶ all others of both accounts
//! turn            new devices of the lists ─(turn in the log)─▶ S_g+1, through their inboxes
//! left out        Inside ─a turn without us─▶ LeftOut ─an introduction that says what the turn said─▶ Inside
//!                                                └──nobody comes──▶ a successor: log, S_0 ─▶ all of both accounts
//! a session that stands: a ratchet message; none: the handshake of a new one around it
//! ```

use undertone_wire::chain;
use undertone_wire::frame::Checkpoint;
use undertone_wire::id::{EntryId, Generation, LogId, Seq};

use super::event::EventRow;
use super::note::Way;
use super::roster::Roster;
use super::rows::{
    self, ClientRow, ContactRow, ConversationRow, Creation, EARLY_PREFIX, EarlyRow, Handover, Intent, Kind, LeftOut,
    LogRow, Phase, Purpose, Standing, Taken, early_key,
};
use super::step::Step;
use crate::conversation::ConversationId;
use crate::crypto::Secret32;
use crate::dm::wrap;
use crate::envelope::first_contact::{IntroducedMember, Introduction, LogPlace, LogSecrets};
use crate::envelope::inbox::{InboxEntry, InboxKind};
use crate::envelope::{LogOrder, LogRoot, Side};
use crate::error::Error;
use crate::identity::{AccountCertificate, AccountId, Device, DeviceId, DeviceList, DisplayName, Pinned, RelayUrl};
use crate::limits::{EARLY_INTRODUCTIONS_MAX, LEFT_OUT_MAX, SUCCESSOR_STAGGER, VOID_TURN_DELAY, VOUCH_DELAY};
use crate::store::{Direction, StoreError, Table};
use crate::time::UnixMs;

/// What an introduction tells of a log.
struct Told<'t> {
    log: LogId,
    generation: Generation,
    checkpoint: Checkpoint,
    begun: &'t Handover,
}

/// Where every log begins.
const START: Checkpoint = Checkpoint { seq: Seq::from_u64(0), head: chain::EMPTY };

/// An introduction that has been opened, and whose sender and lists are sound.
struct Opened<'o> {
    introduction: &'o Introduction,
    roster: &'o Roster,
    sender: &'o Device,
}

impl Step<'_> {
    /// Makes the log of a direct conversation and introduces a device of the peer to it; the others follow.
    pub(super) fn first_contact(&mut self, device: &Device, way: Way<'_>) -> Result<(), Error> {
        let peer = device.account();
        let id = ConversationId::direct(&self.us.account(), &peer);
        let mut conversation = self.conversation(&id)?;
        if conversation.log.is_some() {
            // The peer, or another device of ours, has been faster, and its log serves all.
            return Ok(());
        }
        let Some((log, begun)) = self.make_log(id, &mut conversation, peer)? else { return Ok(()) };
        let told = Told { log, generation: Generation::FIRST, checkpoint: START, begun: &begun };
        self.introduce(&told, device, way)?;
        // Nobody but us leads it to this log: what it reads there comes behind the introduction.
        wrap::carried(&mut self.tx, log, device.id())?;
        self.introduce_all(log, &begun, Some(device.id()))?;
        self.event(EventRow::Ready { conversation: id })
    }

    /// Makes the next log of a conversation, with the newest lists that we know. None if there can be none.
    fn make_log(
        &mut self,
        id: ConversationId,
        conversation: &mut ConversationRow,
        peer: AccountId,
    ) -> Result<Option<(LogId, Handover)>, Error> {
        let (secret, roster) = (Secret32::random(self.rng), self.newest_roster(&peer)?);
        let Some(order) = conversation.next_order(roster.age()) else { return Ok(None) };
        let root = LogRoot::of_first(&secret);
        let log = root.log_id(&id, order);
        LogRow {
            secret: secret.expose().to_vec().into(),
            control: root.as_secret().expose().to_vec().into(),
            order,
            creation: Creation::Wanted,
            ..LogRow::new(id, Generation::FIRST, START, self.now)
        }
        .save(&mut self.tx, &log);
        roster.save(&mut self.tx, &log);
        self.take_log(&id, conversation, order, log)?;
        self.intend(&Intent::Create { log })?;
        let left_out = roster.devices().map(|(_, device)| device.id()).collect();
        Ok(Some((log, Handover { secret: secret.expose().to_vec().into(), roster: roster.to_row(), left_out })))
    }

    /// Takes a log into its conversation, which goes on in the one that comes first.
    fn take_log(
        &mut self,
        id: &ConversationId,
        conversation: &mut ConversationRow,
        order: LogOrder,
        log: LogId,
    ) -> Result<(), Error> {
        let past = match conversation.take_log(order, log) {
            Taken::Refused => return Err(Error::BadKeys),
            Taken::Known => None,
            Taken::New { past } => past,
        };
        if let Some(past) = past {
            let row = LogRow { standing: Standing::Past, ..self.log_row(&past)? };
            row.save(&mut self.tx, &past);
            self.link.logs.remove(&past);
            if self.tx.scan_prefix(Table::Messages, past.as_bytes(), Direction::Ascending, 1)?.is_empty() {
                conversation.forget_log(past);
                self.tx.delete(Table::Rosters, past.as_bytes());
            }
        }
        conversation.phase = Phase::Active;
        self.save_conversation(id, conversation);
        self.link.dirty.insert(*id);
        Ok(())
    }

    /// Introduces every device of a new log's lists to it, but us and perhaps one more.
    fn introduce_all(&mut self, log: LogId, begun: &Handover, but: Option<DeviceId>) -> Result<(), Error> {
        let us = self.us.device().id();
        for (_, device) in Roster::from_row(&begun.roster)?.devices() {
            if device.id() != us && Some(device.id()) != but {
                self.introduce_later(log, Generation::FIRST, START, begun, device)?;
            }
        }
        Ok(())
    }

    /// Until when we wait to be introduced to a generation of a log that began without us (rule DEL-85).
    pub(super) fn successor_at(&self, log: &LogId, order: LogOrder, is_void: bool) -> Result<UnixMs, Error> {
        let us = self.us.device().id();
        let before = match Roster::load(&self.tx, log)? {
            Some(roster) => roster.devices().take_while(|(_, device)| device.id() != us).count(),
            None => 0,
        };
        let wait = match is_void {
            true => VOID_TURN_DELAY.saturating_mul(1 << order.round.min(16)).min(LEFT_OUT_MAX),
            false => LEFT_OUT_MAX,
        };
        let stagger = SUCCESSOR_STAGGER.saturating_mul(u32::try_from(before).unwrap_or(u32::MAX));
        Ok(self.now.after(wait.saturating_add(stagger)))
    }

    /// Whether the log of a conversation is one that we cannot use, and nobody has introduced us for too long; the inbox is
    /// read, so that nobody has begun another one before us.
    pub(super) fn is_successor_due(&mut self, conversation: &ConversationRow) -> Result<bool, Error> {
        let Some(log) = conversation.log else { return Ok(false) };
        let Standing::LeftOut(said) = self.log_row(&log)?.standing else { return Ok(false) };
        let has_read_inbox = self.link.has_read(&self.us.inbox(), ClientRow::load(&self.tx)?.inbox_seq);
        if said.until <= self.now && has_read_inbox {
            return Ok(true);
        }
        let soonest = self.now.after(std::time::Duration::from_secs(1));
        self.link.logs.entry(log).or_default().successor_at = Some(said.until.max(soonest));
        Ok(false)
    }

    /// Begins another log in place of one that we cannot use, and introduces everybody to it (rule DEL-85).
    pub(super) fn begin_successor(
        &mut self,
        id: ConversationId,
        mut conversation: ConversationRow,
        peer: AccountId,
    ) -> Result<(), Error> {
        let Some((log, begun)) = self.make_log(id, &mut conversation, peer)? else {
            // Newer lists than ours have begun the one that lives: who has them, or we once we have, can go on.
            return Ok(());
        };
        self.introduce_all(log, &begun, None)
    }

    /// Introduces whoever has not been heard in a log: who led us to it may have led nobody else (rule DEL-87).
    pub(super) fn vouch(&mut self, log: LogId) -> Result<(), Error> {
        let row = self.log_row(&log)?;
        let conversation = self.conversation(&row.conversation)?;
        if conversation.log != Some(log) || !conversation.phase.is_in() || !row.standing.is_inside() {
            return Ok(());
        }
        let roster = self.roster(&log)?;
        let begun = Handover { secret: row.secret.clone(), roster: roster.to_row(), left_out: Vec::new() };
        let us = self.us.device().id();
        for (_, device) in roster.devices().filter(|(_, device)| device.id() != us) {
            if self.tx.get(Table::Seen, &rows::device_key(&log, &device.id()))?.is_none() {
                self.introduce_later(log, row.generation, row.began, &begun, device)?;
            }
        }
        Ok(())
    }

    /// Begins to look up a device that is to be introduced to a log.
    pub(super) fn introduce_later(
        &mut self,
        log: LogId,
        generation: Generation,
        checkpoint: Checkpoint,
        begun: &Handover,
        device: &Device,
    ) -> Result<(), Error> {
        let purpose = Purpose::Introduction { log, generation, checkpoint, begun: begun.clone() };
        self.look_up_device(device, purpose).map(|_| ())
    }

    /// The keys of a device that is to be introduced are here.
    pub(super) fn introduce_as(&mut self, purpose: &Purpose, device: &Device, way: Way<'_>) -> Result<(), Error> {
        let Purpose::Introduction { log, generation, checkpoint, begun } = purpose else { return Ok(()) };
        let told = Told { log: *log, generation: *generation, checkpoint: *checkpoint, begun };
        self.introduce(&told, device, way)
    }

    /// Whether a device is still on its account's newest list.
    pub(super) fn is_on_newest(&self, device: &Device) -> Result<bool, Error> {
        Ok(self.newest(&device.account())?.is_some_and(|newest| newest.device(&device.id()).is_some()))
    }

    /// Puts an introduction into the inbox of a device.
    fn introduce(&mut self, told: &Told<'_>, device: &Device, way: Way<'_>) -> Result<(), Error> {
        let row = self.log_row(&told.log)?;
        let secrets = LogSecrets {
            generation_secret: Secret32::from_slice(told.begun.secret.as_slice()).ok_or(StoreError::Corrupt)?,
            root: LogRoot::from_secret(Secret32::from_slice(row.control.as_slice()).ok_or(StoreError::Corrupt)?),
        };
        let roster = Roster::from_row(&told.begun.roster)?;
        let members = [self.introduced_as(roster.side(Side::Lower))?, self.introduced_as(roster.side(Side::Higher))?];
        let relay_url = RelayUrl::new(&ClientRow::load(&self.tx)?.relay_url())?;
        let place = LogPlace { generation: told.generation, ..row.place() };
        let introduction = Introduction::new(place, secrets, told.checkpoint, members, relay_url);
        self.note(device, way, InboxKind::Introduction, &introduction.encode())
    }

    fn introduced_as(&mut self, of: &Pinned) -> Result<IntroducedMember, Error> {
        let account = of.account();
        let name = if account == self.us.account() {
            Some(self.us.name().clone())
        } else {
            let known = rows::load::<ContactRow>(&self.tx, Table::Contacts, account.as_bytes())?;
            known.and_then(|known| DisplayName::from_utf8(known.name.as_slice()).ok())
        };
        let nameless = || DisplayName::new(&account.to_string()[..8]);
        let name = name.map_or_else(nameless, Ok).map_err(|_| StoreError::Corrupt)?;
        let (certificate, device_list) = (of.certificate().encode(), of.list().encode());
        Ok(IntroducedMember { name, certificate, device_list })
    }

    /// Somebody introduces us to a log.
    pub(super) fn introduced(&mut self, device: &Device, opened: &InboxEntry, entry: EntryId) -> Result<(), Error> {
        let plaintext = self.open_note(device, opened, entry)?;
        let introduction = Introduction::decode(&plaintext).map_err(|_| Error::BadKeys)?;
        let roster = introduced_roster(&introduction)?;
        let own = self.us.account();
        let ours = roster.side_of(&own).ok_or(Error::BadKeys)?;
        let theirs = ours.other();
        let peer = roster.side(theirs).account();
        let is_theirs = device.account() == peer;
        let id = ConversationId::direct(&own, &peer);
        let LogPlace { conversation, order, generation } = introduction.place();
        // What a log began with stands in its id; the lists only grow from there on.
        let is_in_order = match generation {
            Generation::FIRST => order.lists == roster.age(),
            _ => order.lists <= roster.age(),
        };
        let is_sound = conversation == id
            && is_in_order
            && roster.side(ours).certificate() == self.us.account_certificate()
            && (is_theirs || device.account() == own)
            && roster.place(&device.id()).is_some()
            && roster.place(&self.us.device().id()).is_some();
        if !is_sound {
            return Err(Error::BadKeys);
        }
        let at = introduction.checkpoint.seq;
        if !self.note_list(id, at, roster.side(ours))? || !self.note_list(id, at, roster.side(theirs))? {
            // The app knows; nothing begins.
            return Ok(());
        }
        // Whoever was removed introduces nobody.
        if !self.is_on_newest(device)? {
            return Err(Error::BadKeys);
        }
        let member = if theirs == Side::Lower { &introduction.lower } else { &introduction.higher };
        let known = rows::load::<ContactRow>(&self.tx, Table::Contacts, peer.as_bytes())?;
        // What somebody calls itself is its own word; a device of ours fills a blank.
        let is_blank = known.is_none_or(|known| known.name.as_slice().is_empty());
        let name = (is_theirs || is_blank).then_some(&member.name);
        self.learn_contact(member.certificate.clone(), peer, name)?;
        let opened = Opened { introduction: &introduction, roster: &roster, sender: device };
        match LogRow::load(&self.tx, &introduction.log())? {
            Some(row) => self.introduced_again(row, &opened),
            None => self.begin_direct(id, peer, &opened),
        }
    }

    /// Begins with a log to which we were introduced.
    fn begin_direct(&mut self, id: ConversationId, peer: AccountId, opened: &Opened<'_>) -> Result<(), Error> {
        let Opened { introduction, roster, .. } = *opened;
        let (log, LogPlace { order, generation, .. }) = (introduction.log(), introduction.place());
        let mut row = LogRow {
            secret: introduction.generation_secret().expose().to_vec().into(),
            control: introduction.root().as_secret().expose().to_vec().into(),
            order,
            ..LogRow::new(id, generation, introduction.checkpoint, self.now)
        };
        let is_new = generation == Generation::FIRST;
        if !is_new {
            row.creation = Creation::Done;
        }
        row.save(&mut self.tx, &log);
        roster.save(&mut self.tx, &log);
        let mut conversation = rows::load::<ConversationRow>(&self.tx, Table::Conversations, id.as_bytes())?
            .unwrap_or_else(|| ConversationRow::new(Kind::Direct { peer }, self.now));
        self.take_log(&id, &mut conversation, order, log)?;
        if conversation.log == Some(log) {
            self.intend(&Intent::Vouch { log, at: self.now.after(VOUCH_DELAY) })?;
        }
        self.event(EventRow::Ready { conversation: id })?;
        if is_new {
            // Who introduces may not have come to create it: whoever is first does, the others find it done.
            self.intend(&Intent::Create { log })?;
            return Ok(());
        }
        self.enter(log, &row)
    }

    /// An introduction to a log that we have: of use where a turn left us out, or will (rule DEL-78).
    fn introduced_again(&mut self, row: LogRow, opened: &Opened<'_>) -> Result<(), Error> {
        let Opened { introduction, roster, .. } = *opened;
        let (log, LogPlace { conversation, generation, .. }) = (introduction.log(), introduction.place());
        if row.conversation != conversation {
            return Err(Error::BadKeys);
        }
        match row.standing {
            Standing::Past => Ok(()),
            Standing::LeftOut(LeftOut { gate: None, .. }) => self.keep_early(log, &row, opened),
            _ if generation > row.generation => self.keep_early(log, &row, opened),
            Standing::LeftOut(said) if generation == row.generation => {
                let secret = introduction.generation_secret();
                if introduction.checkpoint != row.began || !said.fits(&log, generation, secret, roster) {
                    return Err(Error::BadKeys);
                }
                let row = LogRow { secret: secret.expose().to_vec().into(), standing: Standing::Inside, ..row };
                row.save(&mut self.tx, &log);
                roster.save(&mut self.tx, &log);
                self.enter(log, &row)
            }
            _ => Ok(()),
        }
    }

    /// Keeps an introduction to a generation that we have not read up to. Where we cannot read any more, the relay is
    /// asked whether it is one.
    fn keep_early(&mut self, log: LogId, row: &LogRow, opened: &Opened<'_>) -> Result<(), Error> {
        let (sender, introduction) = (opened.sender.id(), opened.introduction);
        let generation = introduction.place().generation;
        let key = early_key(&log, &sender, generation);
        let of_sender = [EARLY_PREFIX, log.as_bytes(), sender.as_bytes()].concat();
        let kept = self.tx.scan_prefix(Table::Meta, &of_sender, Direction::Ascending, EARLY_INTRODUCTIONS_MAX)?;
        if kept.len() == EARLY_INTRODUCTIONS_MAX || self.tx.get(Table::Meta, &key)?.is_some() {
            return Err(Error::BadKeys);
        }
        let secret = introduction.generation_secret().expose().to_vec().into();
        let early = EarlyRow { secret, checkpoint: introduction.checkpoint, roster: opened.roster.to_row() };
        rows::save(&mut self.tx, Table::Meta, &key, &early);
        if !row.standing.is_inside() {
            self.probe(log, sender, generation, &early)?;
        }
        Ok(())
    }

    /// What the relay says of an introduction to a generation that we cannot read up to: with the right secret we go on
    /// there, and what is in between is missing.
    pub(super) fn probed(
        &mut self,
        log: LogId,
        sender: DeviceId,
        generation: Generation,
        is_granted: bool,
    ) -> Result<(), Error> {
        let key = early_key(&log, &sender, generation);
        let early = rows::load::<EarlyRow>(&self.tx, Table::Meta, &key)?;
        let (Some(early), Some(mut row)) = (early, LogRow::load(&self.tx, &log)?) else { return Ok(()) };
        let roster = Roster::from_row(&early.roster)?;
        let has_read = !self.tx.scan_prefix(Table::Heads, log.as_bytes(), Direction::Ascending, 1)?.is_empty();
        // Where nothing was ever read, whoever led us there may have led us anywhere.
        let is_ahead = !has_read || (generation > row.generation && early.checkpoint.seq > row.seq);
        let is_known = match roster.place(&sender).and_then(|place| roster.device(place)) {
            Some(device) => self.is_on_newest(device)?,
            None => false,
        };
        if !is_granted || !is_ahead || !is_known || !matches!(row.standing, Standing::LeftOut(_)) {
            self.tx.delete(Table::Meta, &key);
            return Ok(());
        }
        row.skip_to(early.checkpoint);
        (row.generation, row.turned_ms) = (generation, self.now);
        (row.secret, row.standing) = (early.secret, Standing::Inside);
        row.save(&mut self.tx, &log);
        roster.save(&mut self.tx, &log);
        self.remember_head(&log, early.checkpoint);
        self.forget_early(&log, generation)?;
        self.enter(log, &row)
    }
}

/// The verified lists of an introduction.
fn introduced_roster(introduction: &Introduction) -> Result<Roster, Error> {
    let pinned = |member: &IntroducedMember| -> Result<Pinned, Error> {
        let certificate = AccountCertificate::decode(&member.certificate)?;
        let list = DeviceList::decode(&member.device_list)?;
        list.verify(&certificate)?;
        Ok(Pinned::from_verified(certificate, list))
    };
    let (lower, higher) = (pinned(&introduction.lower)?, pinned(&introduction.higher)?);
    let is_in_order = lower.account() < higher.account();
    Roster::new(lower, higher).filter(|_| is_in_order).ok_or(Error::BadKeys)
}
