//! A second device and a third: asked for, granted, taken up, removed.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Account, DAY, NOW};
use crate::crypto::dh::{DhError, DhPublic};
use crate::crypto::sign::SigningKey;
use crate::crypto::tests::assert_hidden;
use crate::identity::new_device::DEVICE_REQUEST_LEN_MAX;
use crate::identity::{
    Adoption, CERTIFICATE_LIFETIME, Capability, DEVICES_MAX, DeviceList, DeviceRequest, Freshness, GRANT_LEN_MAX,
    Grant, IdentityError, KEY_GRANT_LEN, KeyGrant, LIST_LIFETIME, ListVersion, LocalIdentity, NewDevice, RelayUrl,
    Renewal, Role, list,
};
use crate::store::{MemoryStore, Overlay, Store, StoreError, Table, Tx};
use crate::time::UnixMs;

/// A device with its store.
struct Machine {
    store: MemoryStore,
    us: LocalIdentity,
}

impl Machine {
    /// The first device of a new account.
    fn first(seed: u64) -> Self {
        let store = MemoryStore::new();
        let overlay = Overlay::default();
        let mut tx = Tx::new(&store, &overlay);
        let us = LocalIdentity::create(&mut tx, "Ann", NOW, &mut StdRng::seed_from_u64(seed)).unwrap();
        store.commit(&tx.into_batch()).unwrap();
        Self { store, us }
    }

    /// What a new device makes of a grant; its store is untouched if it refuses.
    fn taken_up(keys: NewDevice, grant: Grant, now: UnixMs) -> Result<Self, IdentityError> {
        let store = MemoryStore::new();
        let overlay = Overlay::default();
        let mut tx = Tx::new(&store, &overlay);
        let us = LocalIdentity::take_up(&mut tx, keys, grant, now);
        let batch = tx.into_batch();
        assert_eq!(batch.is_empty(), us.is_err());
        store.commit(&batch).unwrap();
        Ok(Self { store, us: us? })
    }

    fn step<R>(&mut self, run: impl FnOnce(&mut LocalIdentity, &mut Tx<'_>) -> R) -> R {
        let overlay = Overlay::default();
        let mut tx = Tx::new(&self.store, &overlay);
        let result = run(&mut self.us, &mut tx);
        self.store.commit(&tx.into_batch()).unwrap();
        result
    }

    fn certify(&mut self, request: &DeviceRequest, role: Role) -> Result<Grant, IdentityError> {
        self.step(|us, tx| us.certify(tx, request, role, relay(), NOW))
    }

    /// Certifies a device and lets it take up the grant, and the key if it is to have it.
    fn link(&mut self, seed: u64, role: Role) -> Self {
        let mut new = self.link_without_key(seed, role);
        if role == Role::Primary {
            let grant = self.grant_key(&new).unwrap();
            new.step(|us, tx| us.take_key(tx, grant)).unwrap();
        }
        new
    }

    fn link_without_key(&mut self, seed: u64, role: Role) -> Self {
        let keys = new_device(seed);
        let grant = self.certify(&keys.request(), role).unwrap();
        Self::taken_up(keys, grant, NOW).unwrap()
    }

    fn grant_key(&mut self, to: &Self) -> Result<KeyGrant, IdentityError> {
        let id = to.us.device().id();
        self.step(|us, tx| us.grant_key(tx, &id))
    }

    fn remove(&mut self, device: &Self) -> Result<(), IdentityError> {
        let id = device.us.device().id();
        self.step(|us, tx| us.remove_device(tx, &id, NOW))
    }

    fn adopt(&mut self, list: &DeviceList) -> Result<Adoption, IdentityError> {
        self.step(|us, tx| us.adopt_list(tx, list))
    }

    fn list(&self) -> DeviceList {
        self.us.device_list().clone()
    }

    /// What a restart would find.
    fn reloaded(&self) -> LocalIdentity {
        LocalIdentity::load(&Tx::new(&self.store, &Overlay::default())).unwrap().unwrap()
    }

    fn assert_durable(&self) {
        assert_eq!(self.reloaded().own_devices(), self.us.own_devices());
    }
}

fn new_device(seed: u64) -> NewDevice {
    NewDevice::random(&mut StdRng::seed_from_u64(seed))
}

fn relay() -> RelayUrl {
    RelayUrl::new("ws://relay.example/v1/ws").unwrap()
}

/// The grant with another device's certificate in it, for what an honest holder never does.
fn changed(grant: &Grant, change: impl FnOnce(&mut Grant)) -> Grant {
    let mut copy = Grant::decode(&grant.encode()).unwrap();
    change(&mut copy);
    copy
}

// spec ID-65, spec ID-67, spec ID-62
#[test]
fn a_granted_device_belongs_to_the_account_and_holds_the_list() {
    let mut phone = Machine::first(1);
    let before = phone.list();
    let keys = new_device(2);
    let grant = phone.certify(&keys.request(), Role::Linked).unwrap();
    assert_eq!(grant.list(), &phone.list());
    assert_eq!((grant.name().as_str(), grant.relay()), ("Ann", &relay()));
    let laptop = Machine::taken_up(keys, grant, NOW).unwrap();

    assert_eq!(laptop.us.account(), phone.us.account());
    assert_ne!(laptop.us.device().id(), phone.us.device().id());
    assert_ne!(laptop.us.inbox(), phone.us.inbox());
    assert_eq!(laptop.us.name().as_str(), "Ann");
    assert!(laptop.us.account_key().is_none());
    assert_eq!(laptop.us.own_devices(), phone.us.own_devices());
    assert_eq!(phone.us.own_devices().devices(), &[phone.us.device().clone(), laptop.us.device().clone()]);
    assert_eq!(phone.us.device_list().previous(), before.hash());
    assert_eq!(phone.us.device_list().expires(), NOW.after(LIST_LIFETIME));
    let certificate = laptop.us.credential().device_certificate();
    assert_eq!(certificate.not_before(), NOW.before(DAY));
    assert_eq!(certificate.not_after(), NOW.after(CERTIFICATE_LIFETIME));
    [&phone, &laptop].into_iter().for_each(Machine::assert_durable);
    assert_eq!(laptop.reloaded().device(), laptop.us.device());

    // Whoever pinned the list before follows.
    let old = list::pin(None, phone.us.account_certificate(), &before, NOW).unwrap();
    let new = list::pin(Some(&old), phone.us.account_certificate(), &phone.list(), NOW).unwrap();
    assert_eq!(&new, phone.us.own_devices());
}

// spec ID-64
#[test]
fn only_a_primary_device_gets_the_account_key_and_says_so() {
    let mut phone = Machine::first(3);
    assert!(phone.us.device().can(Capability::PRIMARY));
    let mut tablet = phone.link(4, Role::Primary);
    assert_eq!(tablet.us.account_key().unwrap().to_seed(), phone.us.account_key().unwrap().to_seed());
    assert!(tablet.us.device().can(Capability::PRIMARY));
    let mut laptop = tablet.link(5, Role::Linked);
    assert!(laptop.us.account_key().is_none() && !laptop.us.device().can(Capability::PRIMARY));
    assert_eq!(laptop.us.device_list().devices().len(), 3);
    assert_eq!(laptop.reloaded().account_key().map(SigningKey::verify_key), None);

    let request = new_device(6).request();
    assert_eq!(laptop.certify(&request, Role::Linked).err(), Some(IdentityError::NoAccountKey));
    assert_eq!(laptop.remove(&phone).err(), Some(IdentityError::NoAccountKey));
    assert_eq!(laptop.us.device_list(), tablet.us.device_list());
}

// spec ID-63
#[test]
fn a_request_that_its_device_did_not_sign_or_that_asks_for_too_much_is_refused() {
    let mut phone = Machine::first(7);
    let before = phone.list();
    let keys = new_device(8);
    let dh = *keys.request().dh();
    let low_order = DeviceRequest::sign(&keys.signing, DhPublic::from_bytes([0; 32]), vec![]);
    let many = |count: u16| (100..100 + count).map(Capability::from_u16).collect();
    let claimed = DeviceRequest::sign(&keys.signing, dh, vec![Capability::PRIMARY]);
    let unsorted = DeviceRequest::sign(&keys.signing, dh, vec![Capability::GROUP, Capability::DIRECT]);
    let (ours, theirs) = (keys.request().encode(), new_device(9).request().encode());
    let another = DeviceRequest::decode(&[&ours[..ours.len() - 64], &theirs[theirs.len() - 64..]].concat()).unwrap();
    for (request, error) in [
        (low_order, IdentityError::BadDhKey(DhError::NonContributory)),
        (DeviceRequest::sign(&keys.signing, dh, many(32)), IdentityError::Bound),
        (claimed, IdentityError::Bound),
        (unsorted, IdentityError::Bound),
        (another, IdentityError::BadSignature),
    ] {
        assert_eq!(phone.certify(&request, Role::Linked).err(), Some(error));
        if error == IdentityError::Bound {
            assert!(DeviceRequest::decode(&request.encode()).is_err());
        }
    }
    assert_eq!(phone.list(), before);
    phone.assert_durable();
    let most = DeviceRequest::sign(&keys.signing, dh, many(31));
    assert_eq!(most.encode().len(), DEVICE_REQUEST_LEN_MAX);
    assert!(phone.certify(&most, Role::Primary).is_ok());
}

// spec ID-63, spec ENC-01
#[test]
fn no_bit_of_a_request_can_be_flipped() {
    let bytes = new_device(10).request().encode();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(DeviceRequest::decode(&flipped).and_then(|request| request.verify()).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(DeviceRequest::decode(&bytes[..len]).is_err());
    }
    assert_eq!(DeviceRequest::decode(&[&bytes[..], &[0]].concat()), Err(IdentityError::Malformed));
    let len = DEVICE_REQUEST_LEN_MAX + 1;
    let too_long = IdentityError::TooLong { len, len_max: DEVICE_REQUEST_LEN_MAX };
    assert_eq!(DeviceRequest::decode(&vec![1; len]), Err(too_long));
}

// spec ID-65
#[test]
fn sixteen_devices_are_the_most_and_none_stands_twice() {
    let mut phone = Machine::first(11);
    let first = new_device(100).request();
    for seed in 0..(DEVICES_MAX - 1) as u64 {
        phone.certify(&new_device(100 + seed).request(), Role::Linked).unwrap();
        assert_eq!(phone.us.device_list().devices().len() as u64, seed + 2);
        if seed == 0 {
            assert_eq!(phone.certify(&first, Role::Linked).err(), Some(IdentityError::DuplicateDevice));
            let (one, other) = (new_device(100), new_device(200));
            for twin in [
                DeviceRequest::sign(&other.signing, one.dh.public(), vec![]),
                DeviceRequest::sign(&one.signing, other.dh.public(), vec![]),
            ] {
                assert_eq!(phone.certify(&twin, Role::Linked).err(), Some(IdentityError::DuplicateDevice));
            }
        }
    }
    let full = phone.list();
    let more = phone.certify(&new_device(999).request(), Role::Linked);
    assert_eq!(more.err(), Some(IdentityError::TooManyDevices));
    assert_eq!(phone.list(), full);
    assert!(full.verify(phone.us.account_certificate()).is_ok());
}

// spec ID-66, A-DM-31
#[test]
fn a_removed_device_is_left_out_and_learns_it() {
    let mut phone = Machine::first(12);
    let mut laptop = phone.link(13, Role::Linked);
    let mut watch = phone.link(14, Role::Linked);
    let granted = phone.list();
    assert_eq!(laptop.adopt(&granted), Ok(Adoption::Newer));
    assert_eq!(laptop.adopt(&granted), Ok(Adoption::Known));
    phone.remove(&laptop).unwrap();
    phone.assert_durable();
    assert_eq!(phone.us.own_devices().devices(), &[phone.us.device().clone(), watch.us.device().clone()]);
    assert_eq!(phone.us.device_list().previous(), granted.hash());
    assert_eq!(watch.adopt(&phone.list()), Ok(Adoption::Newer));
    assert_eq!(laptop.adopt(&phone.list()), Ok(Adoption::WithoutUs));
    laptop.assert_durable();
    assert!(laptop.us.own_devices().device(&laptop.us.device().id()).is_none());
    assert_eq!(phone.remove(&laptop), Err(IdentityError::UnknownDevice));
}

// spec ID-79, ID-66, ID-62
#[test]
fn the_account_key_is_owed_until_it_is_given_and_once() {
    let mut phone = Machine::first(40);
    let mut laptop = phone.link_without_key(41, Role::Linked);
    let mut tablet = phone.link_without_key(42, Role::Primary);
    let id = |machine: &Machine| machine.us.device().id();
    for us in [&phone.us, &phone.reloaded()] {
        assert_eq!([id(&laptop), id(&tablet)].map(|device| us.owes_key(&device)), [false, true]);
    }
    // A device without the key owes and gives nothing, and neither has the new one it yet.
    assert_eq!(phone.grant_key(&laptop).err(), Some(IdentityError::UnknownDevice));
    assert_eq!(laptop.grant_key(&tablet).err(), Some(IdentityError::NoAccountKey));
    assert!(tablet.us.device().can(Capability::PRIMARY) && !tablet.us.signs_lists());

    let grant = phone.grant_key(&tablet).unwrap();
    assert_eq!(phone.grant_key(&tablet).err(), Some(IdentityError::UnknownDevice), "once");
    assert!(!phone.reloaded().owes_key(&id(&tablet)));
    assert_eq!(phone.remove(&tablet), Err(IdentityError::PrimaryDevice));
    // It is for the one device: not for a linked one, nor is another account's key for anybody.
    let copy = || KeyGrant::decode(&grant.encode()).unwrap();
    let strange = KeyGrant::new(SigningKey::random(&mut StdRng::seed_from_u64(1)));
    assert_eq!(laptop.step(|us, tx| us.take_key(tx, copy())), Err(IdentityError::WrongAccountKey));
    assert_eq!(tablet.step(|us, tx| us.take_key(tx, strange)), Err(IdentityError::WrongAccountKey));
    assert!(laptop.us.account_key().is_none() && tablet.us.account_key().is_none());
    for _ in 0..2 {
        tablet.step(|us, tx| us.take_key(tx, copy())).unwrap();
        assert_eq!(tablet.reloaded().account_key().unwrap().to_seed(), phone.us.account_key().unwrap().to_seed());
        assert!(tablet.us.signs_lists());
    }
}

// spec ID-66, ID-79
#[test]
fn a_primary_device_that_never_got_the_key_can_be_removed() {
    let mut phone = Machine::first(43);
    let tablet = phone.link_without_key(44, Role::Primary);
    phone.remove(&tablet).unwrap();
    assert!(!phone.us.owes_key(&tablet.us.device().id()));
    assert_eq!(phone.grant_key(&tablet).err(), Some(IdentityError::UnknownDevice));
    // And if another device removes it, nothing is owed to it either.
    let mut other = phone.link(45, Role::Primary);
    let ghost = phone.link_without_key(46, Role::Primary);
    let key = SigningKey::from_seed(&phone.us.account_key().unwrap().to_seed());
    let without = phone.us.device_list().next(&key, phone.list().devices()[..2].to_vec(), NOW.after(30 * DAY));
    assert_eq!(phone.adopt(&without), Ok(Adoption::Newer));
    assert!(!phone.us.owes_key(&ghost.us.device().id()) && !phone.reloaded().owes_key(&ghost.us.device().id()));
    assert_eq!(other.adopt(&without), Ok(Adoption::Newer));
}

// spec ID-79, ENC-01
#[test]
fn a_key_grant_has_one_encoding() {
    let grant = KeyGrant::new(SigningKey::random(&mut StdRng::seed_from_u64(1)));
    let bytes = grant.encode();
    assert_eq!((bytes.len(), bytes[0]), (KEY_GRANT_LEN, 1));
    assert_eq!(KeyGrant::decode(&bytes).unwrap().encode(), bytes);
    for len in 0..bytes.len() {
        assert_eq!(KeyGrant::decode(&bytes[..len]).err(), Some(IdentityError::Malformed));
    }
    let (len, len_max) = (KEY_GRANT_LEN + 1, KEY_GRANT_LEN);
    let longer = KeyGrant::decode(&[&bytes[..], &[0]].concat());
    assert_eq!(longer.err(), Some(IdentityError::TooLong { len, len_max }));
    let version = IdentityError::UnknownVersion { version: 2 };
    assert_eq!(KeyGrant::decode(&[&[2], &bytes[1..]].concat()).err(), Some(version));
}

// spec ID-66
#[test]
fn a_device_removes_neither_itself_nor_a_primary_one() {
    let mut phone = Machine::first(15);
    let mut tablet = phone.link(16, Role::Primary);
    let before = phone.list();
    let own = phone.us.device().id();
    assert_eq!(phone.step(|us, tx| us.remove_device(tx, &own, NOW)), Err(IdentityError::OwnDevice));
    assert_eq!(phone.remove(&tablet), Err(IdentityError::PrimaryDevice));
    assert_eq!(tablet.remove(&phone), Err(IdentityError::PrimaryDevice));
    assert_eq!(phone.list(), before);
}

// spec ID-68
#[test]
fn a_device_that_was_left_out_signs_no_list() {
    let phone = Machine::first(17);
    let key = phone.us.account_key().unwrap();
    let other = Account::new(1).facts();
    let other = crate::identity::DeviceCertificate::create(phone.us.account(), key, other);
    let without = phone.us.device_list().next(key, vec![other], NOW.after(30 * DAY));
    let mut phone = phone;
    assert_eq!(phone.adopt(&without), Ok(Adoption::WithoutUs));
    let request = new_device(18).request();
    assert_eq!(phone.certify(&request, Role::Linked).err(), Some(IdentityError::NoAccountKey));
    assert_eq!(phone.step(|us, tx| us.renew_list(tx, NOW.after(DAY))), Renewal::NotDue);
    assert_eq!(phone.list(), without);
}

// spec ID-68, A-DM-31
#[test]
fn the_own_list_is_held_as_fast_as_those_of_others() {
    let mut phone = Machine::first(19);
    let mut laptop = phone.link(20, Role::Linked);
    let (second, key) = (phone.list(), SigningKey::from_seed(&phone.us.account_key().unwrap().to_seed()));
    phone.link(21, Role::Linked);
    let third = phone.list();
    let sign = |place, days: u32| {
        DeviceList::sign(laptop.us.account(), &key, place, second.devices().to_vec(), NOW.after(days * DAY))
    };
    let fork = sign((ListVersion::from_u64(3), second.hash()), 7);
    let unchained = sign((ListVersion::from_u64(4), second.hash()), 7);
    let expired = list::DeviceList::sign(
        laptop.us.account(),
        &key,
        (ListVersion::from_u64(9), second.hash()),
        second.devices().to_vec(),
        NOW.before(31 * DAY),
    );
    let forged =
        second.next(&SigningKey::random(&mut StdRng::seed_from_u64(3)), second.devices().to_vec(), NOW.after(DAY));
    let strange = Account::new(2).first_list();
    assert_eq!(laptop.adopt(&third), Ok(Adoption::Newer));
    let version = ListVersion::from_u64(3);
    for (list, error) in [
        (&second, IdentityError::ListRolledBack { pinned: version, offered: ListVersion::from_u64(2) }),
        (&fork, IdentityError::DeviceListForked { version }),
        (&unchained, IdentityError::ListChainBroken),
        (&forged, IdentityError::BadSignature),
        (&strange, IdentityError::WrongAccount),
    ] {
        assert_eq!(laptop.adopt(list), Err(error));
        assert_eq!(laptop.us.device_list(), &third);
        laptop.assert_durable();
    }
    // Who was away for long learns who has been removed meanwhile.
    assert_eq!(laptop.adopt(&expired), Ok(Adoption::Newer));
    assert_eq!(laptop.us.device_list(), &expired);
    laptop.assert_durable();
}

// spec ID-61
#[test]
fn primary_devices_renew_the_list_one_after_the_other() {
    let mut phone = Machine::first(22);
    let mut watch = phone.link(23, Role::Linked);
    let mut tablet = phone.link(24, Role::Primary);
    let devices = tablet.list();
    let hour = DAY / 24;
    let due = NOW.after(45 * DAY);
    assert_eq!(watch.step(|us, tx| us.renew_list(tx, due.after(9 * DAY))), Renewal::NotDue);
    assert_eq!(tablet.step(|us, tx| us.renew_list(tx, due.after(DAY).before(hour))), Renewal::NotDue);
    assert_eq!(phone.step(|us, tx| us.renew_list(tx, due.before(hour))), Renewal::NotDue);
    assert_eq!(phone.step(|us, tx| us.renew_list(tx, due)), Renewal::Signed);
    assert_eq!(phone.us.device_list().devices(), devices.devices());
    assert_eq!(tablet.step(|us, tx| us.adopt_list(tx, &phone.list())), Ok(Adoption::Newer));
    assert_eq!(tablet.step(|us, tx| us.renew_list(tx, due.after(DAY))), Renewal::NotDue);
    // The first one is lost: the second one does it.
    let due = due.after(45 * DAY);
    assert_eq!(tablet.step(|us, tx| us.renew_list(tx, due.after(DAY))), Renewal::Signed);
    assert_eq!(tablet.us.own_devices().freshness(due.after(2 * DAY)), Freshness::Fresh);
    tablet.assert_durable();
}

// spec ID-67
#[test]
fn a_grant_that_does_not_fit_is_refused_and_leaves_nothing() {
    let mut phone = Machine::first(25);
    let grant = phone.certify(&new_device(26).request(), Role::Linked).unwrap();
    let other_account = Machine::first(28);
    let later = NOW.after(CERTIFICATE_LIFETIME).after(DAY);
    let list_later = NOW.after(LIST_LIFETIME).after(31 * DAY);
    let of_less = DeviceRequest::sign(&new_device(26).signing, new_device(26).dh.public(), vec![Capability::DIRECT]);
    let less = Machine::first(25).certify(&of_less, Role::Linked).unwrap();
    let refused = |seed: u64, grant: Grant, now: UnixMs| Machine::taken_up(new_device(seed), grant, now).err().unwrap();

    let with_list = |list: DeviceList| changed(&grant, |grant| grant.list = list);
    let unchanged = || changed(&grant, |_| {});
    let cases = [
        ("for another device", 29, unchanged(), NOW, IdentityError::NotOurKeys),
        ("for less than asked", 26, less, NOW, IdentityError::NotOurKeys),
        ("a list without us", 26, with_list(Machine::first(25).list()), NOW, IdentityError::UnknownDevice),
        ("another account's list", 26, with_list(other_account.list()), NOW, IdentityError::WrongAccount),
        ("an expired certificate", 26, unchanged(), later, IdentityError::Expired { not_after: later.before(DAY) }),
        (
            "a list past use",
            26,
            unchanged(),
            list_later,
            IdentityError::ListExpired { expired_at: grant.list().expires() },
        ),
        (
            "a slow clock",
            26,
            unchanged(),
            NOW.before(2 * DAY),
            IdentityError::NotYetValid { not_before: NOW.before(DAY) },
        ),
    ];
    for (what, seed, grant, now, error) in cases {
        assert_eq!(refused(seed, grant, now), error, "{what}");
    }
    assert!(Machine::taken_up(new_device(26), grant, NOW).is_ok());
}

// spec ID-67, spec ID-60
#[test]
fn no_grant_is_taken_up_over_an_identity() {
    let mut phone = Machine::first(30);
    let keys = new_device(31);
    let grant = phone.certify(&keys.request(), Role::Linked).unwrap();
    let overlay = Overlay::default();
    let mut tx = Tx::new(&phone.store, &overlay);
    assert_eq!(LocalIdentity::take_up(&mut tx, keys, grant, NOW).err(), Some(IdentityError::AlreadyThere));
    assert!(tx.into_batch().is_empty());
}

// spec ID-67, spec ENC-01, spec ENC-02
#[test]
fn no_byte_of_a_grant_that_binds_can_be_changed() {
    let mut phone = Machine::first(32);
    for role in [Role::Linked, Role::Primary] {
        let seed = 33 + u64::from(role == Role::Primary);
        let bytes = phone.certify(&new_device(seed).request(), role).unwrap().encode();
        // Name and relay are what the account says of itself; the channel that carries the grant protects them.
        let free_len = 1 + "Ann".len() + 1 + relay().as_str().len();
        for at in 0..bytes.len() - free_len {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << (at % 8);
            let taken = Grant::decode(&flipped).and_then(|grant| Machine::taken_up(new_device(seed), grant, NOW));
            assert!(taken.is_err(), "byte {at}");
        }
        for len in 0..bytes.len() {
            assert!(Grant::decode(&bytes[..len]).is_err());
        }
        assert_eq!(Grant::decode(&[&bytes[..], &[0]].concat()).err(), Some(IdentityError::Malformed));
        let versions = [0, 1, 1 + crate::identity::ACCOUNT_CERTIFICATE_LEN + 1];
        for at in versions {
            let mut other = bytes.to_vec();
            other[at] = 7;
            assert_eq!(Grant::decode(&other).err(), Some(IdentityError::UnknownVersion { version: 7 }), "byte {at}");
        }
    }
    let len = GRANT_LEN_MAX + 1;
    assert_eq!(Grant::decode(&vec![1; len]).err(), Some(IdentityError::TooLong { len, len_max: GRANT_LEN_MAX }));
}

// spec ENC-13
#[test]
fn neither_a_new_device_nor_a_grant_shows_a_secret() {
    let keys = new_device(35);
    for key in [&keys.signing, &keys.inbox] {
        assert_hidden(&keys, key.to_seed().expose());
    }
    assert_hidden(&keys, keys.dh.to_secret().expose());
    assert_hidden(&keys, keys.seal.seed().expose());
    let mut phone = Machine::first(36);
    let grant = phone.certify(&keys.request(), Role::Primary).unwrap();
    assert!(!format!("{grant:?}").contains("Ann"));
    let laptop = Machine::taken_up(keys, grant, NOW).unwrap();
    assert_hidden(&phone.grant_key(&laptop).unwrap(), phone.us.account_key().unwrap().to_seed().expose());
}

#[test]
fn what_is_undone_is_undone_in_memory_too() {
    let mut phone = Machine::first(37);
    let before = phone.list();
    let overlay = Overlay::default();
    let mut tx = Tx::new(&phone.store, &overlay);
    let (rows, memory) = (tx.mark(), phone.us.mark());
    let grant = phone.us.certify(&mut tx, &new_device(38).request(), Role::Primary, relay(), NOW).unwrap();
    let tablet = grant.credential().device_certificate().id();
    assert!(phone.list() != before && phone.us.owes_key(&tablet));
    tx.undo_to(rows);
    phone.us.undo_to(&memory);
    assert!(phone.list() == before && !phone.us.owes_key(&tablet));
    phone.assert_durable();

    // And a key that was taken.
    let mut tablet = phone.link_without_key(39, Role::Primary);
    let grant = phone.grant_key(&tablet).unwrap();
    let mut tx = Tx::new(&tablet.store, &overlay);
    let (rows, memory) = (tx.mark(), tablet.us.mark());
    tablet.us.take_key(&mut tx, grant).unwrap();
    tx.undo_to(rows);
    tablet.us.undo_to(&memory);
    assert!(tablet.us.account_key().is_none() && tx.into_batch().is_empty());
}

// A-FA-06
#[test]
fn a_damaged_row_of_a_linked_device_is_damage() {
    let laptop = Machine::first(39).link(40, Role::Linked);
    let (key, value) = laptop.store.rows(Table::Identity).remove(0);
    let overlay = Overlay::default();
    for at in [2, 40] {
        let mut changed = value.to_vec();
        changed[at] ^= 4;
        let mut tx = Tx::new(&laptop.store, &overlay);
        tx.put(Table::Identity, &key, changed);
        assert_eq!(LocalIdentity::load(&tx).err(), Some(IdentityError::Store(StoreError::Corrupt)), "byte {at}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1_500)) {
        if let Ok(request) = DeviceRequest::decode(&bytes) {
            prop_assert_eq!(request.encode(), bytes.clone());
        }
        if let Ok(grant) = Grant::decode(&bytes) {
            prop_assert_eq!(&*grant.encode(), &bytes);
        }
    }

    // Whatever is granted and removed in whatever order, the list is one that everybody follows.
    #[test]
    fn every_list_follows_the_one_before(changes in proptest::collection::vec(any::<bool>(), 1..24)) {
        let mut phone = Machine::first(41);
        let mut pinned = phone.us.own_devices().clone();
        let mut linked: Vec<Machine> = Vec::new();
        for (seed, adds) in changes.into_iter().enumerate() {
            if adds && linked.len() + 1 < DEVICES_MAX {
                linked.push(phone.link(1_000 + seed as u64, Role::Linked));
            } else if let Some(device) = linked.pop() {
                phone.remove(&device).unwrap();
            }
            pinned = list::pin(Some(&pinned), phone.us.account_certificate(), &phone.list(), NOW).unwrap();
            prop_assert_eq!(&pinned, phone.us.own_devices());
            prop_assert_eq!(pinned.devices().len(), linked.len() + 1);
        }
    }
}
