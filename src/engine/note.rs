//! Notes: what one device says to another one alone, through its inbox and in their session (spec/delivery, rules DEL-58
//! and DEL-59; spec/envelope, rule ENV-32).
//!
//! ```text
//! a session that stands ──▶ a ratchet message     none, or trouble ──▶ the handshake of a new one, and its first message
//! ```
//!
//! Leaves out where the inbox is and whence the prekeys come (lookup), and what the notes say (introduce, and others).

use undertone_wire::VLBytes;
use undertone_wire::id::{EntryId, LogId, TakeId};

use super::mend::Via;
use super::rows::{Intent, Purpose, Stage};
use super::step::Step;
use crate::crypto::{SecretBytes, random_array};
use crate::dm::wrap::{self, Wrap};
use crate::dm::{BundleBody, OneTimeItem};
use crate::envelope::address::InboxAddress;
use crate::envelope::inbox::{InboxEntry, InboxKind};
use crate::error::Error;
use crate::identity::Device;
use crate::store::StoreError;

/// How a device can be reached: its inbox address, and prekeys if they were needed.
#[derive(Clone, Copy)]
pub(super) struct Way<'w> {
    pub(super) address: &'w [u8],
    pub(super) bundle: Option<(&'w BundleBody, Option<&'w OneTimeItem>)>,
}

impl Step<'_> {
    /// Says something to a device, as soon as it is known where.
    pub(super) fn note_later(&mut self, device: &Device, kind: InboxKind, plaintext: &[u8]) -> Result<u64, Error> {
        let purpose = Purpose::Note { kind, plaintext: plaintext.to_vec().into() };
        self.look_up_device(device, purpose)
    }

    /// Begins to learn where the inbox of a device is, and its keys if there is no session with it.
    pub(super) fn look_up_device(&mut self, device: &Device, purpose: Purpose) -> Result<u64, Error> {
        let credential: VLBytes = device.certificates().encode().into();
        let take = TakeId::from_bytes(random_array(self.rng));
        self.intend(&Intent::Lookup { account: device.account(), purpose, stage: Stage::Address { credential }, take })
    }

    /// Puts a note into the inbox of a device.
    pub(super) fn note(
        &mut self,
        device: &Device,
        way: Way<'_>,
        kind: InboxKind,
        plaintext: &[u8],
    ) -> Result<(), Error> {
        let address = InboxAddress::decode(way.address).map_err(|_| StoreError::Corrupt)?;
        let entry = EntryId::from_bytes(random_array(self.rng));
        let ad = note_ad(&address.inbox(), &entry, kind);
        let wrap = match way.bundle {
            Some((body, item)) if self.begins_anew(device)? => {
                wrap::begin(&mut self.tx, self.us, device, body, item, &ad, plaintext, self.now, self.rng)?
            }
            _ => wrap::seal(&mut self.tx, None, device.id(), &ad, plaintext, self.rng)?,
        };
        let sealed = InboxEntry::note(kind, self.us.credential().encode(), wrap.encode());
        self.deposit(&address, entry, device, &sealed)
    }

    /// Opens a note; who can have sealed it is `device` alone.
    pub(super) fn open_note(
        &mut self,
        device: &Device,
        opened: &InboxEntry,
        entry: EntryId,
    ) -> Result<SecretBytes, Error> {
        let wrap = Wrap::decode(opened.body())?;
        let ad = note_ad(&self.us.inbox(), &entry, opened.kind());
        let plaintext = self.open_wrap(device, &ad, &wrap, Via::Inbox)?;
        self.pay_key(device)?;
        Ok(plaintext)
    }

    /// Somebody lets the session with us turn, or has begun one.
    pub(super) fn heartbeat(&mut self, device: &Device, opened: &InboxEntry, entry: EntryId) -> Result<(), Error> {
        let plaintext = self.open_note(device, opened, entry)?;
        if !plaintext.is_empty() || !self.is_on_newest(device)? {
            return Err(Error::BadKeys);
        }
        // What waited for a session with it may go on.
        self.lists_changed(&device.account())
    }
}

/// The associated data of a note: the inbox and the entry that carry it, and what it is.
fn note_ad(inbox: &LogId, entry: &EntryId, kind: InboxKind) -> Vec<u8> {
    [inbox.as_bytes().as_slice(), entry.as_bytes(), &[kind as u8]].concat()
}
