//! Whether a person has made sure of an account, and what is held because its keys are in doubt (spec/identity).
//!
//! ```text
//! free ──two lists that cannot both be──▶ held ──accept_keys──▶ free, until yet another list of that kind
//!   └──────the newest list is past use──▶ held ──a newer list──▶ free
//! ```

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::frame::{Request, SlotKind};
use undertone_wire::id::{Seq, SlotId, TakeId};

use super::client::Client;
use super::event::{EventRow, HeldBecause, Suspicion};
use super::link::Pending;
use super::rows::{self, ACCEPTED_PREFIX, ContactRow, HELD_PREFIX};
use super::step::Step;
use crate::conversation::ConversationId;
use crate::crypto::{CryptoRng, random_array};
use crate::error::Error;
use crate::identity::{
    AccountId, DeviceList, DeviceListHash, Freshness, IdentityError, ListVersion, Pinned, Scan, Verification, peers,
};
use crate::store::{Direction, StoreError, StoreView, Table};
use crate::time::UnixMs;

/// Why what is sent to an account is held. Which lists a person has accepted beside the one that we hold stands in rows of
/// their own, so that nothing that comes later forgets it.
#[derive(Clone, Copy, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
enum HeldRow {
    /// This list was offered beside the one that we hold.
    #[tls_codec(discriminant = 1)]
    Forked { offered: DeviceListHash },
    /// The list of this version is past use, and the app was told.
    #[tls_codec(discriminant = 3)]
    Expired { version: ListVersion },
}

impl<S: StoreView> Client<S> {
    /// A person has compared the [safety number](Client::safety_number) with the one that the other shows, and it is the same.
    /// Remembered with the number.
    ///
    /// # Errors
    /// `Misuse` for an account that we do not know; `Storage`.
    pub fn verify(&mut self, account: &AccountId, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        let number = self.safety_number(account)?;
        let remember = |step: &mut Step<'_>| {
            peers::set_verified(&mut step.tx, *account, &number);
            Ok(())
        };
        self.step(now, rng, remember, None)
    }

    /// Compares with a code that was scanned from the other's screen, and remembers it if it matches.
    ///
    /// # Errors
    /// `Misuse` for an account that we do not know; `Storage`.
    pub fn verify_by_scan(
        &mut self,
        account: &AccountId,
        payload: &[u8],
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<Scan, Error> {
        let scan = self.safety_number(account)?.scan(payload);
        if scan == Scan::Matches {
            self.verify(account, now, rng)?;
        }
        Ok(scan)
    }

    /// Whether a person has made sure of an account, and of the keys that it has now.
    ///
    /// # Errors
    /// `Misuse` for an account that we do not know; `Storage`.
    pub fn verification(&self, account: &AccountId) -> Result<Verification, Error> {
        let number = self.safety_number(account)?;
        self.read(|query| Ok(peers::verification(query.rows(), *account, &number)?))
    }

    /// A person has looked into why sending to an account was [held](super::Event::SendingHeld), and accepts it: what is
    /// queued goes out, to the devices that we know.
    ///
    /// # Errors
    /// `Misuse` if nothing is held, or if it is because the account's list is past use: a newer list alone helps then;
    /// `Storage`.
    pub fn accept_keys(&mut self, account: &AccountId, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        self.step(now, rng, |step| step.accept_keys(account), None)
    }
}

impl Step<'_> {
    fn accept_keys(&mut self, account: &AccountId) -> Result<(), Error> {
        match self.held(account)? {
            Some(HeldRow::Forked { offered }) => {
                self.tx.put(Table::Meta, &accepted_key(account, &offered), Vec::new());
                self.tx.delete(Table::Meta, &held_key(account));
                self.lists_changed(account)
            }
            _ => match self.past_use(account)? {
                Some(pinned) => Err(IdentityError::ListExpired { expired_at: pinned.list().expires() }.into()),
                None => Err(Error::NothingHeld),
            },
        }
    }

    /// An account has signed two lists that cannot both be: the app is told, and nothing is sent to it until a person has
    /// accepted it.
    pub(super) fn forked(
        &mut self,
        account: &AccountId,
        offered: DeviceListHash,
        conversation: ConversationId,
        place: Seq,
    ) -> Result<(), Error> {
        let is_held = matches!(self.held(account)?, Some(HeldRow::Forked { .. }));
        if is_held || self.tx.get(Table::Meta, &accepted_key(account, &offered))?.is_some() {
            return Ok(());
        }
        self.save_held(account, &HeldRow::Forked { offered });
        self.event(EventRow::Suspicion { conversation, place, suspicion: Suspicion::DeviceListForked })?;
        self.event(EventRow::SendingHeld { account: *account, because: HeldBecause::Forked })
    }

    /// Whether nothing may be sent to the account now. Tells the app when that begins.
    pub(super) fn is_held(&mut self, account: &AccountId) -> Result<bool, Error> {
        let held = self.held(account)?;
        if matches!(held, Some(HeldRow::Forked { .. })) {
            return Ok(true);
        }
        let Some(pinned) = self.past_use(account)? else { return Ok(false) };
        let told = pinned.list_version();
        if !matches!(held, Some(HeldRow::Expired { version }) if version == told) {
            self.save_held(account, &HeldRow::Expired { version: told });
            self.event(EventRow::SendingHeld { account: *account, because: HeldBecause::Expired })?;
        }
        Ok(true)
    }

    /// The list of somebody else, if it is past use. Our own binds nobody here: others say whether they still take it.
    fn past_use(&self, account: &AccountId) -> Result<Option<Pinned>, Error> {
        if *account == self.us.account() {
            return Ok(None);
        }
        Ok(self.newest(account)?.filter(|pinned| pinned.freshness(self.now) == Freshness::Stopped))
    }

    fn held(&self, account: &AccountId) -> Result<Option<HeldRow>, StoreError> {
        rows::load(&self.tx, Table::Meta, &held_key(account))
    }

    fn save_held(&mut self, account: &AccountId, row: &HeldRow) {
        rows::save(&mut self.tx, Table::Meta, &held_key(account), row);
    }

    /// Asks for the lists of those whose last one has expired (rule ID-35).
    pub(super) fn ask_expired_lists(&mut self) -> Result<(), Error> {
        for (key, _) in self.tx.scan_prefix(Table::Contacts, &[], Direction::Ascending, usize::MAX)? {
            let account = AccountId::from_bytes(key.as_slice().try_into().map_err(|_| StoreError::Corrupt)?);
            let Some(pinned) = self.newest(&account)? else { continue };
            if pinned.freshness(self.now) != Freshness::Fresh {
                let slot = SlotId::of_owner(pinned.certificate().key());
                let take = TakeId::from_bytes(random_array(self.rng));
                let request = Request::Take { slot, kind: SlotKind::DeviceList, take };
                self.request(Pending::List(account), request);
            }
        }
        Ok(())
    }

    /// What the directory has instead.
    pub(super) fn list_taken(&mut self, account: &AccountId, body: &[u8]) -> Result<(), Error> {
        let contact = rows::load::<ContactRow>(&self.tx, Table::Contacts, account.as_bytes())?;
        let (Some(contact), Some(pinned)) = (contact, self.newest(account)?) else { return Ok(()) };
        let Ok(list) = DeviceList::decode(body) else { return Ok(()) };
        if list.verify(pinned.certificate()).is_err() {
            return Ok(());
        }
        let offered = Pinned::from_verified(pinned.certificate().clone(), list);
        self.note_list(contact.conversation, Seq::from_u64(0), &offered).map(|_| ())
    }
}

fn held_key(account: &AccountId) -> Vec<u8> {
    [HELD_PREFIX, account.as_bytes()].concat()
}

fn accepted_key(account: &AccountId, offered: &DeviceListHash) -> Vec<u8> {
    [ACCEPTED_PREFIX, account.as_bytes(), offered.as_bytes()].concat()
}
