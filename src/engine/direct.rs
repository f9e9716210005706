//! Direct parcels: sealed for every device of both accounts but ours, and opened as one of them (spec/dm, spec/delivery).
//!
//! ```text
//! recipients: the devices of the roster ──session, or a bundle that is here──▶ one wrap each
//!                                       └─neither──▶ a lookup, and the entry waits; without answer it goes on without
//! ```

use undertone_wire::VLBytes;
use undertone_wire::frame::{Checkpoint, Class, Entry};
use undertone_wire::id::{Generation, LogId};

use super::event::{Failure, Reason};
use super::mend::Via;
use super::outbox::{Carried, Sealing};
use super::receive::Refused;
use super::roster::Roster;
use super::rows::{
    self, BUNDLE_PREFIX, BundleRow, Draft, EARLY_PREFIX, EarlyRow, Handover, Intent, Item, LeftOut, LogRow, OutboxRow,
    Purpose, Stage, early_key,
};
use super::step::Step;
use crate::conversation::ConversationId;
use crate::crypto::{Secret32, SecretBytes, random_array};
use crate::dm::fanout::{PayloadKey, SealedPayload};
use crate::dm::wrap::{self, Wrap};
use crate::dm::{self, Begin, BundleBody, DmError, Health, OneTimeItem, Recovery};
use crate::envelope::parcel::BODY_LEN_MAX;
use crate::envelope::{
    DevicePlace, DirectBody, DirectForm, DirectWrap, Evidence, Fanout, Frame, FrameKind, IfUnknown, ListName, LogKeys,
    NamedLists, Parcel, ParcelKind, Side, TurnBody,
};
use crate::error::Error;
use crate::identity::{AccountId, Device, DeviceId, DeviceList, Pinned};
use crate::limits::LOOKUP_ATTEMPTS_UNTOLD;
use crate::store::{Direction, StoreError, Table};

/// How a device can be reached.
enum Reach {
    /// With what is here.
    Ready,
    /// Its keys are being fetched.
    Later,
    /// Its keys cannot be had for now: what is said meanwhile is not for it.
    Never,
}

/// Who gets a wrap, and who would but cannot be reached.
struct Recipients {
    ready: Vec<(DevicePlace, Device)>,
    left_out: Vec<DeviceId>,
}

/// A body on its way into a parcel.
struct Addressed {
    body: DirectBody,
    handshakes: Vec<DeviceId>,
}

/// Where a direct body stands and who wrote it.
struct Origin<'o> {
    log: &'o LogId,
    kind: ParcelKind,
    evidence: &'o Evidence,
    lists: NamedLists,
    sender: DevicePlace,
}

/// What a valid turn of somebody else begins.
pub(super) enum Turned {
    /// A generation of which we have the secret.
    Inside(Secret32, Box<Roster>),
    /// One of which we have not, for that reason; with these lists, if they could be read.
    LeftOut { reason: Reason, lists: Option<NamedLists> },
    /// A generation without this device: our account has removed it.
    Removed,
    /// Nothing: it brings another list of a version that the account has signed already.
    Forked,
}

impl Step<'_> {
    /// Seals an envelope for all other devices of both accounts.
    pub(super) fn seal_direct(
        &mut self,
        log: &LogId,
        row: &LogRow,
        peer: AccountId,
        outbox: &OutboxRow,
        evidence: Evidence,
        plaintext: &[u8],
    ) -> Result<Sealing, Error> {
        let roster = self.roster(log)?;
        let Some(sender) = roster.place(&self.us.device().id()) else { return Ok(Sealing::NotYet) };
        let Some(recipients) = self.recipients(&roster, |_| true)? else { return Ok(Sealing::NotYet) };
        let theirs = roster.side_of(&peer).ok_or(StoreError::Corrupt)?;
        if recipients.ready.iter().all(|(place, _)| place.side != theirs) {
            // To whom we speak could read none of it.
            return Ok(Sealing::NotYet);
        }
        let kind = ParcelKind::DirectMessage;
        let origin = Origin { log, kind, evidence: &evidence, lists: roster.names(), sender };
        let mark = self.mark();
        let addressed = match self.wrap_ready(&origin, &recipients.ready, plaintext) {
            Err(Error::Direct(DmError::TooLong)) => return Ok(Sealing::Never(Failure::TooLarge)),
            addressed => addressed?,
        };
        let Some(addressed) = addressed else { return Ok(Sealing::NotYet) };
        let body = addressed.body.encode();
        if body.len() > BODY_LEN_MAX && !addressed.handshakes.is_empty() {
            self.undo_to(mark);
            return self.send_handshakes_first(log, row);
        }
        let parcel = Parcel { kind, evidence, body };
        self.sealed(log, row, outbox, &parcel, Carried { handshakes: addressed.handshakes, ..Carried::default() })
    }

    /// Seals the turn of a direct log to the newest lists, for the devices that were on those before and still are.
    pub(super) fn seal_turn(
        &mut self,
        log: &LogId,
        row: &LogRow,
        peer: AccountId,
        outbox: &OutboxRow,
        evidence: Evidence,
        wanted_at: Option<Generation>,
    ) -> Result<Sealing, Error> {
        let (old, new) = (self.roster(log)?, self.newest_roster(&peer)?);
        if new.names() == old.names() && wanted_at != Some(row.generation) {
            // Somebody was faster.
            return Ok(Sealing::Nothing);
        }
        let Some(sender) = new.place(&self.us.device().id()) else { return Ok(Sealing::NotYet) };
        let Some(mut recipients) = self.recipients(&new, |device| old.place(&device.id()).is_some())? else {
            return Ok(Sealing::NotYet);
        };
        recipients.left_out.extend(new.devices().map(|(_, device)| device.id()).filter(|id| old.place(id).is_none()));
        // Drawn anew for each attempt: one that lost its race may have been for a device that is gone since.
        let secret = Secret32::random(self.rng);
        let kind = ParcelKind::DirectTurn;
        let origin = Origin { log, kind, evidence: &evidence, lists: new.names(), sender };
        let Some(addressed) = self.wrap_ready(&origin, &recipients.ready, secret.expose())? else {
            return Ok(Sealing::NotYet);
        };
        let brought = |side: Side| match old.side(side).hash() == new.side(side).hash() {
            true => Vec::new(),
            false => new.side(side).list().encode(),
        };
        let body = TurnBody::new(brought(Side::Lower), brought(Side::Higher), addressed.body).encode();
        let gate = LogKeys::derive(&secret, *log, row.generation.next()).gate();
        let (roster, left_out) = (new.to_row(), recipients.left_out);
        let handover = Handover { secret: secret.expose().to_vec().into(), roster, left_out };
        let parcel = Parcel { kind, evidence, body };
        let carried =
            Carried { turn: Some(gate), handover: Some(handover), handshakes: addressed.handshakes, welcomes: vec![] };
        self.sealed(log, row, outbox, &parcel, carried)
    }

    /// Those of the roster's other devices that are meant and can be reached; none if that is not known yet.
    fn recipients(&mut self, roster: &Roster, is_meant: impl Fn(&Device) -> bool) -> Result<Option<Recipients>, Error> {
        let us = self.us.device().id();
        let mut recipients = Recipients { ready: Vec::new(), left_out: Vec::new() };
        let mut waits = false;
        for (place, device) in roster.devices().filter(|(_, device)| device.id() != us && is_meant(device)) {
            match self.reach(device)? {
                Reach::Ready => recipients.ready.push((place, device.clone())),
                Reach::Later => waits = true,
                Reach::Never => recipients.left_out.push(device.id()),
            }
        }
        Ok((!waits).then_some(recipients))
    }

    /// Whether there is a session with a device, or what begins one; if not, or if it is worn, that is fetched.
    fn reach(&mut self, device: &Device) -> Result<Reach, Error> {
        let health = dm::health(&self.tx, device.id())?;
        if health == Health::Good {
            return Ok(Reach::Ready);
        }
        if health == Health::Missing
            && let Begin::At { .. } = Recovery::load(&self.tx, device.id())?.begin(self.now)
        {
            // What there was has ended, and the next one is not due yet (rules DM-53, DM-54).
            self.mind(device)?;
            return Ok(Reach::Later);
        }
        let key = bundle_key(&device.id());
        match rows::load(&self.tx, Table::Meta, &key)? {
            Some(BundleRow::Here { .. }) => return Ok(Reach::Ready),
            Some(BundleRow::Wanted { ordinal }) if self.link.intents.contains(&ordinal) => {
                let is_tried = self.link.attempts(ordinal) >= LOOKUP_ATTEMPTS_UNTOLD;
                return Ok(match (health, is_tried) {
                    // It goes on in the old one until it has the keys for another, if it ever has.
                    (Health::Worn, _) => Reach::Ready,
                    (_, true) => Reach::Never,
                    (_, false) => Reach::Later,
                });
            }
            _ => {}
        }
        let credential: VLBytes = device.certificates().encode().into();
        let stage = Stage::Keys { credential, address: Vec::new().into() };
        let take = undertone_wire::id::TakeId::from_bytes(random_array(self.rng));
        let account = device.account();
        let ordinal = self.intend(&Intent::Lookup { account, purpose: Purpose::Session, stage, take })?;
        rows::save(&mut self.tx, Table::Meta, &key, &BundleRow::Wanted { ordinal });
        Ok(if health == Health::Worn { Reach::Ready } else { Reach::Later })
    }

    /// The prekeys of a device have come: they are verified, and kept for the next message to it.
    pub(super) fn bundle_came(&mut self, device: &Device, body: &[u8], item: Option<&[u8]>) -> Result<(), Error> {
        let (bundle, pair) = (BundleBody::decode(body)?, item.map(OneTimeItem::decode).transpose()?);
        if dm::health(&self.tx, device.id())? != Health::Good {
            // Tried now, so that a bundle that cannot serve is no bundle.
            let mark = self.mark();
            let trial =
                dm::initiate(&mut self.tx, self.us, device, &bundle, pair.as_ref(), &[], &[], self.now, self.rng);
            self.undo_to(mark);
            trial?;
            let here = BundleRow::Here { body: body.into(), item: item.map(VLBytes::from) };
            rows::save(&mut self.tx, Table::Meta, &bundle_key(&device.id()), &here);
        }
        self.ask_for_sessions_again()?;
        self.lists_changed(&device.account())?;
        let us = self.us.account();
        self.lists_changed(&us)
    }

    /// The directory has the keys of one device: those of others, given up for now, are asked for again before anything is
    /// sent without them.
    fn ask_for_sessions_again(&mut self) -> Result<(), Error> {
        for ordinal in self.link.delayed_intents() {
            let intent = rows::load::<Intent>(&self.tx, Table::Intents, &ordinal.to_be_bytes())?;
            if matches!(intent, Some(Intent::Lookup { purpose: Purpose::Session, .. })) {
                self.link.hurry(ordinal);
            }
        }
        Ok(())
    }

    fn forget_bundles(&mut self, devices: &[(DevicePlace, Device)]) -> Result<(), Error> {
        for (_, device) in devices {
            let key = bundle_key(&device.id());
            if let Some(BundleRow::Here { .. }) = rows::load(&self.tx, Table::Meta, &key)? {
                self.tx.delete(Table::Meta, &key);
            }
        }
        Ok(())
    }

    /// Seals a plaintext for each recipient; none if the bundle of one expired while it waited. Another is fetched then.
    fn wrap_ready(
        &mut self,
        origin: &Origin<'_>,
        recipients: &[(DevicePlace, Device)],
        plaintext: &[u8],
    ) -> Result<Option<Addressed>, Error> {
        let mark = self.mark();
        match self.wrap_all(origin, recipients, plaintext) {
            Err(Error::Direct(DmError::NoSession)) => {
                self.undo_to(mark);
                self.forget_bundles(recipients)?;
                Ok(None)
            }
            addressed => addressed.map(Some),
        }
    }

    /// Seals a plaintext for each recipient.
    fn wrap_all(
        &mut self,
        origin: &Origin<'_>,
        recipients: &[(DevicePlace, Device)],
        plaintext: &[u8],
    ) -> Result<Addressed, Error> {
        let ad = origin.ad(recipients.iter().map(|(place, _)| *place));
        let form = match recipients {
            [(place, device)] => DirectForm::Inline(self.wrap(origin.log, *place, device, &ad, plaintext)?),
            recipients => {
                let (key, payload) = SealedPayload::seal(plaintext, self.rng);
                let binding = payload.bind(&ad);
                let mut wraps = Vec::with_capacity(recipients.len());
                for (place, device) in recipients {
                    wraps.push(self.wrap(origin.log, *place, device, binding.as_bytes(), key.expose())?);
                }
                let SealedPayload { commitment, ciphertext } = payload;
                DirectForm::Fanout(Fanout { commitment, wraps, ciphertext })
            }
        };
        let with_handshake = recipients.iter().zip(form.wraps()).filter(|(_, wrap)| !wrap.handshake.is_empty());
        let handshakes = with_handshake.map(|((_, device), _)| device.id()).collect();
        Ok(Addressed { body: DirectBody { lists: origin.lists, sender: origin.sender, form }, handshakes })
    }

    /// Seals for one device, in the session with it or in one that begins now.
    fn wrap(
        &mut self,
        log: &LogId,
        recipient: DevicePlace,
        device: &Device,
        ad: &[u8],
        plaintext: &[u8],
    ) -> Result<DirectWrap, Error> {
        let bundle = rows::load(&self.tx, Table::Meta, &bundle_key(&device.id()))?;
        let is_here = matches!(bundle, Some(BundleRow::Here { .. }));
        let sealed = match is_here && dm::health(&self.tx, device.id())? == Health::Worn {
            true => Err(DmError::NoSession),
            false => wrap::seal(&mut self.tx, Some(*log), device.id(), ad, plaintext, self.rng),
        };
        let Wrap { handshake, message } = match sealed {
            Err(DmError::NoSession) => self.first_wrap(device, ad, plaintext)?,
            wrap => wrap?,
        };
        Ok(DirectWrap { recipient, handshake, message })
    }

    /// Begins a session from the bundle that is here.
    fn first_wrap(&mut self, device: &Device, ad: &[u8], plaintext: &[u8]) -> Result<Wrap, DmError> {
        let key = bundle_key(&device.id());
        let Some(BundleRow::Here { body, item }) = rows::load(&self.tx, Table::Meta, &key)? else {
            return Err(DmError::NoSession);
        };
        self.tx.delete(Table::Meta, &key);
        let body = BundleBody::decode(body.as_slice())?;
        let item = item.map(|item| OneTimeItem::decode(item.as_slice())).transpose()?;
        wrap::begin(&mut self.tx, self.us, device, &body, item.as_ref(), ad, plaintext, self.now, self.rng).map_err(
            |error| match error {
                DmError::BadPrekey { .. } => DmError::NoSession,
                error => error,
            },
        )
    }

    /// A message that leaves no room for the handshakes of new sessions waits until an empty envelope has carried them.
    fn send_handshakes_first(&mut self, log: &LogId, row: &LogRow) -> Result<Sealing, Error> {
        let id = row.conversation;
        let first = self.tx.scan_prefix(Table::Outbox, id.as_bytes(), Direction::Ascending, 1)?;
        let Some((key, value)) = first.first() else { return Ok(Sealing::NotYet) };
        if let OutboxRow { item: Item::Envelope(Draft { message: None, .. }), log: Some(of), .. } = rows::decode(value)?
            && of == *log
        {
            return Ok(Sealing::NotYet);
        }
        let (_, ordinal) = super::outbox::split_key(key)?;
        let draft = self.draft(Frame::new(FrameKind::STATUS, IfUnknown::Ignore, Vec::new()), None);
        self.put_at(&id, ordinal - 1, Item::Envelope(draft), Class::Normal, Some(*log));
        Ok(Sealing::NotYet)
    }

    /// Opens a direct body, as one of the devices that the roster lists; says which device wrote it.
    pub(super) fn open_direct(
        &mut self,
        log: &LogId,
        roster: &Roster,
        kind: ParcelKind,
        evidence: &Evidence,
        body: DirectBody,
    ) -> Result<(Device, SecretBytes), Refused> {
        let DirectBody { lists, sender, form } = body;
        if lists != roster.names() {
            return Err(Reason::Lists.into());
        }
        let device = roster.device(sender).ok_or(Reason::Malformed)?.clone();
        let is_known = form.wraps().iter().all(|wrap| roster.device(wrap.recipient).is_some());
        if device.id() == self.us.device().id() || !is_known {
            return Err(Reason::Malformed.into());
        }
        let us = roster.place(&self.us.device().id()).ok_or(Reason::NotAddressed)?;
        let ours = form.wraps().iter().find(|wrap| wrap.recipient == us).ok_or(Reason::NotAddressed)?;
        let wrap = Wrap { handshake: ours.handshake.clone(), message: ours.message.clone() };
        let ad = Origin { log, kind, evidence, lists, sender }.ad(form.wraps().iter().map(|wrap| wrap.recipient));
        let plaintext = match form {
            DirectForm::Inline(_) => self.open_wrap(&device, &ad, &wrap, Via::Log(*log))?,
            DirectForm::Fanout(Fanout { commitment, ciphertext, .. }) => {
                let payload = SealedPayload { commitment, ciphertext };
                let ad = payload.bind(&ad);
                let key = self.open_wrap(&device, ad.as_bytes(), &wrap, Via::Log(*log))?;
                payload.open(&PayloadKey::from_wrap(&key)?)?
            }
        };
        self.pay_key(&device)?;
        Ok((device, plaintext))
    }

    /// Whether an envelope says that this device sealed it, though it is none of ours: of a life of this store that was lost.
    pub(super) fn is_lost_own(&self, roster: &Roster, body: &DirectBody) -> bool {
        let sender = roster.device(body.sender).filter(|_| body.lists == roster.names());
        sender.is_some_and(|sender| sender.id() == self.us.device().id())
    }

    /// Opens a turn, and finds what it begins (rules DEL-72 to DEL-75).
    pub(super) fn open_turn(
        &mut self,
        log: &LogId,
        row: &LogRow,
        entry: &Entry,
        evidence: &Evidence,
        body: &[u8],
    ) -> Result<Turned, Refused> {
        let turn = TurnBody::decode(body).map_err(|_| Reason::Malformed)?;
        let old = self.roster(log)?;
        for side in [Side::Lower, Side::Higher] {
            if let Some(forked) = forked_list(&old, &turn, side) {
                // Whoever sent it: the account's signature stands under both.
                self.note_list(row.conversation, entry.seq, &forked)?;
                return Ok(Turned::Forked);
            }
        }
        let new = Roster::new(lists_of(&old, &turn, Side::Lower)?, lists_of(&old, &turn, Side::Higher)?)
            .ok_or(Reason::Lists)?;
        let sender = new.device(turn.direct.sender).ok_or(Reason::Malformed)?.id();
        if old.place(&sender).is_none() {
            return Err(Reason::Lists.into());
        }
        let gate = entry.turn.ok_or(Reason::CommitWithoutTurn)?;
        let next = row.generation.next();
        let gate_of = |secret: &Secret32| LogKeys::derive(secret, *log, next).gate();
        if Secret32::from_slice(row.secret.as_slice()).is_some_and(|present| gate_of(&present) == gate) {
            // All who are in see that nothing is new, whatever is sealed for whom.
            return Err(Reason::VoidTurn.into());
        }
        if new.place(&self.us.device().id()).is_none() {
            self.note_lists(row.conversation, entry, &old, &new)?;
            return Ok(Turned::Removed);
        }
        let lists = Some(new.names());
        let mark = self.mark();
        let opened = match self.open_direct(log, &new, ParcelKind::DirectTurn, evidence, turn.direct) {
            Ok((_, plaintext)) => match Secret32::from_slice(&plaintext) {
                Some(secret) if gate_of(&secret) == gate => Ok(secret),
                Some(_) => Err(Reason::VoidTurn),
                None => Err(Reason::Malformed),
            },
            // It was sealed for us, and will open when what stands in front of it in another log is read (rule DEL-96).
            Err(refused) if self.heard.is_waiting() => return Err(refused),
            Err(Refused::Because(reason)) => Err(reason),
            Err(stop) => return Err(stop),
        };
        let secret = match opened {
            Ok(secret) => secret,
            Err(reason) => {
                self.undo_to(mark);
                return Ok(Turned::LeftOut { reason, lists });
            }
        };
        self.note_lists(row.conversation, entry, &old, &new)?;
        Ok(Turned::Inside(secret, Box::new(new)))
    }

    fn note_lists(&mut self, id: ConversationId, entry: &Entry, old: &Roster, new: &Roster) -> Result<(), Error> {
        for side in [Side::Lower, Side::Higher] {
            if new.side(side).hash() != old.side(side).hash() {
                self.note_list(id, entry.seq, new.side(side))?;
            }
        }
        Ok(())
    }

    /// What a generation began with, if an introduction that came before has told of this very turn (rule DEL-84).
    pub(super) fn early_begun(
        &self,
        log: &LogId,
        generation: Generation,
        began: Checkpoint,
        said: &LeftOut,
    ) -> Result<Option<(Secret32, Roster)>, Error> {
        for (sender, at, early) in self.early(log)? {
            let roster = Roster::from_row(&early.roster)?;
            let secret = Secret32::from_slice(early.secret.as_slice()).ok_or(StoreError::Corrupt)?;
            if (at, early.checkpoint) == (generation, began)
                && roster.place(&sender).is_some()
                && said.fits(log, generation, &secret, &roster)
            {
                return Ok(Some((secret, roster)));
            }
        }
        Ok(None)
    }

    /// The introductions to later generations of a log.
    pub(super) fn early(&self, log: &LogId) -> Result<Vec<(DeviceId, Generation, EarlyRow)>, Error> {
        let prefix = [EARLY_PREFIX, log.as_bytes()].concat();
        let rows = self.tx.scan_prefix(Table::Meta, &prefix, Direction::Ascending, usize::MAX)?;
        let parse = |(key, value): (Vec<u8>, Vec<u8>)| -> Result<_, Error> {
            let rest = key.get(prefix.len()..).ok_or(StoreError::Corrupt)?;
            let (sender, generation) = rest.split_first_chunk::<32>().ok_or(StoreError::Corrupt)?;
            let generation = generation.try_into().map_err(|_| StoreError::Corrupt)?;
            let generation = Generation::from_u64(u64::from_be_bytes(generation));
            Ok((DeviceId::from_bytes(*sender), generation, rows::decode(&value)?))
        };
        rows.into_iter().map(|(key, value)| parse((key.to_vec(), value.to_vec()))).collect()
    }

    /// Forgets the introductions to a log's generations up to the present one.
    pub(super) fn forget_early(&mut self, log: &LogId, present: Generation) -> Result<(), Error> {
        for (sender, generation, _) in self.early(log)? {
            if generation <= present {
                self.tx.delete(Table::Meta, &early_key(log, &sender, generation));
            }
        }
        Ok(())
    }

    /// A log that was turned by us: its devices are those that we sealed for, and the others are introduced.
    pub(super) fn own_turn(
        &mut self,
        log: &LogId,
        row: &LogRow,
        after: Checkpoint,
        handover: Handover,
    ) -> Result<Turned, Refused> {
        let secret = Secret32::from_slice(handover.secret.as_slice()).ok_or(StoreError::Corrupt)?;
        let roster = Roster::from_row(&handover.roster)?;
        let generation = row.generation.next();
        for device in handover.left_out.iter().filter_map(|id| Some(roster.device(roster.place(id)?)?.clone())) {
            self.introduce_later(*log, generation, after, &handover, &device)?;
        }
        Ok(Turned::Inside(secret, Box::new(roster)))
    }
}

/// A list that a turn brings though the account has signed another one of the same version, if there is one.
fn forked_list(old: &Roster, turn: &TurnBody, side: Side) -> Option<Pinned> {
    let before = old.side(side);
    let list = DeviceList::decode(turn.list(side)).ok()?;
    let is_twin = list.list_version() == before.list_version() && list.hash() != before.hash();
    let is_signed = is_twin && list.verify(before.certificate()).is_ok();
    is_signed.then(|| Pinned::from_verified(before.certificate().clone(), list))
}

/// The list that a turn begins with on one side: the one that it brings, or the one before.
fn lists_of(old: &Roster, turn: &TurnBody, side: Side) -> Result<Pinned, Reason> {
    let before = old.side(side);
    let named = turn.direct.lists.of(side);
    let brought = turn.list(side);
    if brought.is_empty() {
        return if named == ListName::of(before.list()) { Ok(before.clone()) } else { Err(Reason::Lists) };
    }
    let list = DeviceList::decode(brought).map_err(|_| Reason::Lists)?;
    let is_next = before.list_version().as_u64() + 1 == list.list_version().as_u64();
    let follows = list.list_version() > before.list_version() && (!is_next || list.previous() == before.hash());
    if ListName::of(&list) != named || !follows || list.verify(before.certificate()).is_err() {
        return Err(Reason::Lists);
    }
    Ok(Pinned::from_verified(before.certificate().clone(), list))
}

impl LeftOut {
    /// Whether a secret and lists are those of the generation that began.
    pub(super) fn fits(&self, log: &LogId, generation: Generation, secret: &Secret32, roster: &Roster) -> bool {
        self.gate == Some(LogKeys::derive(secret, *log, generation).gate())
            && self.lists.is_none_or(|lists| lists == roster.names())
    }
}

impl Origin<'_> {
    /// The associated data of a direct body: log, kind, what the sender has seen, lists, sender, and every recipient.
    fn ad(&self, recipients: impl Iterator<Item = DevicePlace>) -> Vec<u8> {
        let mut ad = self.log.as_bytes().to_vec();
        ad.push(self.kind as u8);
        ad.extend_from_slice(&self.evidence.to_bytes());
        for list in [self.lists.lower, self.lists.higher] {
            ad.extend_from_slice(&list.version.as_u64().to_be_bytes());
            ad.extend_from_slice(list.hash.as_bytes());
        }
        for place in std::iter::once(self.sender).chain(recipients) {
            ad.push(place.side as u8);
            ad.extend_from_slice(&place.index.to_be_bytes());
        }
        ad
    }
}

fn bundle_key(device: &DeviceId) -> Vec<u8> {
    [BUNDLE_PREFIX, device.as_bytes()].concat()
}
