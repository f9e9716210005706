//! Our own slots in the directory: filled when the account is created, topped up whenever a connection begins.

use undertone_wire::VLBytes;
use undertone_wire::frame::{Publish, Request, SlotKind};
use undertone_wire::id::InboxToken;

use super::link::Pending;
use super::rows::{ClientRow, Intent, Shelf};
use super::step::Step;
use crate::crypto::{CryptoRng, random_array};
use crate::dm;
use crate::envelope::address::InboxAddress;
use crate::error::Error;
use crate::group;
use crate::identity::RelayUrl;
use crate::limits::{ITEMS_LOW, ITEMS_STOCK};

impl ClientRow {
    /// A client that has not met its relay.
    pub(super) fn new(relay_url: &str, rng: &mut dyn CryptoRng) -> Result<Self, Error> {
        let relay_url = RelayUrl::new(relay_url)?.as_str().as_bytes().to_vec().into();
        Ok(Self {
            relay_url,
            server: None,
            incarnation: None,
            knock: InboxToken::from_bytes(random_array(rng)),
            inbox_seq: undertone_wire::id::Seq::from_u64(0),
            next_event: 1,
            // Room in front of the first row of an outbox, for what must go before it.
            next_ordinal: 1 << 32,
            shelves: Vec::new(),
        })
    }

    /// Where the account can be reached.
    pub(super) fn relay_url(&self) -> String {
        String::from_utf8_lossy(self.relay_url.as_slice()).into_owned()
    }
}

impl Step<'_> {
    /// Queues everything that others need to reach us.
    pub(super) fn stock_shelves(&mut self) -> Result<(), Error> {
        self.publish_list()?;
        let address = self.address()?;
        self.publish(SlotKind::InboxAddress, 1, address, Vec::new())?;
        self.replenish(SlotKind::PrekeyBundle, ITEMS_STOCK)?;
        self.replenish(SlotKind::KeyPackages, ITEMS_STOCK)
    }

    /// Queues the publication of our account's list, if we can sign it.
    pub(super) fn publish_list(&mut self) -> Result<(), Error> {
        if !self.us.signs_lists() {
            return Ok(());
        }
        let list = self.us.device_list();
        let (version, body) = (list.list_version().as_u64(), list.encode());
        self.publish(SlotKind::DeviceList, version, body, Vec::new())
    }

    /// Where our inbox is, signed.
    fn address(&self) -> Result<Vec<u8>, Error> {
        let knock = ClientRow::load(&self.tx)?.knock;
        let (device, inbox, seal) = (self.us.device().id(), self.us.inbox(), self.us.seal().public());
        Ok(InboxAddress::sign(&device, inbox, knock, seal, self.us.signing_key()).encode())
    }

    fn publish(&mut self, kind: SlotKind, version: u64, body: Vec<u8>, items: Vec<Vec<u8>>) -> Result<(), Error> {
        let items: Vec<VLBytes> = items.into_iter().map(VLBytes::from).collect();
        self.intend(&Intent::Publish { kind, version, body: body.into(), items }).map(|_| ())
    }

    /// Makes `count` one-time keys of a kind and queues their publication.
    pub(super) fn replenish(&mut self, kind: SlotKind, count: usize) -> Result<(), Error> {
        let (version, body, items) = match kind {
            SlotKind::PrekeyBundle => {
                let made = dm::replenish(&mut self.tx, self.us, count, self.now, self.rng)?;
                (made.version, made.body, made.items)
            }
            SlotKind::KeyPackages => {
                let made = group::key_packages(&mut self.tx, self.us, count, self.now, self.rng)?;
                (made.version, made.body, made.items)
            }
            SlotKind::DeviceList | SlotKind::InboxAddress => return Ok(()),
        };
        self.publish(kind, version, body, items)
    }

    /// The request that publishes, signed for this connection.
    pub(super) fn publication(
        &mut self,
        kind: SlotKind,
        version: u64,
        body: VLBytes,
        items: Vec<VLBytes>,
    ) -> Result<Option<Request>, Error> {
        let key = match kind {
            SlotKind::DeviceList => self.us.account_key(),
            _ => Some(self.us.signing_key()),
        };
        let Some(key) = key else { return Ok(None) };
        let signature = self.sign_for_connection(key, |nonce, server| {
            Publish::signature_input(nonce, server, kind, version, body.as_slice(), &items)
        });
        let owner = key.verify_key();
        Ok(signature.map(|signature| Request::Publish(Publish { owner, kind, version, body, items, signature })))
    }

    /// The relay has what was published.
    pub(super) fn shelved(&mut self, kind: SlotKind, version: u64, body: VLBytes) -> Result<(), Error> {
        self.client(|client| {
            client.shelves.retain(|shelf| shelf.kind != kind);
            client.shelves.push(Shelf { kind, version, body });
        })
    }

    /// Asks what is left of our one-time keys, by publishing nothing new.
    pub(super) fn ask_stock(&mut self) -> Result<(), Error> {
        for shelf in ClientRow::load(&self.tx)?.shelves {
            if matches!(shelf.kind, SlotKind::PrekeyBundle | SlotKind::KeyPackages)
                && let Some(request) = self.publication(shelf.kind, shelf.version, shelf.body, Vec::new())?
            {
                self.request(Pending::Stock(shelf.kind), request);
            }
        }
        Ok(())
    }

    /// What is left of our one-time keys.
    pub(super) fn stock(&mut self, kind: SlotKind, items_left: u32) -> Result<(), Error> {
        match usize::try_from(items_left) {
            // A whole stock: a new version replaces what is left of the old one.
            Ok(left) if left <= ITEMS_LOW => self.replenish(kind, ITEMS_STOCK),
            _ => Ok(()),
        }
    }

    /// The relay holds a newer version than ours, left by a life of this store that is gone: ours is put above it.
    pub(super) fn restock(&mut self, kind: SlotKind, version: u64) -> Result<(), Error> {
        match kind {
            SlotKind::PrekeyBundle | SlotKind::KeyPackages => self.replenish(kind, ITEMS_STOCK),
            SlotKind::InboxAddress => {
                let address = self.address()?;
                self.publish(kind, version + 1, address, Vec::new())
            }
            SlotKind::DeviceList => {
                self.own_list_refused();
                Ok(())
            }
        }
    }
}
