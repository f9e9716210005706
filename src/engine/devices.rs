//! What follows when the devices of our account change: direct logs are turned, groups take a device in or put it out
//! (spec/delivery, rules DEL-71, DEL-82).
//!
//! ```text
//! a list that we signed ──▶ directory; every direct log; every group
//! a list that a sibling signed ──▶ every direct log (the sibling sees to the groups)
//! ```

use undertone_wire::frame::Class;
use undertone_wire::id::{EntryId, LogId, TakeId};

use super::client::Client;
use super::event::EventRow;
use super::rows::{self, Change, ClientRow, ConversationRow, Intent, Item, Kind, Phase, Purpose, Stage};
use super::step::Step;
use crate::conversation::ConversationId;
use crate::crypto::{CryptoRng, random_array};
use crate::envelope::inbox::{InboxEntry, InboxKind};
use crate::error::Error;
use crate::group;
use crate::identity::{Capability, Device, DeviceId, DeviceRequest, Grant, KeyGrant, RelayUrl, Role};
use crate::store::{Direction, StoreError, StoreView, Table};
use crate::time::UnixMs;

impl<S: StoreView> Client<S> {
    /// Makes a device one of our account at its request, without the exchange of [`Client::link_device`]: for whoever
    /// carries request and grant over a channel that nobody else can read or write. The grant is a secret.
    ///
    /// # Errors
    /// `Misuse` if we do not hold the account key, while another change of the list is on its way to the directory, or for a
    /// request that does not verify; `Storage`.
    pub fn certify_device(
        &mut self,
        request: &DeviceRequest,
        role: Role,
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<Grant, Error> {
        self.step(now, rng, |step| step.certify_device(request, role), None)
    }
}

impl Step<'_> {
    fn certify_device(&mut self, request: &DeviceRequest, role: Role) -> Result<Grant, Error> {
        if self.has_candidate()? {
            return Err(Error::LinkingUnderWay);
        }
        let relay = RelayUrl::new(&ClientRow::load(&self.tx)?.relay_url())?;
        let grant = self.us.certify(&mut self.tx, request, role, relay, self.now)?;
        self.own_list_signed()?;
        let (account, device) = (self.us.account(), grant.credential().device_certificate().id());
        self.event(EventRow::DeviceLinked { account, device })?;
        Ok(grant)
    }

    /// The other devices of our account get a session with us, and learn by it that we are here (rule DEL-59).
    pub(super) fn greet_siblings(&mut self) -> Result<(), Error> {
        let us = self.us.device().id();
        let siblings: Vec<_> = self.us.own_devices().devices().iter().filter(|it| it.id() != us).cloned().collect();
        for sibling in &siblings {
            self.note_later(sibling, InboxKind::Heartbeat, &[])?;
        }
        Ok(())
    }

    /// A device has shown that it keeps its state: if we owe it the account key, it gets it now (rule ID-79), unless a person
    /// has asked meanwhile to have it removed.
    pub(super) fn pay_key(&mut self, device: &Device) -> Result<(), Error> {
        let id = device.id();
        if !self.us.owes_key(&id) || !self.us.signs_lists() || self.is_being_removed(&id)? {
            return Ok(());
        }
        let grant = self.us.grant_key(&mut self.tx, &device.id())?.encode();
        self.note_later(device, InboxKind::AccountKey, &grant).map(|_| ())
    }

    /// The device that certified us sends the account key.
    pub(super) fn account_key_came(
        &mut self,
        device: &Device,
        opened: &InboxEntry,
        entry: EntryId,
    ) -> Result<(), Error> {
        let grant = KeyGrant::decode(&self.open_note(device, opened, entry)?)?;
        let is_ours = device.account() == self.us.account() && device.can(Capability::PRIMARY);
        if !is_ours || !self.is_on_newest(device)? {
            return Err(Error::BadKeys);
        }
        Ok(self.us.take_key(&mut self.tx, grant)?)
    }

    /// We have signed another list: conversations follow it.
    pub(super) fn follow_own_list(&mut self) -> Result<(), Error> {
        let us = self.us.account();
        self.lists_changed(&us)?;
        let listed = self.us.own_devices().devices().to_vec();
        for (id, log) in self.active_groups()? {
            let members = group::members(&mut self.tx, log)?;
            let ours: Vec<DeviceId> =
                members.iter().filter(|member| member.account == us).map(|member| member.device).collect();
            for device in listed.iter().filter(|device| !ours.contains(&device.id())) {
                let purpose = Purpose::Sibling { log };
                let stage = Stage::Address { credential: device.certificates().encode().into() };
                let take = TakeId::from_bytes(random_array(self.rng));
                self.intend(&Intent::Lookup { account: us, purpose, stage, take })?;
            }
            let gone = ours.into_iter().filter(|id| listed.iter().all(|device| device.id() != *id)).collect::<Vec<_>>();
            if !gone.is_empty() {
                self.enqueue(&id, Item::Commit(Change::RemoveDevices { devices: gone }), Class::Control)?;
            }
        }
        Ok(())
    }

    /// The groups in which we are.
    fn active_groups(&self) -> Result<Vec<(ConversationId, LogId)>, Error> {
        let mut groups = Vec::new();
        for (key, value) in self.tx.scan_prefix(Table::Conversations, &[], Direction::Ascending, usize::MAX)? {
            let row: ConversationRow = rows::decode(&value)?;
            if let (Kind::Group, Phase::Active, Some(log)) = (row.kind, row.phase, row.log) {
                let id = key.as_slice().try_into().map_err(|_| StoreError::Corrupt)?;
                groups.push((ConversationId::from_bytes(id), log));
            }
        }
        Ok(groups)
    }
}
