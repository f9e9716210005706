//! Devices of our own account: linking one, removing one, and the list of them as the directory has it.
//!
//! ```text
//! link_device(offer) ─▶ Opened ─▶ Comparing (code shown) ─confirm─▶ Agreed ─▶ certified: list, event, grant
//!                          └──────────┴──── a no, an abort, ten minutes ──┴─▶ nothing
//! ```
//!
//! Up to the moment at which the account key signs, a linking is in memory only: a process that ends in between has
//! changed nothing. From then on the list, the grant on its way and the event are one batch (rule ID-77).

use std::time::Duration;

use undertone_wire::VLBytes;
use undertone_wire::frame::{Entry, Request, SlotKind};
use undertone_wire::id::{ConnectionNonce, EntryId, LogId, Seq, ServerId, SlotId, TakeId};
use undertone_wire::refusal::Refusal;

use super::client::Client;
use super::event::{EventRow, Signal};
use super::link::Pending;
use super::postbox::{Postbox, Refused};
use super::rows::{self, ClientRow, Intent};
use super::step::Step;
use crate::conversation::ConversationId;
use crate::crypto::{CryptoRng, random_array};
use crate::dm::{self, SessionInfo};
use crate::error::Error;
use crate::identity::linking::{
    Abort, LINKING_TIME_MAX, LinkingCode, LinkingError, Mailbox, Offer, OldAgreed, OldComparing, OldOpened, OldReady,
    Round,
};
use crate::identity::{
    AccountId, Adoption, DEVICES_MAX, Device, DeviceId, DeviceList, IdentityError, RelayUrl, Role, peers,
};
use crate::store::{StoreView, Table};
use crate::time::UnixMs;

/// A linking under way, on the device that holds the account key.
pub(super) struct OldLinking {
    post: Postbox,
    new: Mailbox,
    role: Role,
    expires: UnixMs,
    state: OldState,
}

enum OldState {
    Opened(Box<OldOpened>),
    Comparing(Box<OldComparing>),
    Agreed(Box<OldAgreed>),
}

impl OldLinking {
    /// Whether an inbox is that of this linking.
    pub(super) fn reads(&self, log: &LogId) -> bool {
        self.post.inbox() == *log
    }

    /// When it is over, or something is to be tried again.
    pub(super) fn timer(&self) -> UnixMs {
        let over = self.expires.after(Duration::from_millis(1));
        self.post.retry_at().map_or(over, |at| at.min(over))
    }
}

impl OldState {
    /// Says that it is over; without a key yet there is no way to.
    fn abort(self, reason: Abort) -> Option<Vec<u8>> {
        match self {
            Self::Opened(_) => None,
            Self::Comparing(comparing) => Some(comparing.abort(reason)),
            Self::Agreed(agreed) => Some(agreed.abort(reason)),
        }
    }
}

impl<S: StoreView> Client<S> {
    /// Begins to link a new device, whose offer was scanned. [`Signal::LinkCode`] follows when it has answered. A person
    /// then has to say on both devices that they show the same digits. `role` says whether the new device gets the account
    /// key. Nothing is stored before that.
    ///
    /// # Errors
    /// `Misuse` on a device without the account key, while another linking is under way, without a connection, or for an
    /// offer that has expired or was made at another relay; `Storage`.
    pub fn link_device(
        &mut self,
        offer: &Offer,
        role: Role,
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Error> {
        self.step(now, rng, |step| step.link_device(offer, role), None)
    }

    /// The digits to compare, while a linking waits for it.
    pub fn linking_code(&self) -> Option<LinkingCode> {
        self.link().linking_code()
    }

    /// A person has said that the new device shows the same digits. The device is linked as soon as the one there has said
    /// so too: [`Event::DeviceLinked`](super::Event::DeviceLinked).
    ///
    /// # Errors
    /// `Misuse` if no code waits to be compared; `Storage`.
    pub fn confirm_link(&mut self, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        self.step(now, rng, |step| step.confirm_link(), None)
    }

    /// Ends a linking: the digits differ, or the person has changed their mind. The new device is told.
    ///
    /// # Errors
    /// `Misuse` if there is none; `Storage`.
    pub fn cancel_link(&mut self, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        self.step(now, rng, |step| step.cancel_link(), None)
    }

    /// Removes a device of ours: the next list leaves it out. Nothing is sent to it any more as soon as the directory has that
    /// list, which [`Event::DeviceRemoved`](super::Event::DeviceRemoved) tells.
    ///
    /// # Errors
    /// `Misuse` on a device without the account key, for an unknown device, for this one, and for one that holds the account
    /// key; `Storage`.
    pub fn remove_device(&mut self, device: &DeviceId, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        self.step(now, rng, |step| step.remove_device(device), None)
    }

    /// The devices of an account, in the order of the newest list that we have seen: our own, or one whose keys we have
    /// looked up.
    ///
    /// # Errors
    /// `Misuse` for an account of which we have seen no list; `Storage`.
    pub fn devices(&self, account: &AccountId) -> Result<Vec<Device>, Error> {
        if *account == self.account() {
            return Ok(self.us().own_devices().devices().to_vec());
        }
        let pinned = self.read(|query| Ok(peers::load(query.rows(), *account)?))?;
        Ok(pinned.ok_or(Error::UnknownAccount)?.devices().to_vec())
    }

    /// The session under which we send to another device, if there is one: how it began, and how far its post-quantum
    /// ratchet is.
    ///
    /// # Errors
    /// `Storage`.
    pub fn session(&self, device: &DeviceId) -> Result<Option<SessionInfo>, Error> {
        self.read(|query| Ok(dm::session_info(query.rows(), *device)?))
    }
}

impl Step<'_> {
    fn link_device(&mut self, offer: &Offer, role: Role) -> Result<(), Error> {
        self.expire_linking();
        if self.link.linking.is_some() {
            return Err(Error::LinkingUnderWay);
        }
        if !self.us.signs_lists() {
            return Err(IdentityError::NoAccountKey.into());
        }
        if self.us.device_list().devices().len() >= DEVICES_MAX {
            return Err(IdentityError::TooManyDevices.into());
        }
        let Some((_, server)) = self.link.connection() else { return Err(Error::Offline) };
        // Another device of ours may have changed the list since; a person needs longer to compare than this takes.
        self.ask_own_list();
        let mut post = Postbox::new(self.rng);
        let (state, opening) = OldOpened::open(offer, post.mailbox(), &server, self.now, self.rng)?;
        post.post(*offer.mailbox(), opening, self.rng);
        let (new, expires) = (*offer.mailbox(), self.now.after(LINKING_TIME_MAX).min(offer.expires()));
        let state = OldState::Opened(Box::new(state));
        self.link.linking = Some(OldLinking { post, new, role, expires, state });
        self.resume_linking();
        Ok(())
    }

    /// Opens the inbox of the linking on this connection, and sends what the relay may not have.
    pub(super) fn resume_linking(&mut self) {
        let Some((nonce, server)) = self.link.connection() else { return };
        let Some(linking) = &self.link.linking else { return };
        let inbox = linking.post.inbox();
        let opening = linking.post.open(&nonce, &server);
        let letters: Vec<(EntryId, Request)> = linking.post.letters().collect();
        let all = opening.into_iter().map(|request| (None, request));
        for (letter, request) in all.chain(letters.into_iter().map(|(entry, request)| (Some(entry), request))) {
            self.request(Pending::Post { inbox, letter }, request);
        }
    }

    /// The relay has something of the linking, or does not take it.
    pub(super) fn post_reply(&mut self, inbox: &LogId, letter: Option<&EntryId>, refusal: Option<&Refusal>) {
        let Some(mut linking) = self.link.linking.take_if(|linking| linking.reads(inbox)) else { return };
        match (letter, refusal) {
            (Some(letter), None) => linking.post.delivered(letter),
            (None, None) => {}
            (letter, Some(refusal)) => {
                let refused = linking.post.refused(refusal, self.now);
                if letter.is_some() && refused == Refused::ForGood {
                    return self.abort_linking(linking, LinkingError::Refused);
                }
            }
        }
        self.link.linking = Some(linking);
    }

    /// Tries again what the relay would not take for a moment.
    pub(super) fn retry_linking(&mut self) {
        let now = self.now;
        if self.link.linking.as_mut().is_some_and(|linking| linking.post.take_retry(now)) {
            self.resume_linking();
        }
    }

    /// Takes what came into the inbox of the linking.
    pub(super) fn linking_entries(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        let Some(mut linking) = self.link.linking.take() else { return Ok(()) };
        let now = self.now;
        for message in linking.post.read(entries) {
            let heard = match linking.state {
                OldState::Opened(opened) => opened.hear(&message, now).map(|round| match round {
                    Round::Ignored(same) => (OldState::Opened(Box::new(same)), None),
                    Round::Next((next, reveal)) => (OldState::Comparing(Box::new(next)), Some(reveal)),
                }),
                OldState::Comparing(comparing) => {
                    comparing.hear(&message, now).map(|next| (OldState::Comparing(Box::new(next)), None))
                }
                OldState::Agreed(agreed) => match agreed.hear(&message, now) {
                    Ok(Round::Ignored(same)) => Ok((OldState::Agreed(Box::new(same)), None)),
                    Ok(Round::Next(ready)) => return self.grant(&linking.post, linking.new, linking.role, ready),
                    Err(error) => Err(error),
                },
            };
            let (state, reveal) = match heard {
                Ok(heard) => heard,
                Err(error) => {
                    self.end_linking(&linking.post, error);
                    return Ok(());
                }
            };
            linking.state = state;
            if let Some(reveal) = reveal {
                linking.post.post(linking.new, reveal, self.rng);
                if let Some((entry, request)) = linking.post.last_letter() {
                    self.request(Pending::Post { inbox: linking.post.inbox(), letter: Some(entry) }, request);
                }
                if let OldState::Comparing(comparing) = &linking.state {
                    self.signal(Signal::LinkCode(comparing.code()));
                }
            }
        }
        self.link.linking = Some(linking);
        Ok(())
    }

    fn confirm_link(&mut self) -> Result<(), Error> {
        self.expire_linking();
        let Some(linking) = self.link.linking.take() else { return Err(Error::NoLinking) };
        let OldLinking { post, new, role, expires, state } = linking;
        let state = match state {
            OldState::Comparing(comparing) => match comparing.confirm(self.now) {
                Ok(Round::Next(ready)) => return self.grant(&post, new, role, ready),
                Ok(Round::Ignored(agreed)) => OldState::Agreed(Box::new(agreed)),
                Err(error) => {
                    self.end_linking(&post, error);
                    return Ok(());
                }
            },
            OldState::Opened(opened) => {
                self.link.linking = Some(OldLinking { post, new, role, expires, state: OldState::Opened(opened) });
                return Err(Error::NoLinking);
            }
            // Twice the same answer.
            agreed @ OldState::Agreed(_) => agreed,
        };
        self.link.linking = Some(OldLinking { post, new, role, expires, state });
        Ok(())
    }

    fn cancel_link(&mut self) -> Result<(), Error> {
        let Some(OldLinking { mut post, new, state, .. }) = self.link.linking.take() else {
            return Err(Error::NoLinking);
        };
        if let Some(message) = state.abort(Abort::Declined) {
            self.send_last(&mut post, new, message);
        }
        self.close_post(&post);
        Ok(())
    }

    /// Both have said yes: the account key signs.
    fn grant(&mut self, post: &Postbox, new: Mailbox, role: Role, ready: OldReady) -> Result<(), Error> {
        let relay = RelayUrl::new(&ClientRow::load(&self.tx)?.relay_url())?;
        let request = ready.request().clone();
        if self.has_candidate()? {
            let entry = EntryId::from_bytes(random_array(self.rng));
            self.request_deposit(new, entry, ready.abort(Abort::Failed));
            self.end_linking(post, LinkingError::Refused);
            return Ok(());
        }
        let grant = match self.us.certify(&mut self.tx, &request, role, relay, self.now) {
            Ok(grant) => grant,
            Err(IdentityError::Store(error)) => return Err(error.into()),
            Err(error) => {
                let entry = EntryId::from_bytes(random_array(self.rng));
                self.request_deposit(new, entry, ready.abort(Abort::Failed));
                self.end_linking(post, error.into());
                return Ok(());
            }
        };
        let (account, device) = (self.us.account(), grant.credential().device_certificate().id());
        let entry = EntryId::from_bytes(random_array(self.rng));
        let (inbox, token, payload) = (new.inbox, new.token, ready.grant(&grant).into());
        self.intend(&Intent::Grant { inbox, token, entry, payload, expires: self.now.after(LINKING_TIME_MAX) })?;
        self.own_list_signed()?;
        self.event(EventRow::DeviceLinked { account, device })?;
        self.close_post(post);
        Ok(())
    }

    fn remove_device(&mut self, device: &DeviceId) -> Result<(), Error> {
        // What will never be possible is refused at once.
        self.us.list_without(device, self.now)?;
        self.intend(&Intent::RemoveDevice { device: *device }).map(|_| ())
    }

    /// Whether the removal of a device waits for the directory.
    pub(super) fn is_being_removed(&self, device: &DeviceId) -> Result<bool, Error> {
        for ordinal in self.link.intents.iter() {
            let intent = rows::load::<Intent>(&self.tx, Table::Intents, &ordinal.to_be_bytes())?;
            if matches!(intent, Some(Intent::RemoveDevice { device: of }) if of == *device) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Signs a list without a device on top of the newest one, and has it published; nothing is signed before the directory
    /// has said which that is, and while another list of ours is on its way to it (rule ID-80).
    pub(super) fn pursue_removal(&mut self, ordinal: u64, device: &DeviceId) -> Result<(), Error> {
        if self.us.own_devices().device(device).is_none() {
            self.end_intent(ordinal);
            return Ok(());
        }
        if !self.link.has_own_list || self.is_publishing_list()? {
            return Ok(());
        }
        match self.us.list_without(device, self.now) {
            Ok(list) => {
                // If it is refused, the next attempt is not made at once, whatever the relay says.
                self.delay_intent(ordinal, &Refusal::Unknown);
                self.publish_candidate(&list)
            }
            Err(_) => {
                self.end_intent(ordinal);
                Ok(())
            }
        }
    }

    /// Publishes a list that becomes ours once the directory has taken it.
    fn publish_candidate(&mut self, list: &DeviceList) -> Result<(), Error> {
        let (version, body, items) = (list.list_version().as_u64(), list.encode().into(), Vec::new());
        self.intend(&Intent::Publish { kind: SlotKind::DeviceList, version, body, items }).map(|_| ())
    }

    /// The directory has taken a list of ours, which is the newest then; or it has another one.
    pub(super) fn own_list_published(&mut self, body: &[u8]) -> Result<(), Error> {
        let list = DeviceList::decode(body)?;
        match self.adopt_own_list(&list) {
            Ok(Adoption::Newer) => self.follow_own_list(),
            Ok(_) => Ok(()),
            Err(error) if error.poisons() => Err(error),
            // Meanwhile we know of a newer one.
            Err(_) => Ok(()),
        }
    }

    /// Another device of our account has been faster: its list is taken over, and what is still to be changed comes on top.
    pub(super) fn own_list_refused(&mut self) {
        self.link.has_own_list = false;
        self.link.is_list_refused = true;
        self.ask_own_list();
    }

    /// A linking that has taken too long ends.
    pub(super) fn expire_linking(&mut self) {
        if let Some(linking) = self.link.linking.take_if(|linking| linking.expires < self.now) {
            self.abort_linking(linking, LinkingError::Expired);
        }
    }

    /// A linking comes to nothing here, and the other side is told.
    fn abort_linking(&mut self, linking: OldLinking, error: LinkingError) {
        let OldLinking { mut post, new, state, .. } = linking;
        if let Some(message) = state.abort(Abort::Failed) {
            self.send_last(&mut post, new, message);
        }
        self.end_linking(&post, error);
    }

    /// The linking, taken out already, has come to nothing.
    fn end_linking(&mut self, post: &Postbox, error: LinkingError) {
        self.signal(Signal::LinkEnded(error));
        self.close_post(post);
    }

    fn close_post(&mut self, post: &Postbox) {
        let Some((nonce, server)) = self.link.connection() else { return };
        post.close(&nonce, &server).into_iter().for_each(|request| self.request(Pending::Unwatched, request));
    }

    /// Sends what need not arrive.
    fn send_last(&mut self, post: &mut Postbox, to: Mailbox, message: Vec<u8>) {
        post.post(to, message, self.rng);
        if self.link.is_online()
            && let Some((_, request)) = post.last_letter()
        {
            self.request(Pending::Unwatched, request);
        }
    }

    fn request_deposit(&mut self, to: Mailbox, entry: EntryId, message: Vec<u8>) {
        let deposit =
            undertone_wire::frame::Deposit { log: to.inbox, token: to.token, id: entry, payload: message.into() };
        if self.link.is_online() {
            self.request(Pending::Unwatched, Request::Deposit(deposit));
        }
    }

    // The list of our own devices.

    /// Our account's list has changed by our own hand: others are to find it.
    pub(super) fn own_list_signed(&mut self) -> Result<(), Error> {
        self.publish_list()?;
        self.follow_own_list()
    }

    /// Asks the directory for our account's own list: another device may have changed it, or removed this one.
    pub(super) fn ask_own_list(&mut self) {
        let slot = SlotId::of_owner(self.us.account_certificate().key());
        let take = TakeId::from_bytes(random_array(self.rng));
        self.request(Pending::OwnList, Request::Take { slot, kind: SlotKind::DeviceList, take });
    }

    /// What the directory has of it; none if nothing.
    pub(super) fn own_list_taken(&mut self, body: Option<&[u8]>) -> Result<(), Error> {
        self.link.has_own_list = true;
        let list = body.and_then(|body| DeviceList::decode(body).ok());
        match list.as_ref().map(|list| self.adopt_own_list(list)) {
            Some(Err(error)) if error.poisons() => return Err(error),
            // Ours, though the directory has not told us yet that it took it.
            Some(Ok(Adoption::Newer)) if self.lists_under_way()?.iter().any(|(_, it)| Some(it.as_slice()) == body) => {
                self.follow_own_list()?;
            }
            Some(Err(Error::Identity(IdentityError::DeviceListForked { .. } | IdentityError::ListChainBroken))) => {
                let us = self.us.account();
                if let Some(list) = list {
                    self.forked(&us, list.hash(), ConversationId::direct(&us, &us), Seq::from_u64(0))?;
                }
            }
            // The relay has lost ours, or has yet to get it.
            Some(Err(Error::Identity(IdentityError::ListRolledBack { .. }))) | None
                if !self.is_publishing_list()? =>
            {
                self.publish_list()?;
            }
            _ => {}
        }
        match self.us.renewed_list(self.now) {
            // After a refusal it can wait for the next day, or connection.
            Some(list) if !self.link.is_list_refused && !self.is_publishing_list()? => self.publish_candidate(&list),
            _ => Ok(()),
        }
    }

    /// Takes over a list of our own account that was signed on another device, and tells what is new in it.
    ///
    /// # Errors
    /// As [`LocalIdentity::adopt_list`](crate::identity::LocalIdentity::adopt_list); nothing is changed then.
    pub(super) fn adopt_own_list(&mut self, list: &DeviceList) -> Result<Adoption, Error> {
        let ids = |devices: &[Device]| devices.iter().map(Device::id).collect::<Vec<_>>();
        let before = ids(self.us.own_devices().devices());
        let adoption = self.us.adopt_list(&mut self.tx, list)?;
        let after = ids(self.us.own_devices().devices());
        let account = self.us.account();
        for device in after.iter().filter(|device| !before.contains(device)) {
            self.event(EventRow::DeviceLinked { account, device: *device })?;
        }
        for device in before.iter().filter(|device| !after.contains(device)) {
            self.event(EventRow::DeviceRemoved { account, device: *device })?;
        }
        if adoption != Adoption::Known {
            self.lists_changed(&account)?;
        }
        Ok(adoption)
    }

    /// The lists of ours that are on their way to the directory, encoded, with their versions.
    fn lists_under_way(&self) -> Result<Vec<(u64, VLBytes)>, Error> {
        let mut lists = Vec::new();
        for ordinal in self.link.intents.iter() {
            let intent = rows::load::<Intent>(&self.tx, Table::Intents, &ordinal.to_be_bytes())?;
            if let Some(Intent::Publish { kind: SlotKind::DeviceList, version, body, .. }) = intent {
                lists.push((version, body));
            }
        }
        Ok(lists)
    }

    /// Whether our list is on its way to the directory.
    fn is_publishing_list(&self) -> Result<bool, Error> {
        Ok(!self.lists_under_way()?.is_empty())
    }

    /// Whether a list is on its way to the directory that is not ours yet: no other one of its version may be signed.
    pub(super) fn has_candidate(&self) -> Result<bool, Error> {
        let ours = self.us.device_list().list_version().as_u64();
        Ok(self.lists_under_way()?.iter().any(|(version, _)| *version > ours))
    }
}

/// What a connection is: its nonce, and the relay's identity.
pub(super) type Connection = (ConnectionNonce, ServerId);

impl super::link::Link {
    fn linking_code(&self) -> Option<LinkingCode> {
        match &self.linking.as_ref()?.state {
            OldState::Comparing(comparing) => Some(comparing.code()),
            OldState::Opened(_) | OldState::Agreed(_) => None,
        }
    }
}
