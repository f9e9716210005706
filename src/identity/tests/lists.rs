//! Device lists and what peers hold fast of them.

use proptest::prelude::*;
use undertone_wire::limits::COUNTER_MAX;

use super::{Account, DAY, NOW};
use crate::identity::list::{DEVICE_LIST_LEN_MAX, pin};
use crate::identity::{
    DEVICES_MAX, DeviceCertificate, DeviceList, DeviceListHash, Freshness, IdentityError, ListVersion, Pinned, peers,
};
use crate::store::{Direction, MemoryStore, Overlay, Store, Table, Tx};
use crate::time::UnixMs;

/// The list behind `list`, with one device more.
fn next(account: &Account, list: &DeviceList) -> DeviceList {
    let devices = [list.devices(), &[account.device()]].concat();
    list.next(&account.key, devices, NOW.after(90 * DAY))
}

fn pinned(account: &Account, list: &DeviceList) -> Pinned {
    pin(None, &account.certificate, list, NOW).unwrap()
}

#[test]
fn a_list_yields_its_devices_in_order() {
    let account = Account::new(1);
    let first = account.first_list();
    let second = next(&account, &first);
    let pin = pinned(&account, &second);
    assert_eq!(pin.account(), account.id());
    assert_eq!(pin.list_version(), ListVersion::from_u64(2));
    let certificates: Vec<&DeviceCertificate> =
        pin.devices().iter().map(|device| device.certificates().device_certificate()).collect();
    assert_eq!(certificates, second.devices().iter().collect::<Vec<_>>());
    assert_eq!(pin.device(&second.devices()[1].id()), Some(&pin.devices()[1]));
    assert_eq!(pin.device(&account.device().id()), None);
}

// spec ID-20, spec ENC-01, A-DM-16
#[test]
fn no_bit_of_a_list_can_be_flipped_and_no_byte_added_or_lost() {
    let account = Account::new(2);
    let bytes = account.first_list().encode();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let verified = DeviceList::decode(&flipped).and_then(|list| list.verify(&account.certificate));
        assert!(verified.is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(DeviceList::decode(&bytes[..len]).is_err(), "cut to {len} bytes");
    }
    assert_eq!(DeviceList::decode(&[&bytes[..], &[0]].concat()), Err(IdentityError::Malformed));
}

// spec ENC-02
#[test]
fn another_version_of_the_list_or_of_a_device_in_it_is_its_own_error() {
    let bytes = Account::new(3).first_list().encode();
    let first_device = 1 + 32 + 8 + 32 + 2;
    for (at, version) in [(0, 0), (0, 2), (first_device, 2), (first_device, 255)] {
        let mut other = bytes.clone();
        other[at] = version;
        assert_eq!(DeviceList::decode(&other), Err(IdentityError::UnknownVersion { version }), "at byte {at}");
    }
}

// spec ID-20, spec ENC-09, spec ENC-10
#[test]
fn lists_out_of_bounds_are_refused_though_signed() {
    let account = Account::new(4);
    let devices: Vec<_> = (0..=DEVICES_MAX).map(|_| account.device()).collect();
    let sign =
        |devices: &[DeviceCertificate]| DeviceList::first(account.id(), &account.key, devices.to_vec(), NOW.after(DAY));
    let most = sign(&devices[..DEVICES_MAX]);
    assert_eq!(DeviceList::decode(&most.encode()), Ok(most));
    for list in [sign(&devices), sign(&[])] {
        assert!(DeviceList::decode(&list.encode()).is_err());
        assert_eq!(list.verify(&account.certificate), Err(IdentityError::Bound));
    }
    let at = |version: u64, previous: DeviceListHash| {
        let place = (ListVersion::from_u64(version), previous);
        DeviceList::sign(account.id(), &account.key, place, devices[..1].to_vec(), NOW.after(DAY))
    };
    let some = DeviceListHash::from_bytes([1; 32]);
    assert!(at(COUNTER_MAX, some).verify(&account.certificate).is_ok());
    for list in [at(0, some), at(COUNTER_MAX + 1, some), at(u64::MAX, some), at(1, some), at(2, DeviceListHash::NONE)] {
        assert_eq!(DeviceList::decode(&list.encode()), Err(IdentityError::Bound));
        assert_eq!(list.verify(&account.certificate), Err(IdentityError::Bound));
    }
    let len = DEVICE_LIST_LEN_MAX + 1;
    assert_eq!(DeviceList::decode(&vec![1; len]), Err(IdentityError::TooLong { len, len_max: DEVICE_LIST_LEN_MAX }));
}

// spec ID-21, A-DM-31
#[test]
fn a_list_that_the_account_did_not_sign_is_refused() {
    let (alice, mallory) = (Account::new(5), Account::new(6));
    let list = alice.first_list();
    assert_eq!(list.verify(&mallory.certificate), Err(IdentityError::WrongAccount));
    let devices = vec![alice.device()];
    let forged = DeviceList::first(alice.id(), &mallory.key, devices, NOW.after(DAY));
    assert_eq!(forged.verify(&alice.certificate), Err(IdentityError::BadSignature));
    // Alice's own signature over a list with a device of another account in it.
    let slipped = DeviceList::first(alice.id(), &alice.key, vec![alice.device(), mallory.device()], NOW.after(DAY));
    assert_eq!(slipped.verify(&alice.certificate), Err(IdentityError::WrongAccount));
    let unsigned = DeviceCertificate::create(alice.id(), &mallory.key, mallory.facts());
    let slipped = DeviceList::first(alice.id(), &alice.key, vec![alice.device(), unsigned], NOW.after(DAY));
    assert_eq!(slipped.verify(&alice.certificate), Err(IdentityError::BadSignature));
}

// spec ID-21
#[test]
fn no_key_stands_in_a_list_twice() {
    let account = Account::new(7);
    let (one, other) = (account.facts(), account.facts());
    let same_signing = crate::identity::device::DeviceFacts { signing: one.signing, ..other.clone() };
    let same_dh = crate::identity::device::DeviceFacts { dh: one.dh, ..other };
    for twin in [one.clone(), same_signing, same_dh] {
        let devices = vec![account.certify(one.clone()), account.device(), account.certify(twin)];
        let list = DeviceList::first(account.id(), &account.key, devices, NOW.after(DAY));
        assert_eq!(list.verify(&account.certificate), Err(IdentityError::DuplicateDevice));
    }
}

// spec ID-22, A-DM-31, A-RE-09
#[test]
fn an_older_list_is_refused() {
    let account = Account::new(8);
    let first = account.first_list();
    let second = next(&account, &first);
    let old = pinned(&account, &second);
    assert_eq!(
        pin(Some(&old), &account.certificate, &first, NOW),
        Err(IdentityError::ListRolledBack { pinned: ListVersion::from_u64(2), offered: ListVersion::FIRST })
    );
    assert_eq!(pin(Some(&old), &account.certificate, &second, NOW), Ok(old), "the same list again is nothing new");
}

// spec ID-23, A-DM-31
#[test]
fn two_lists_of_one_version_are_a_fork() {
    let account = Account::new(9);
    let first = account.first_list();
    let (second, other) = (next(&account, &first), next(&account, &first));
    let old = pinned(&account, &second);
    assert_eq!(
        pin(Some(&old), &account.certificate, &other, NOW),
        Err(IdentityError::DeviceListForked { version: ListVersion::from_u64(2) })
    );
}

// spec ID-24, spec ID-25
#[test]
fn the_next_list_names_the_pinned_one_and_later_ones_need_not() {
    let account = Account::new(10);
    let (first, unseen) = (account.first_list(), account.first_list());
    let old = pinned(&account, &first);
    let second = next(&account, &first);
    assert_eq!(second.previous(), first.hash());
    assert!(pin(Some(&old), &account.certificate, &second, NOW).is_ok());
    let beside = next(&account, &unseen);
    assert_eq!(pin(Some(&old), &account.certificate, &beside, NOW), Err(IdentityError::ListChainBroken));
    let third = next(&account, &second);
    assert!(pin(Some(&old), &account.certificate, &third, NOW).is_ok());
}

// spec ID-26
#[test]
fn an_expired_list_is_a_warning_for_thirty_days_and_then_the_end() {
    let account = Account::new(11);
    let list = account.first_list();
    let (expires, one_ms) = (list.expires(), std::time::Duration::from_millis(1));
    let at = |now: UnixMs| pin(None, &account.certificate, &list, now).map(|pin| pin.freshness(now));
    assert_eq!(at(expires), Ok(Freshness::Fresh));
    assert_eq!(at(expires.after(one_ms)), Ok(Freshness::Expired));
    assert_eq!(at(expires.after(30 * DAY)), Ok(Freshness::Expired));
    let too_late = expires.after(30 * DAY).after(one_ms);
    assert_eq!(at(too_late), Err(IdentityError::ListExpired { expired_at: expires }));
    assert_eq!(pinned(&account, &list).freshness(too_late), Freshness::Stopped);
}

// spec ID-27
#[test]
fn a_pin_is_of_one_account() {
    let (alice, bob) = (Account::new(12), Account::new(13));
    let list = alice.first_list();
    let of_alice = pinned(&alice, &list);
    let of_bob = bob.first_list();
    assert_eq!(pin(Some(&of_alice), &bob.certificate, &of_bob, NOW), Err(IdentityError::WrongAccount));
}

// spec ID-22, spec ID-28
#[test]
fn pins_outlive_a_restart_and_a_refusal_changes_nothing() {
    let account = Account::new(14);
    let first = account.first_list();
    let second = next(&account, &first);
    let (store, overlay) = (MemoryStore::new(), Overlay::default());

    let mut tx = Tx::new(&store, &overlay);
    assert_eq!(peers::load(&tx, account.id()), Ok(None));
    let pin = peers::pin(&mut tx, &account.certificate, &second, NOW).unwrap();
    store.commit(&tx.into_batch()).unwrap();

    let mut tx = Tx::new(&store, &overlay);
    assert_eq!(peers::load(&tx, account.id()), Ok(Some(pin.clone())));
    let refused = peers::pin(&mut tx, &account.certificate, &first, NOW);
    assert!(matches!(refused, Err(IdentityError::ListRolledBack { .. })));
    assert!(tx.into_batch().is_empty());

    let third = next(&account, &second);
    let mut tx = Tx::new(&store, &overlay);
    peers::pin(&mut tx, &account.certificate, &third, NOW).unwrap();
    store.commit(&tx.into_batch()).unwrap();
    let tx = Tx::new(&store, &overlay);
    assert_eq!(peers::load(&tx, account.id()).unwrap().unwrap().list(), &third);
    assert_eq!(tx.scan_prefix(Table::Peers, &[1], Direction::Ascending, 9).unwrap().len(), 1);
}

// A-FA-06
#[test]
fn a_damaged_pin_is_an_error_and_not_a_stranger() {
    let account = Account::new(15);
    let list = account.first_list();
    let (store, overlay) = (MemoryStore::new(), Overlay::default());
    let mut tx = Tx::new(&store, &overlay);
    peers::pin(&mut tx, &account.certificate, &list, NOW).unwrap();
    let (key, value) = tx.scan_prefix(Table::Peers, &[1], Direction::Ascending, 1).unwrap().remove(0);
    tx.put(Table::Peers, &key, &value[..value.len() - 1]);
    assert_eq!(peers::load(&tx, account.id()), Err(IdentityError::Store(crate::store::StoreError::Corrupt)));
    tx.put(Table::Peers, &key, [&[2], &value[1..]].concat());
    assert_eq!(peers::load(&tx, account.id()), Err(IdentityError::Store(crate::store::StoreError::TooNew)));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1_000)) {
        if let Ok(list) = DeviceList::decode(&bytes) {
            prop_assert_eq!(list.encode(), bytes);
        }
    }

    // Whatever lists of one account are offered in whatever order, the pinned version never falls.
    #[test]
    fn a_pin_never_goes_back(order in proptest::collection::vec(0usize..5, 1..12)) {
        let account = Account::new(16);
        let mut lists = vec![account.first_list()];
        for _ in 1..5 {
            let list = next(&account, lists.last().unwrap());
            lists.push(list);
        }
        let mut newest: Option<Pinned> = None;
        for index in order {
            let before = newest.as_ref().map(Pinned::list_version);
            if let Ok(pin) = pin(newest.as_ref(), &account.certificate, &lists[index], NOW) {
                prop_assert!(before.is_none_or(|before| before <= pin.list_version()));
                newest = Some(pin);
            } else {
                prop_assert!(before.is_some_and(|before| before > lists[index].list_version()));
            }
        }
    }
}
