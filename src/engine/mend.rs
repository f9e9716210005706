//! How two devices find back to a common session (spec/dm, rules DM-50 to DM-56): the one door through which is opened what
//! another device sealed, and what follows if it does not open, or if we have only listened for long.
//!
//! ```text
//! open_wrap ──refused──▶ undone ──▶ noted: the app is told, sessions end ──┐
//!     └──────opened─────────────────────────────────────────────────────────▶ minded, at the end of the step
//! minded: trouble, or a heartbeat owed ──▶ Lookup(Mend): Address ─▶ Keys, if a session is to begin ─▶ heartbeat in its inbox
//! ```
//!
//! Invariants: a device has one such lookup at most; it asks [`Recovery`] again before each request, so that one session
//! begins in an hour, and none if somebody was faster.

use std::collections::BTreeMap;
use std::time::Duration;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::id::LogId;

use super::event::EventRow;
use super::note::Way;
use super::rows::{self, MENDING_PREFIX, Purpose, Stage};
use super::step::Step;
use crate::crypto::SecretBytes;
use crate::dm::wrap::{self, Wrap};
use crate::dm::{self, Begin, DmError, Recovery, Room, Trouble};
use crate::envelope::inbox::InboxKind;
use crate::error::Error;
use crate::identity::{Credential, Device, DeviceId};
use crate::store::{StoreError, Table};
use crate::time::UnixMs;

/// Where a wrap came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Via {
    /// In a direct log: its shell has opened.
    Log(LogId),
    /// In our inbox, where strangers write in whatever name they like.
    Inbox,
}

/// What is not written down yet of the devices that a step has heard.
#[derive(Default)]
pub(super) struct Heard {
    devices: BTreeMap<DeviceId, Device>,
    refusals: Vec<(DeviceId, Wrap, Via, DmError)>,
    /// Whether a wrap with a handshake has opened.
    has_shown: bool,
    /// Whether the shell of the entry that is read has opened.
    pub(super) is_inside: bool,
    /// How far the last message jumps, if it waits for what may stand in other logs.
    jump: Option<u32>,
    /// Whether the next message waits for nothing.
    pub(super) is_forced: bool,
}

impl Heard {
    /// Whether a wrap with a handshake has opened since this was asked.
    pub(super) fn take_shown(&mut self) -> bool {
        std::mem::take(&mut self.has_shown)
    }

    /// Whether the last message waits for other logs.
    pub(super) fn is_waiting(&self) -> bool {
        self.jump.is_some()
    }

    /// How far the last message jumps, if it waits for other logs.
    pub(super) fn take_jump(&mut self) -> Option<u32> {
        self.jump.take()
    }

    /// What was refused is no news.
    pub(super) fn forget_refusals(&mut self) {
        self.refusals.clear();
        self.has_shown = false;
        self.jump = None;
    }
}

/// The intent that mends the sessions with a device.
#[derive(Clone, Copy, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct MendRow {
    ordinal: u64,
}

/// What is to be done for a device now.
enum Mending {
    /// Nothing any more.
    Over,
    /// Nothing before this instant.
    At(UnixMs),
    /// A heartbeat, in a session that begins with it or in the one that there is.
    Now,
}

impl Step<'_> {
    /// Opens what a device sealed for us. Everything does that comes from another device, wherever it came.
    ///
    /// # Errors
    /// As [`wrap::open`]; the caller takes back what else it did, and the step goes on.
    pub(super) fn open_wrap(
        &mut self,
        device: &Device,
        ad: &[u8],
        wrap: &Wrap,
        via: Via,
    ) -> Result<SecretBytes, DmError> {
        self.heard.devices.entry(device.id()).or_insert_with(|| device.clone());
        let mut opened = wrap::open_with(&mut self.tx, self.us, device, ad, wrap, self.now, Room::Spare);
        if let Err(DmError::JumpTooLarge { jump }) = opened {
            let log = match via {
                Via::Log(log) => log,
                Via::Inbox => self.us.inbox(),
            };
            if !self.heard.is_forced && self.has_unread_beside(&log)? {
                self.heard.jump = Some(jump);
                return opened;
            }
            opened = wrap::open(&mut self.tx, self.us, device, ad, wrap, self.now);
        }
        match &opened {
            Ok(_) => self.heard.has_shown |= !wrap.handshake.is_empty(),
            Err(error) => self.heard.refusals.push((device.id(), wrap.clone(), via, *error)),
        }
        opened
    }

    /// Writes down what was refused since: when what came of it is taken back.
    pub(super) fn note_refusals(&mut self) -> Result<(), Error> {
        for (id, wrap, via, error) in std::mem::take(&mut self.heard.refusals) {
            if via == Via::Inbox && !Trouble::of(&error).is_some_and(Trouble::ends_sessions) {
                continue;
            }
            let told = wrap::refused(&mut self.tx, id, &wrap, &error)?;
            let account = self.heard.devices.get(&id).map(Device::account);
            if let (Some(trouble), Some(account)) = (told, account) {
                self.event(EventRow::Trouble { account, device: id, trouble })?;
            }
        }
        Ok(())
    }

    /// At the end of a step: looks after the devices that it has heard.
    pub(super) fn mind_heard(&mut self) -> Result<(), Error> {
        self.note_refusals()?;
        for device in std::mem::take(&mut self.heard.devices).into_values() {
            self.mind(&device)?;
        }
        Ok(())
    }

    /// Sees to it that a device gets what it needs to find back to us, or the heartbeat that it is owed.
    pub(super) fn mind(&mut self, device: &Device) -> Result<(), Error> {
        if matches!(self.mending(device)?, Mending::Over) {
            return Ok(());
        }
        let key = mending_key(&device.id());
        let known: Option<MendRow> = rows::load(&self.tx, Table::Meta, &key)?;
        if known.is_some_and(|row| self.link.intents.contains(&row.ordinal)) {
            return Ok(());
        }
        let ordinal = self.look_up_device(device, Purpose::Mend)?;
        rows::save(&mut self.tx, Table::Meta, &key, &MendRow { ordinal });
        self.link.wait_until(ordinal, self.now.after(PATIENCE));
        Ok(())
    }

    fn mending(&mut self, device: &Device) -> Result<Mending, Error> {
        let recovery = Recovery::load(&self.tx, device.id())?;
        let beats = recovery.owes_heartbeat() && dm::has_session(&self.tx, device.id())?;
        let mending = match recovery.begin(self.now) {
            _ if beats => Mending::Now,
            Begin::No => Mending::Over,
            Begin::Now => Mending::Now,
            Begin::At { instant } => Mending::At(instant),
        };
        let is_ours = device.id() == self.us.device().id();
        let is_idle = matches!(mending, Mending::Over) || is_ours || !self.is_listed() || !self.is_on_newest(device)?;
        Ok(if is_idle || self.is_held(&device.account())? { Mending::Over } else { mending })
    }

    /// Whether the lookup that mends is to go on now.
    pub(super) fn goes_on_mending(&mut self, ordinal: u64, stage: &Stage) -> Result<bool, Error> {
        let credential = Credential::decode(stage.credential().ok_or(StoreError::Corrupt)?)?;
        let device = credential.verify(None)?;
        match self.mending(&device)? {
            Mending::Now => return Ok(true),
            Mending::At(instant) => self.link.wait_until(ordinal, instant),
            Mending::Over => {
                self.end_intent(ordinal);
                self.tx.delete(Table::Meta, &mending_key(&device.id()));
                // What waited for a session with it may go on.
                self.lists_changed(&device.account())?;
            }
        }
        Ok(false)
    }

    /// Whether the next note to a device is to begin a session.
    pub(super) fn begins_anew(&self, device: &Device) -> Result<bool, Error> {
        let begins = Recovery::load(&self.tx, device.id())?.begin(self.now) == Begin::Now;
        Ok(begins || !dm::has_session(&self.tx, device.id())?)
    }

    /// It is known how to reach a device that needs a heartbeat, or needed one (rules DM-50, DM-54).
    pub(super) fn mend(&mut self, device: &Device, way: Way<'_>) -> Result<(), Error> {
        if !matches!(self.mending(device)?, Mending::Now) {
            return Ok(());
        }
        self.note(device, way, InboxKind::Heartbeat, &[])?;
        self.lists_changed(&device.account())
    }
}

fn mending_key(device: &DeviceId) -> Vec<u8> {
    [MENDING_PREFIX, device.as_bytes()].concat()
}

/// How long what is to be mended waits: an answer that is on its way, or a receipt of ours, makes a heartbeat needless.
const PATIENCE: Duration = Duration::from_secs(1);
