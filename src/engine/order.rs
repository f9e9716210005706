//! In which order logs are read, where one session runs through several of them: the direct logs of all conversations with
//! a device, and the inbox (spec/delivery, rule DEL-96).
//!
//! ```text
//! reading ──an entry passes over more than is kept, and another log is unread──▶ held, its cursor in front of the entry
//!    ▲                                                                             │
//!    └─────────────── subscribed anew ◀── the others are read, or held too ────────┘
//! ```
//!
//! What one log passes over may stand in another. Within a log a sender's places rise; so of logs that are all held, the one
//! with the least jump has nothing in front of it in the others, and goes on whatever it passes over.
//!
//! Invariants: nothing of it is stored, a connection begins anew; each log that is woken goes on, or another one does.

use undertone_wire::frame::Request;
use undertone_wire::id::{LogId, Seq};

use super::link::{LogLink, Pending};
use super::rows::{self, ClientRow, ConversationRow, Kind, LogRow};
use super::step::Step;
use crate::error::Error;
use crate::store::{StoreError, Table};

/// Why a log is not read now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// Its next entry would pass over so many messages.
    Held {
        /// How many.
        jump: u32,
        /// Whether no log has gone on since.
        is_fresh: bool,
    },
    /// It is subscribed to anew; what is still under way of the old subscription is not for us.
    Waking,
}

impl Step<'_> {
    /// Whether a direct log other than this one, or the inbox, is not read up to where it was when the connection began.
    pub(super) fn has_unread_beside(&self, log: &LogId) -> Result<bool, StoreError> {
        self.is_any_unread(|other, link| other != log && link.is_coming())
    }

    fn is_any_unread(&self, is_meant: impl Fn(&LogId, &LogLink) -> bool) -> Result<bool, StoreError> {
        for (log, link) in self.link.logs.iter().filter(|(log, link)| is_meant(log, link)) {
            let through = if link.target.is_some() { self.read_through(log)? } else { None };
            if through.is_some_and(|through| Some(through) < link.target) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How far a direct log, or the inbox, is read; none of what says nothing to us.
    fn read_through(&self, log: &LogId) -> Result<Option<Seq>, StoreError> {
        if *log == self.us.inbox() {
            return Ok(Some(ClientRow::load(&self.tx)?.inbox_seq));
        }
        let Some(row) = LogRow::load(&self.tx, log)? else { return Ok(None) };
        let key = row.conversation.as_bytes();
        let conversation: ConversationRow =
            rows::load(&self.tx, Table::Conversations, key)?.ok_or(StoreError::Corrupt)?;
        let is_ours = conversation.kind != Kind::Group && conversation.phase.is_in() && row.standing.is_inside();
        Ok(is_ours.then_some(row.seq))
    }

    /// Leaves a log where it is until the others are read.
    pub(super) fn hold(&mut self, log: LogId, jump: u32) {
        self.link.logs.entry(log).or_default().hold = Some(Hold::Held { jump, is_fresh: true });
    }

    /// A log has gone on: what is held may have less in front of it.
    pub(super) fn goes_on(&mut self) {
        for link in self.link.logs.values_mut() {
            if let Some(Hold::Held { is_fresh, .. }) = &mut link.hold {
                *is_fresh = false;
            }
        }
    }

    /// At the end of a step: goes on with a log that is held, if no other is read before it.
    pub(super) fn wake_held(&mut self) -> Result<(), Error> {
        let held = |(log, link): (&LogId, &LogLink)| match link.hold {
            Some(Hold::Held { jump, is_fresh }) => Some((is_fresh, jump, *log)),
            _ => None,
        };
        let Some((is_fresh, _, log)) = self.link.logs.iter().filter_map(held).min() else { return Ok(()) };
        let is_waking = |link: &LogLink| link.is_forced || link.hold == Some(Hold::Waking);
        let is_read = |_: &LogId, link: &LogLink| link.is_coming() && link.hold.is_none();
        if self.link.logs.values().any(is_waking) || self.is_any_unread(is_read)? {
            return Ok(());
        }
        let link = self.link.logs.entry(log).or_default();
        link.hold = Some(Hold::Waking);
        // All that are held have been tried since something went on: this one goes first.
        link.is_forced = is_fresh;
        let through = self.read_through(&log)?.unwrap_or(Seq::from_u64(0));
        self.request(Pending::Subscribe(log), Request::Subscribe { log, from: through.next() });
        Ok(())
    }
}
