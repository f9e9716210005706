//! Who a direct log is addressed to: the device lists of both accounts, as its generation began with them (spec/delivery,
//! rules DEL-70 to DEL-79).
//!
//! ```text
//! lists of generation g ──a turn brings newer ones──▶ lists of generation g + 1
//!          ▲ every place in an entry of the generation points into them, for all readers alike
//! newest lists known here: pinned, of our own account too; where they differ, the log is turned before anything is sent
//! ```
//!
//! What an entry means rests on the log alone: lists come in turns and introductions, never from the directory while an
//! entry is read. Local pins decide only what *we* do: whether to turn, and whether to send at all.

use undertone_wire::id::{LogId, Seq};

use super::rows::{self, ConversationRow, Kind, ListedRow, RosterRow};
use super::step::Step;
use crate::conversation::ConversationId;
use crate::envelope::{DevicePlace, ListName, NamedLists, Side};
use crate::error::Error;
use crate::identity::{AccountCertificate, AccountId, Device, DeviceId, DeviceList, IdentityError, Pinned, peers};
use crate::store::{Direction, StoreError, Table, Tx};

/// The device lists of both accounts of a direct log.
#[derive(Clone)]
pub(super) struct Roster {
    lower: Pinned,
    higher: Pinned,
}

impl Roster {
    /// The lists of two accounts, in whichever order; none if they are of one.
    pub(super) fn new(one: Pinned, other: Pinned) -> Option<Self> {
        match one.account().cmp(&other.account()) {
            std::cmp::Ordering::Less => Some(Self { lower: one, higher: other }),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Self { lower: other, higher: one }),
        }
    }

    /// The lists of a log's present generation.
    pub(super) fn load(tx: &Tx<'_>, log: &LogId) -> Result<Option<Self>, StoreError> {
        let row: Option<RosterRow> = rows::load(tx, Table::Rosters, log.as_bytes())?;
        row.as_ref().map(Self::from_row).transpose()
    }

    pub(super) fn save(&self, tx: &mut Tx<'_>, log: &LogId) {
        rows::save(tx, Table::Rosters, log.as_bytes(), &self.to_row());
    }

    pub(super) fn to_row(&self) -> RosterRow {
        let listed =
            |of: &Pinned| ListedRow { certificate: of.certificate().encode().into(), list: of.list().encode().into() };
        RosterRow { lower: listed(&self.lower), higher: listed(&self.higher) }
    }

    pub(super) fn from_row(row: &RosterRow) -> Result<Self, StoreError> {
        let pinned = |row: &ListedRow| -> Result<Pinned, IdentityError> {
            let certificate = AccountCertificate::decode(row.certificate.as_slice())?;
            Ok(Pinned::from_verified(certificate, DeviceList::decode(row.list.as_slice())?))
        };
        let both = pinned(&row.lower).and_then(|lower| Ok((lower, pinned(&row.higher)?)));
        let (lower, higher) = both.map_err(|_| StoreError::Corrupt)?;
        Ok(Self { lower, higher })
    }

    /// The versions of both lists, added up: it rises whenever one of the accounts signs another one.
    pub(super) fn age(&self) -> u64 {
        self.lower.list_version().as_u64() + self.higher.list_version().as_u64()
    }

    /// The names of both lists.
    pub(super) fn names(&self) -> NamedLists {
        NamedLists { lower: ListName::of(self.lower.list()), higher: ListName::of(self.higher.list()) }
    }

    /// The list of one side.
    pub(super) fn side(&self, side: Side) -> &Pinned {
        match side {
            Side::Lower => &self.lower,
            Side::Higher => &self.higher,
        }
    }

    /// The side of an account, if it is one of the two.
    pub(super) fn side_of(&self, account: &AccountId) -> Option<Side> {
        [Side::Lower, Side::Higher].into_iter().find(|side| self.side(*side).account() == *account)
    }

    /// The device at a place.
    pub(super) fn device(&self, place: DevicePlace) -> Option<&Device> {
        self.side(place.side).devices().get(usize::from(place.index))
    }

    /// All devices by rising place.
    pub(super) fn devices(&self) -> impl Iterator<Item = (DevicePlace, &Device)> {
        [Side::Lower, Side::Higher].into_iter().flat_map(|side| {
            let places = (0..).map(move |index| DevicePlace { side, index });
            places.zip(self.side(side).devices())
        })
    }

    /// The place of a device.
    pub(super) fn place(&self, id: &DeviceId) -> Option<DevicePlace> {
        self.devices().find(|(_, device)| device.id() == *id).map(|(place, _)| place)
    }
}

impl Step<'_> {
    /// The lists by which a direct log is addressed.
    pub(super) fn roster(&self, log: &LogId) -> Result<Roster, Error> {
        Ok(Roster::load(&self.tx, log)?.ok_or(StoreError::Corrupt)?)
    }

    /// The newest list of an account that we know of.
    pub(super) fn newest(&self, account: &AccountId) -> Result<Option<Pinned>, Error> {
        if *account == self.us.account() {
            return Ok(Some(self.us.own_devices().clone()));
        }
        Ok(peers::load(&self.tx, *account)?)
    }

    /// The newest lists of our account and a peer's.
    pub(super) fn newest_roster(&self, peer: &AccountId) -> Result<Roster, Error> {
        let theirs = self.newest(peer)?.ok_or(StoreError::Corrupt)?;
        Ok(Roster::new(self.us.own_devices().clone(), theirs).ok_or(StoreError::Corrupt)?)
    }

    /// Takes note of a verified list: pins it if it is newer than what we know. False if the account has signed another
    /// one of the same version; then the app is told, and nothing is sent to the account any more (rule DEL-76).
    pub(super) fn note_list(
        &mut self,
        conversation: ConversationId,
        place: Seq,
        offered: &Pinned,
    ) -> Result<bool, Error> {
        let account = offered.account();
        let before = self.newest(&account)?.map(|before| before.hash());
        let noted = if account == self.us.account() {
            self.adopt_own_list(offered.list()).map(|_| ())
        } else {
            peers::pin(&mut self.tx, offered.certificate(), offered.list(), self.now).map(|_| ()).map_err(Error::from)
        };
        match noted {
            Ok(()) if before == Some(offered.hash()) => Ok(true),
            Ok(()) => self.lists_changed(&account).map(|()| true),
            Err(error) if error.poisons() => Err(error),
            Err(Error::Identity(IdentityError::DeviceListForked { .. } | IdentityError::ListChainBroken)) => {
                self.forked(&account, offered.hash(), conversation, place).map(|()| false)
            }
            // We know a newer one, or the list is too old to send by: it says who could read, no more.
            Err(_) => Ok(true),
        }
    }

    /// Whether this device is on its account's newest list.
    pub(super) fn is_listed(&self) -> bool {
        self.us.own_devices().device(&self.us.device().id()).is_some()
    }

    /// A newer list of an account is known: the direct logs with it are to be turned.
    pub(super) fn lists_changed(&mut self, account: &AccountId) -> Result<(), Error> {
        let is_own = *account == self.us.account();
        for (key, value) in self.tx.scan_prefix(Table::Conversations, &[], Direction::Ascending, usize::MAX)? {
            if let Kind::Direct { peer } = rows::decode::<ConversationRow>(&value)?.kind
                && (is_own || peer == *account)
            {
                let id = key.as_slice().try_into().map_err(|_| StoreError::Corrupt)?;
                self.link.dirty.insert(ConversationId::from_bytes(id));
            }
        }
        Ok(())
    }
}
