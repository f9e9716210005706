//! Learning the keys of accounts and of their devices, and Welcomes: what goes through the directory and the inbox.
//!
//! ```text
//! add_contact ─▶ Devices ─▶ one device after the other: Address ─▶ Keys ─▶ log, introduction; the others follow
//! introduction ───────────▶ Address ─▶ Keys ─▶ introduction in its inbox
//! session ────────────────────────────▶ Keys ─▶ kept for the next message to it
//! mend ──────────────────▶ Address ─▶ Keys, if a session is to begin ─▶ heartbeat in its inbox
//! add_members ─▶ Devices ─▶ each device: Address ─▶ Keys ─▶ commit ─(in the log)─▶ Welcome in each inbox
//! ```

use undertone_wire::VLBytes;
use undertone_wire::chain;
use undertone_wire::frame::{Checkpoint, Entry, EntryContent, Reply, Request, SlotKind, Taken};
use undertone_wire::id::{EntryId, Generation, LogId, Seq, SlotId, TakeId};
use undertone_wire::refusal::{Action, Refusal};

use super::event::{EventRow, Failure};
use super::note::Way;
use super::rows::{
    self, Change, ClientRow, ContactRow, ConversationRow, Creation, Intent, Invitee, Item, Kind, LogRow, OutboxRow,
    Phase, Purpose, SealedWelcome, Stage, WelcomeRow,
};
use super::step::Step;
use crate::conversation::ConversationId;
use crate::crypto::random_array;
use crate::crypto::sign::SigningKey;
use crate::dm::{BundleBody, OneTimeItem};
use crate::envelope::Extensions;
use crate::envelope::address::InboxAddress;
use crate::envelope::first_contact::{NAMES_MAX, NameHint, WelcomeNote};
use crate::envelope::inbox::{self, InboxEntry, InboxKind, InboxPlace};
use crate::error::Error;
use crate::group::{self, GroupError, LeafOwner, Policy, Role};
use crate::identity::{
    AccountCertificate, AccountId, Credential, Device, DeviceList, DisplayName, IdentityError, Invitation, Pinned,
    peers,
};
use crate::limits::{GROUP_ADDS_MAX, LOOKUP_ATTEMPTS_UNTOLD, WELCOMES_WAITING_MAX};
use crate::store::{Direction, StoreError, Table};

impl Step<'_> {
    /// Opens the direct conversation with an account, or finds the one that is there.
    pub(super) fn add_contact(&mut self, invitation: &Invitation) -> Result<ConversationId, Error> {
        let account = invitation.account();
        let us = self.us.device().account();
        if account == us {
            return Err(Error::OwnInvitation);
        }
        let id = ConversationId::direct(&us, &account);
        let known = rows::load::<ConversationRow>(&self.tx, Table::Conversations, id.as_bytes())?;
        self.learn_contact(invitation.certificate().encode(), account, Some(invitation.name()))?;
        let past = match known {
            Some(ConversationRow { phase: Phase::Failed | Phase::Past, past, .. }) => past,
            Some(_) => return Ok(id),
            None => Vec::new(),
        };
        let row = ConversationRow { past, ..ConversationRow::new(Kind::Direct { peer: account }, self.now) };
        self.save_conversation(&id, &row);
        if self.link.is_online() && self.us.own_devices().devices().len() > 1 {
            // Another device of ours may have changed the list: the log begins with the newest.
            self.ask_own_list();
        }
        self.look_up(account, Purpose::Contact)?;
        Ok(id)
    }

    /// Begins to learn the keys of an account.
    fn look_up(&mut self, account: AccountId, purpose: Purpose) -> Result<(), Error> {
        let take = TakeId::from_bytes(random_array(self.rng));
        self.intend(&Intent::Lookup { account, purpose, stage: Stage::Devices, take }).map(|_| ())
    }

    /// Writes down an account, and what it calls itself.
    pub(super) fn learn_contact(
        &mut self,
        certificate: Vec<u8>,
        account: AccountId,
        name: Option<&DisplayName>,
    ) -> Result<(), Error> {
        let known = rows::load::<ContactRow>(&self.tx, Table::Contacts, account.as_bytes())?;
        let old_name = known.as_ref().map(|known| known.name.clone());
        let new_name = name.map(|name| name.as_str().as_bytes().to_vec().into());
        let row = ContactRow {
            certificate: certificate.into(),
            name: new_name.clone().or(old_name.clone()).unwrap_or_else(|| Vec::new().into()),
            conversation: ConversationId::direct(&self.us.device().account(), &account),
        };
        rows::save(&mut self.tx, Table::Contacts, account.as_bytes(), &row);
        if new_name.is_some() && new_name != old_name {
            self.event(EventRow::Contact { account })?;
        }
        Ok(())
    }

    /// Somebody that a group has shown us.
    pub(super) fn learn_member(&mut self, device: &Device) -> Result<(), Error> {
        if device.account() == self.us.device().account() {
            return Ok(());
        }
        self.learn_contact(device.certificates().account_certificate().encode(), device.account(), None)
    }

    /// What an account calls itself, said by itself.
    pub(super) fn learn_name(&mut self, account: AccountId, name: &DisplayName) -> Result<(), Error> {
        let Some(known) = rows::load::<ContactRow>(&self.tx, Table::Contacts, account.as_bytes())? else {
            return Ok(());
        };
        self.learn_contact(known.certificate.as_slice().to_vec(), account, Some(name))
    }

    /// The request of one stage.
    pub(super) fn lookup_request(
        &mut self,
        account: &AccountId,
        purpose: &Purpose,
        stage: &Stage,
        take: TakeId,
    ) -> Result<Request, Error> {
        let device_slot = |credential: &[u8]| -> Result<SlotId, Error> {
            let credential = Credential::decode(credential).map_err(|_| StoreError::Corrupt)?;
            Ok(SlotId::of_owner(credential.device_certificate().signing()))
        };
        let (slot, kind) = match stage {
            Stage::Devices => (SlotId::of_owner(self.certificate(account)?.key()), SlotKind::DeviceList),
            Stage::Address { credential } => (device_slot(credential.as_slice())?, SlotKind::InboxAddress),
            Stage::Keys { credential, .. } => (device_slot(credential.as_slice())?, slot_of_keys(purpose)),
        };
        Ok(Request::Take { slot, kind, take })
    }

    /// The certificate of an account that we know.
    fn certificate(&self, account: &AccountId) -> Result<AccountCertificate, Error> {
        let contact = self.contact(account)?;
        Ok(AccountCertificate::decode(contact.certificate.as_slice()).map_err(|_| StoreError::Corrupt)?)
    }

    /// Takes the reply to the request of an intent.
    pub(super) fn intent_reply(&mut self, ordinal: u64, reply: Reply) -> Result<(), Error> {
        let Some(intent) = rows::load::<Intent>(&self.tx, Table::Intents, &ordinal.to_be_bytes())? else {
            return Ok(());
        };
        match (intent, reply) {
            (Intent::Lookup { account, purpose, stage, .. }, Reply::Taken(taken)) => {
                let mark = self.mark();
                match self.taken(ordinal, account, &purpose, &stage, &taken) {
                    Err(error) if !error.poisons() => {
                        self.undo_to(mark);
                        self.lookup_failed(ordinal, account, &purpose, &stage, Failure::BadKeys)
                    }
                    other => other,
                }
            }
            (Intent::Lookup { account, purpose, stage, .. }, Reply::Refused(refusal)) => {
                if refusal.action() == Action::Fatal {
                    return self.lookup_failed(ordinal, account, &purpose, &stage, Failure::Refused);
                }
                let attempts = self.delay_intent(ordinal, &refusal);
                if refusal != Refusal::Unknown || attempts != LOOKUP_ATTEMPTS_UNTOLD {
                    return Ok(());
                }
                match purpose {
                    // The peer may not have come online since it made its account: we go on trying.
                    Purpose::Contact => match self.next_device(&account, &stage)? {
                        Some(next) => self.look_at(ordinal, account, purpose, &next),
                        None => {
                            let conversation = self.purpose_conversation(account, &purpose);
                            let failure = Failure::NoKeys;
                            self.event(EventRow::Failed { conversation, account: Some(account), failure })
                        }
                    },
                    // A group does not wait for somebody who has no keys.
                    Purpose::Member { .. } => self.lookup_failed(ordinal, account, &purpose, &stage, Failure::NoKeys),
                    // What waits for this device goes on without it.
                    Purpose::Introduction { .. }
                    | Purpose::Note { .. }
                    | Purpose::Session
                    | Purpose::Sibling { .. }
                    | Purpose::Mend => {
                        let us = self.us.account();
                        self.lists_changed(&us)
                    }
                }
            }
            (Intent::GiveHistory { to, payloads, .. }, Reply::Appended { places }) => {
                self.history_appended(ordinal, &to, &payloads, &places)
            }
            (Intent::GiveHistory { to, log, .. }, Reply::Refused(refusal)) => {
                self.history_refused(ordinal, &to, log, &refusal)
            }
            (Intent::TakeHistory { .. }, Reply::Done) => {
                // Kept, and pursued again on the next connection.
                self.link.keep_busy(ordinal);
                Ok(())
            }
            (Intent::TakeHistory { from, .. }, Reply::Refused(refusal)) => {
                self.history_unreadable(ordinal, &from, &refusal)
            }
            (Intent::Create { log }, Reply::Done) => {
                self.end_intent(ordinal);
                let mut row = self.log_row(&log)?;
                row.creation = Creation::Done;
                row.save(&mut self.tx, &log);
                self.enter(log, &row)
            }
            // Somebody who knows its root has made it with another gate than its secret gives.
            (Intent::Create { log }, Reply::Refused(Refusal::Exists)) => {
                self.end_intent(ordinal);
                let row = self.log_row(&log)?;
                if row.secret.as_slice().is_empty() { Ok(()) } else { self.lose_gate(log, row) }
            }
            (Intent::Publish { kind, version, body, .. }, Reply::Published { .. }) => {
                if kind == SlotKind::DeviceList {
                    self.own_list_published(body.as_slice())?;
                }
                self.end_intent(ordinal);
                self.shelved(kind, version, body)
            }
            // A new device that takes no grant any more has given up.
            (Intent::Grant { .. }, Reply::Refused(Refusal::NotProven | Refusal::Unknown)) => {
                self.end_intent(ordinal);
                Ok(())
            }
            (Intent::Deposit { .. } | Intent::Grant { .. }, Reply::Appended { .. }) => {
                self.end_intent(ordinal);
                Ok(())
            }
            (Intent::Publish { kind, .. }, Reply::Refused(Refusal::VersionConflict { version })) => {
                self.end_intent(ordinal);
                self.restock(kind, version)
            }
            (_, Reply::Refused(refusal)) => match refusal.action() {
                Action::Retry { .. } | Action::Refresh => {
                    self.delay_intent(ordinal, &refusal);
                    Ok(())
                }
                Action::Fatal => {
                    self.end_intent(ordinal);
                    Ok(())
                }
            },
            _ => Err(Error::UnaskedReply),
        }
    }

    fn purpose_conversation(&self, account: AccountId, purpose: &Purpose) -> ConversationId {
        match purpose {
            Purpose::Member { conversation, .. } => *conversation,
            Purpose::Sibling { log } => ConversationId::group(log),
            Purpose::Contact
            | Purpose::Introduction { .. }
            | Purpose::Note { .. }
            | Purpose::Session
            | Purpose::Mend => ConversationId::direct(&self.us.account(), &account),
        }
    }

    /// A device cannot be used. Another of its account is tried, where one is as good as another.
    fn lookup_failed(
        &mut self,
        ordinal: u64,
        account: AccountId,
        purpose: &Purpose,
        stage: &Stage,
        failure: Failure,
    ) -> Result<(), Error> {
        if let Purpose::Introduction { .. }
        | Purpose::Note { .. }
        | Purpose::Session
        | Purpose::Sibling { .. }
        | Purpose::Mend = purpose
        {
            return self.device_failed(ordinal, account, purpose, stage, failure);
        }
        if let Some(next) = self.next_device(&account, stage)? {
            return self.look_at(ordinal, account, purpose.clone(), &next);
        }
        self.end_intent(ordinal);
        let conversation = self.purpose_conversation(account, purpose);
        match purpose {
            Purpose::Member { conversation, ordinal } => {
                if self.invitee(conversation, *ordinal, account, None, true)? {
                    // Some of its devices are to be added.
                    return Ok(());
                }
            }
            _ => {
                let mut row = self.conversation(&conversation)?;
                if row.log.is_some() {
                    // The peer has been faster, perhaps with a list that is newer than what the directory has yet.
                    return Ok(());
                }
                row.phase = Phase::Failed;
                self.save_conversation(&conversation, &row);
            }
        }
        self.event(EventRow::Failed { conversation, account: Some(account), failure })
    }

    /// The keys of one device do not serve: the app is told once, and they are asked for again, as long as it is listed.
    fn device_failed(
        &mut self,
        ordinal: u64,
        account: AccountId,
        purpose: &Purpose,
        stage: &Stage,
        failure: Failure,
    ) -> Result<(), Error> {
        let is_listed = match stage.credential() {
            Some(credential) => {
                let device = Credential::decode(credential)?.verify(None)?;
                self.is_on_newest(&device)?
            }
            None => false,
        };
        if !is_listed {
            self.end_intent(ordinal);
            return Ok(());
        }
        let take = TakeId::from_bytes(random_array(self.rng));
        let intent = Intent::Lookup { account, purpose: purpose.clone(), stage: stage.clone(), take };
        rows::save(&mut self.tx, Table::Intents, &ordinal.to_be_bytes(), &intent);
        let attempts = self.delay_intent(ordinal, &Refusal::Unknown);
        if attempts == LOOKUP_ATTEMPTS_UNTOLD {
            let us = self.us.account();
            self.lists_changed(&us)?;
        }
        if attempts > 1 || account == self.us.account() {
            return Ok(());
        }
        let conversation = self.purpose_conversation(account, purpose);
        self.event(EventRow::Failed { conversation, account: Some(account), failure })
    }

    /// The device behind the one that a stage is about, in its account's list.
    fn next_device(&self, account: &AccountId, stage: &Stage) -> Result<Option<Device>, Error> {
        let (Some(credential), Some(newest)) = (stage.credential(), self.newest(account)?) else { return Ok(None) };
        let device = Credential::decode(credential)?.device_certificate().id();
        let devices = newest.devices();
        let at = devices.iter().position(|other| other.id() == device);
        let us = self.us.device().id();
        Ok(at.and_then(|at| devices[at + 1..].iter().find(|other| other.id() != us).cloned()))
    }

    /// Goes on with another device.
    fn look_at(&mut self, ordinal: u64, account: AccountId, purpose: Purpose, device: &Device) -> Result<(), Error> {
        let stage = Stage::Address { credential: device.certificates().encode().into() };
        let take = TakeId::from_bytes(random_array(self.rng));
        self.advance_intent(ordinal, &Intent::Lookup { account, purpose, stage, take });
        Ok(())
    }

    /// Goes from one stage to the next.
    fn taken(
        &mut self,
        ordinal: u64,
        account: AccountId,
        purpose: &Purpose,
        stage: &Stage,
        taken: &Taken,
    ) -> Result<(), Error> {
        let body = taken.body.as_slice();
        match stage {
            Stage::Devices => {
                let certificate = self.certificate(&account)?;
                let list = DeviceList::decode(body)?;
                let before = self.newest(&account)?.map(|before| before.hash());
                let pinned = match peers::pin(&mut self.tx, &certificate, &list, self.now) {
                    Err(IdentityError::DeviceListForked { .. } | IdentityError::ListChainBroken) => {
                        let id = self.purpose_conversation(account, purpose);
                        self.note_list(id, Seq::from_u64(0), &Pinned::from_verified(certificate, list))?;
                        return self.lookup_failed(ordinal, account, purpose, stage, Failure::BadKeys);
                    }
                    pinned => pinned?,
                };
                if before.is_some_and(|before| before != pinned.hash()) {
                    self.lists_changed(&account)?;
                }
                let first = pinned.devices().first().ok_or(IdentityError::Malformed)?;
                self.look_at(ordinal, account, purpose.clone(), first)
            }
            Stage::Address { credential } => {
                let device = Credential::decode(credential.as_slice())?.verify(Some(self.now))?;
                let address = InboxAddress::decode(body).map_err(|_| Error::BadKeys)?;
                address.verify(&device).map_err(|_| Error::BadKeys)?;
                let is_for_group = matches!(slot_of_keys(purpose), SlotKind::KeyPackages);
                let needs_keys = is_for_group || self.begins_anew(&device)?;
                if !needs_keys {
                    self.end_intent(ordinal);
                    return self.reached(purpose, &device, Way { address: body, bundle: None });
                }
                let stage = Stage::Keys { credential: credential.clone(), address: taken.body.clone() };
                let take = TakeId::from_bytes(random_array(self.rng));
                let purpose = purpose.clone();
                self.advance_intent(ordinal, &Intent::Lookup { account, purpose, stage, take });
                Ok(())
            }
            Stage::Keys { credential, address } => {
                let device = Credential::decode(credential.as_slice())?.verify(Some(self.now))?;
                let item = taken.item.as_ref().map(|item| item.as_slice());
                match purpose {
                    Purpose::Contact | Purpose::Introduction { .. } | Purpose::Note { .. } | Purpose::Mend => {
                        let (bundle, pair) = (BundleBody::decode(body)?, item.map(OneTimeItem::decode).transpose()?);
                        self.end_intent(ordinal);
                        let bundle = Some((&bundle, pair.as_ref()));
                        self.reached(purpose, &device, Way { address: address.as_slice(), bundle })
                    }
                    Purpose::Session => {
                        self.end_intent(ordinal);
                        self.bundle_came(&device, body, item)
                    }
                    Purpose::Sibling { log } => {
                        let found = vec![self.found(&device, taken, address)?];
                        self.end_intent(ordinal);
                        let change = Change::Add { wanted: Vec::new(), found };
                        let id = ConversationId::group(log);
                        if self.conversation(&id)?.phase != Phase::Active {
                            return Ok(());
                        }
                        self.enqueue(&id, Item::Commit(change), undertone_wire::frame::Class::Control).map(|_| ())
                    }
                    Purpose::Member { conversation, ordinal: of } => {
                        let found = self.found(&device, taken, address)?;
                        let next = self.next_device(&account, stage)?;
                        self.invitee(conversation, *of, account, Some(found), next.is_none())?;
                        match next {
                            Some(next) => self.look_at(ordinal, account, purpose.clone(), &next),
                            None => {
                                self.end_intent(ordinal);
                                Ok(())
                            }
                        }
                    }
                }
            }
        }
    }

    /// A device with the key package that the directory gave for it.
    fn found(&self, device: &Device, taken: &Taken, address: &VLBytes) -> Result<Invitee, Error> {
        let key_package = taken.item.clone().unwrap_or_else(|| taken.body.clone());
        let package = group::verify_key_package(key_package.as_slice(), self.now)?;
        let (account, device) = (device.account(), device.id());
        if package.owner() != (LeafOwner { account, device }) {
            return Err(Error::BadKeys);
        }
        Ok(Invitee { account, device, key_package, address: address.clone() })
    }

    /// It is known how to reach a device.
    fn reached(&mut self, purpose: &Purpose, device: &Device, way: Way<'_>) -> Result<(), Error> {
        match purpose {
            Purpose::Contact => self.first_contact(device, way),
            _ if !self.is_on_newest(device)? => Ok(()),
            Purpose::Mend => self.mend(device, way),
            Purpose::Note { kind, plaintext } => self.note(device, way, *kind, plaintext.as_slice()),
            purpose => self.introduce_as(purpose, device, way),
        }
    }

    /// Seals something for the inbox of a device.
    pub(super) fn deposit(
        &mut self,
        address: &InboxAddress,
        entry: EntryId,
        device: &Device,
        sealed: &InboxEntry,
    ) -> Result<(), Error> {
        let place = InboxPlace { inbox: address.inbox(), entry, recipient: device.id() };
        let payload = inbox::seal(address.seal_key(), &place, sealed, self.rng).map_err(|_| Error::BadKeys)?;
        let (inbox, token) = (address.inbox(), address.knock());
        self.intend(&Intent::Deposit { inbox, token, entry, payload: payload.into() }).map(|_| ())
    }

    /// Handles entries of our inbox. What is not right is dropped: strangers can write there.
    pub(super) fn inbox_entries(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        let log = self.us.inbox();
        let link = self.link.logs.entry(log).or_default();
        if link.hold.is_some() {
            return Ok(());
        }
        self.heard.is_forced = std::mem::take(&mut link.is_forced);
        let mut through = ClientRow::load(&self.tx)?.inbox_seq;
        for entry in entries {
            if entry.seq <= through {
                continue;
            }
            let before = std::mem::replace(&mut through, entry.seq);
            let EntryContent::Payload(payload) = &entry.content else { continue };
            let place = InboxPlace { inbox: self.us.inbox(), entry: entry.id, recipient: self.us.device().id() };
            let Ok(opened) = inbox::open(self.us.seal(), &place, payload.as_slice()) else { continue };
            let mark = self.mark();
            match self.inbox_entry(&opened, &place) {
                Err(error) if error.poisons() => return Err(error),
                Err(_) => {
                    self.undo_to(mark);
                    if let Some(jump) = self.heard.take_jump() {
                        through = before;
                        self.hold(log, jump);
                        break;
                    }
                    self.note_refusals()?;
                }
                Ok(()) => {}
            }
            self.heard.is_forced = false;
            self.goes_on();
        }
        self.client(|client| client.inbox_seq = through)?;
        self.request(super::link::Pending::Unwatched, Request::AckInbox { log, through });
        Ok(())
    }

    fn inbox_entry(&mut self, opened: &InboxEntry, place: &InboxPlace) -> Result<(), Error> {
        let device = Credential::decode(opened.sender())?.verify(Some(self.now))?;
        match opened.kind() {
            InboxKind::Introduction => self.introduced(&device, opened, place.entry),
            InboxKind::History => self.history_offered(&device, opened, place.entry),
            InboxKind::Heartbeat => self.heartbeat(&device, opened, place.entry),
            InboxKind::AccountKey => self.account_key_came(&device, opened, place.entry),
            InboxKind::Welcome => {
                opened.verify_welcome(device.signing(), place).map_err(|_| Error::BadKeys)?;
                self.welcomed(&device, opened.body())
            }
        }
    }

    /// Somebody has added us to a group.
    fn welcomed(&mut self, device: &Device, note: &[u8]) -> Result<(), Error> {
        // Only those whom we know may put us into a group, and our own devices; others go through an invitation first.
        if device.account() != self.us.account() {
            self.contact(&device.account())?;
        } else if !self.is_on_newest(device)? {
            return Err(Error::BadKeys);
        }
        let encoded = note;
        let note = WelcomeNote::decode(encoded).map_err(|_| Error::BadKeys)?;
        let joined = match group::join(&mut self.tx, self.us, &note.welcome) {
            // We were removed, and have yet to read it.
            Err(GroupError::AlreadyAMember) => return self.keep_welcome(&note.log, device, encoded),
            joined => joined?,
        };
        if joined.log != note.log || joined.sender.device != device.id() {
            return Err(Error::BadKeys);
        }
        let id = ConversationId::group(&note.log);
        self.begin_reading(id, &note, joined.policy.name())?;
        for member in group::devices(&mut self.tx, note.log)? {
            self.learn_member(&member)?;
        }
        for hint in &note.names {
            let known = rows::load::<ContactRow>(&self.tx, Table::Contacts, hint.account.as_bytes())?;
            // Said by another: it fills a blank and replaces nothing.
            if known.is_some_and(|known| known.name.as_slice().is_empty()) {
                self.learn_name(hint.account, &hint.name)?;
            }
        }
        self.event(EventRow::Ready { conversation: id })?;
        self.enqueue_profile(&id)?;
        let row = self.log_row(&note.log)?;
        self.enter(note.log, &row)
    }

    /// Keeps a Welcome until the log shows that we were removed before.
    fn keep_welcome(&mut self, log: &LogId, device: &Device, note: &[u8]) -> Result<(), Error> {
        let of_sender = [rows::WELCOME_PREFIX, log.as_bytes(), device.id().as_bytes()].concat();
        let kept = self.tx.scan_prefix(Table::Meta, &of_sender, Direction::Ascending, WELCOMES_WAITING_MAX)?;
        if kept.len() == WELCOMES_WAITING_MAX
            && let Some((oldest, _)) = kept.first()
        {
            self.tx.delete(Table::Meta, oldest);
        }
        let key = [of_sender.as_slice(), &self.next_ordinal()?.to_be_bytes()].concat();
        let row = WelcomeRow { credential: device.certificates().encode().into(), note: note.to_vec().into() };
        rows::save(&mut self.tx, Table::Meta, &key, &row);
        Ok(())
    }

    /// We were removed from a group by the entry at `removed_at`: takes the first Welcome of later that has come already.
    pub(super) fn take_welcome(&mut self, log: &LogId, removed_at: Seq) -> Result<(), Error> {
        let prefix = [rows::WELCOME_PREFIX, log.as_bytes()].concat();
        let mut later = Vec::new();
        for (key, value) in self.tx.scan_prefix(Table::Meta, &prefix, Direction::Ascending, usize::MAX)? {
            let row: WelcomeRow = rows::decode(&value)?;
            let note = WelcomeNote::decode(row.note.as_slice()).map_err(|_| StoreError::Corrupt)?;
            if note.checkpoint.seq > removed_at {
                later.push((note.checkpoint.seq, key, row));
            } else {
                self.tx.delete(Table::Meta, &key);
            }
        }
        later.sort_by_key(|(seq, ..)| *seq);
        for (_, key, row) in later {
            self.tx.delete(Table::Meta, &key);
            let mark = self.mark();
            let device = Credential::decode(row.credential.as_slice())?.verify(Some(self.now));
            match device.map_err(Error::from).and_then(|device| self.welcomed(&device, row.note.as_slice())) {
                Err(error) if error.poisons() => return Err(error),
                Err(_) => self.undo_to(mark),
                Ok(()) => break,
            }
        }
        Ok(())
    }

    /// Writes down the log of a group into which we were welcomed, perhaps again.
    fn begin_reading(&mut self, id: ConversationId, note: &WelcomeNote, name: &str) -> Result<(), Error> {
        let mut row = LogRow::new(id, note.generation, note.checkpoint, self.now);
        row.creation = Creation::Done;
        if let Some(before) = LogRow::load(&self.tx, &note.log)? {
            // A Welcome that we have had before, or an older one, takes us back to no epoch that we have left.
            if before.conversation != id || note.checkpoint.seq <= before.seq {
                return Err(Error::BadKeys);
            }
            // Our numbers go on where the others know them to be; theirs begin with what we hear next.
            row.next_seq = before.next_seq;
            row.read_through = before.read_through;
            let seen = self.tx.scan_prefix(Table::Seen, note.log.as_bytes(), Direction::Ascending, usize::MAX)?;
            for (key, _) in seen {
                self.tx.delete(Table::Seen, &key);
            }
        }
        row.save(&mut self.tx, &note.log);
        self.save_conversation(&id, &ConversationRow::group(note.log, name, self.now));
        Ok(())
    }

    /// Sends the Welcome of a commit that is in the log, to each device on its own: never one message to all, which
    /// would be a list of members (rule DEL-52).
    pub(super) fn welcome(
        &mut self,
        log: &LogId,
        generation: Generation,
        checkpoint: Checkpoint,
        invitees: &[Invitee],
        welcomes: &[SealedWelcome],
    ) -> Result<(), Error> {
        let names = self.name_hints(log)?;
        let devices = group::devices(&mut self.tx, *log)?;
        for invitee in invitees {
            let Some(device) = devices.iter().find(|device| device.id() == invitee.device) else { continue };
            let address = InboxAddress::decode(invitee.address.as_slice()).map_err(|_| StoreError::Corrupt)?;
            let Some(sealed) = welcomes.iter().find(|welcome| welcome.device == invitee.device) else { continue };
            let welcome = sealed.welcome.as_slice().to_vec();
            let (names, extensions) = (names.clone(), Extensions::NONE);
            let note = WelcomeNote { log: *log, generation, checkpoint, welcome, names, extensions };
            let entry = EntryId::from_bytes(random_array(self.rng));
            let place = InboxPlace { inbox: address.inbox(), entry, recipient: device.id() };
            let sender = self.us.credential().encode();
            let sealed = InboxEntry::welcome(sender, note.encode(), self.us.signing_key(), &place);
            match self.deposit(&address, entry, device, &sealed) {
                // The commit stands in the log, whatever its inbox is like: the others go on.
                Err(error) if !error.poisons() => {
                    let conversation = ConversationId::group(log);
                    let (account, failure) = (Some(invitee.account), Failure::BadKeys);
                    self.event(EventRow::Failed { conversation, account, failure })?;
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// What we know the members of a group by.
    fn name_hints(&mut self, log: &LogId) -> Result<Vec<NameHint>, Error> {
        let mut hints = vec![NameHint { account: self.us.device().account(), name: self.us.name().clone() }];
        for member in group::members(&mut self.tx, *log)? {
            let known = rows::load::<ContactRow>(&self.tx, Table::Contacts, member.account.as_bytes())?;
            if let Some(Ok(name)) = known.map(|known| DisplayName::from_utf8(known.name.as_slice())) {
                hints.push(NameHint { account: member.account, name });
            }
        }
        hints.truncate(NAMES_MAX);
        Ok(hints)
    }

    /// Creates a group and queues its first invitations.
    pub(super) fn create_group(&mut self, name: &str, accounts: &[AccountId]) -> Result<ConversationId, Error> {
        let policy = Policy::new(name, self.us.device().account())?;
        let control = SigningKey::random(self.rng);
        let log = LogId::of_control_key(&control.verify_key());
        group::create(&mut self.tx, self.us, log, &policy, self.rng)?;
        let id = ConversationId::group(&log);
        LogRow {
            control: control.to_seed().expose().to_vec().into(),
            ..LogRow::new(id, Generation::FIRST, Checkpoint { seq: Seq::from_u64(0), head: chain::EMPTY }, self.now)
        }
        .save(&mut self.tx, &log);
        self.save_conversation(&id, &ConversationRow::group(log, name, self.now));
        self.intend(&Intent::Create { log })?;
        self.event(EventRow::Ready { conversation: id })?;
        if !accounts.is_empty() {
            self.add_members(&id, accounts)?;
        }
        Ok(id)
    }

    /// Queues the adding of accounts to a group.
    pub(super) fn add_members(&mut self, id: &ConversationId, accounts: &[AccountId]) -> Result<(), Error> {
        let (_, log) = self.managed_group(id)?;
        let members = group::members(&mut self.tx, log)?;
        let mut wanted: Vec<AccountId> = accounts.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|account| members.iter().all(|member| member.account != *account));
        for account in &wanted {
            self.contact(account)?;
        }
        for wanted in wanted.chunks(GROUP_ADDS_MAX) {
            let change = Change::Add { wanted: wanted.to_vec(), found: Vec::new() };
            let ordinal = self.enqueue(id, Item::Commit(change), undertone_wire::frame::Class::Control)?;
            for account in wanted {
                self.look_up(*account, Purpose::Member { conversation: *id, ordinal })?;
            }
        }
        Ok(())
    }

    /// A device was found for an invitation, or none; `is_last` ends the lookup of its account. Says whether the invitation
    /// has any device of that account.
    fn invitee(
        &mut self,
        conversation: &ConversationId,
        ordinal: u64,
        account: AccountId,
        device: Option<Invitee>,
        is_last: bool,
    ) -> Result<bool, Error> {
        let key = rows::outbox_key(conversation, ordinal);
        let Some(mut outbox) = rows::load::<OutboxRow>(&self.tx, Table::Outbox, &key)? else { return Ok(false) };
        let mut has_any = false;
        if let Item::Commit(Change::Add { wanted, found }) = &mut outbox.item {
            found.extend(device);
            has_any = found.iter().any(|found| found.account == account);
            if is_last {
                wanted.retain(|wanted| *wanted != account);
            }
            // Accounts of many devices: one commit adds no more than its bound, and the next ones the others.
            if wanted.is_empty() && found.len() > GROUP_ADDS_MAX {
                for found in found.split_off(GROUP_ADDS_MAX).chunks(GROUP_ADDS_MAX) {
                    let change = Change::Add { wanted: Vec::new(), found: found.to_vec() };
                    self.enqueue(conversation, Item::Commit(change), undertone_wire::frame::Class::Control)?;
                }
            }
        }
        rows::save(&mut self.tx, Table::Outbox, &key, &outbox);
        self.link.dirty.insert(*conversation);
        Ok(has_any)
    }

    /// Queues the removal of accounts from a group.
    pub(super) fn remove_members(&mut self, id: &ConversationId, accounts: &[AccountId]) -> Result<(), Error> {
        let (_, log) = self.managed_group(id)?;
        let members = group::members(&mut self.tx, log)?;
        let us = self.us.device().account();
        for account in accounts {
            if *account == us {
                return Err(Error::RemovingOurselves);
            }
            if members.iter().all(|member| member.account != *account) {
                return Err(Error::UnknownAccount);
            }
        }
        let change = Change::Remove { accounts: accounts.to_vec() };
        self.enqueue(id, Item::Commit(change), undertone_wire::frame::Class::Control).map(|_| ())
    }

    /// Queues another name for a group.
    pub(super) fn rename_group(&mut self, id: &ConversationId, name: &str) -> Result<(), Error> {
        let (_, log) = self.managed_group(id)?;
        group::policy(&mut self.tx, log)?.with_name(name)?;
        let change = Change::Rename { name: name.as_bytes().to_vec().into() };
        self.enqueue(id, Item::Commit(change), undertone_wire::frame::Class::Control).map(|_| ())
    }

    /// Queues our leaving of a group.
    pub(super) fn leave_group(&mut self, id: &ConversationId) -> Result<(), Error> {
        let (mut row, log) = self.group(id)?;
        if row.phase != Phase::Active {
            return Err(Error::Ended);
        }
        if self.is_last_owner(log)? {
            return Err(Error::LastOwner);
        }
        let us = self.us.device().account();
        if group::members(&mut self.tx, log)?.iter().all(|member| member.account == us) {
            // Nobody is there to commit a wish.
            row.phase = Phase::Left;
            self.save_conversation(id, &row);
            self.drop_outbox(id)?;
            return self.event(EventRow::Removed { conversation: *id, by: us });
        }
        self.enqueue(id, Item::Leave, undertone_wire::frame::Class::Control)?;
        row.phase = Phase::Leaving;
        self.save_conversation(id, &row);
        Ok(())
    }

    fn is_last_owner(&mut self, log: LogId) -> Result<bool, Error> {
        let us = self.us.device().account();
        let members = group::members(&mut self.tx, log)?;
        let is_owner = |member: &group::Member| member.role == Role::Owner;
        let ours = members.iter().any(|member| member.account == us && is_owner(member));
        let theirs = members.iter().any(|member| member.account != us && is_owner(member));
        Ok(ours && !theirs && members.iter().any(|member| member.account != us))
    }

    /// A group that goes on, and in which we may change things.
    fn managed_group(&mut self, id: &ConversationId) -> Result<(ConversationRow, LogId), Error> {
        let (row, log) = self.group(id)?;
        if row.phase != Phase::Active {
            return Err(Error::Ended);
        }
        let role = group::policy(&mut self.tx, log)?.role(&self.us.device().account());
        if role.manages() { Ok((row, log)) } else { Err(Error::Forbidden) }
    }
}

/// Where the keys of a device are that a lookup needs.
fn slot_of_keys(purpose: &Purpose) -> SlotKind {
    match purpose {
        Purpose::Contact | Purpose::Introduction { .. } | Purpose::Note { .. } | Purpose::Session | Purpose::Mend => {
            SlotKind::PrekeyBundle
        }
        Purpose::Member { .. } | Purpose::Sibling { .. } => SlotKind::KeyPackages,
    }
}
