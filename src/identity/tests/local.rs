//! Our own identity: made once, kept whole.

use rand::SeedableRng;
use rand::rngs::StdRng;
use undertone_wire::id::LogId;

use super::{DAY, NOW};
use crate::crypto::tests::assert_hidden;
use crate::identity::{IdentityError, LIST_LIFETIME, LocalIdentity, NameError, Renewal, list, peers};
use crate::store::{Direction, MemoryStore, Overlay, Store, StoreError, Table, Tx};

fn created(store: &MemoryStore) -> LocalIdentity {
    let overlay = Overlay::default();
    let mut tx = Tx::new(store, &overlay);
    let identity = LocalIdentity::create(&mut tx, "Ann", NOW, &mut StdRng::seed_from_u64(1)).unwrap();
    store.commit(&tx.into_batch()).unwrap();
    identity
}

fn loaded(store: &MemoryStore) -> Result<Option<LocalIdentity>, IdentityError> {
    LocalIdentity::load(&Tx::new(store, &Overlay::default()))
}

fn row(store: &MemoryStore) -> (Vec<u8>, Vec<u8>) {
    let (key, value) = store.rows(Table::Identity).remove(0);
    (key, value.to_vec())
}

#[test]
fn an_identity_is_the_same_after_a_restart() {
    let store = MemoryStore::new();
    assert!(loaded(&store).unwrap().is_none());
    let made = created(&store);
    let again = loaded(&store).unwrap().unwrap();
    assert_eq!(again.device(), made.device());
    assert_eq!(again.device_list(), made.device_list());
    assert_eq!(again.name(), made.name());
    assert_eq!(again.inbox(), made.inbox());
    assert_eq!(again.seal().public(), made.seal().public());
    assert_eq!(again.signing_key().to_seed(), made.signing_key().to_seed());
    assert_eq!(again.dh().to_secret(), made.dh().to_secret());
    assert_eq!(again.account_key().unwrap().to_seed(), made.account_key().unwrap().to_seed());
    assert_eq!(again.inbox(), LogId::of_inbox_key(&made.inbox_key().verify_key()));
}

#[test]
fn what_it_shows_of_itself_verifies() {
    let store = MemoryStore::new();
    let identity = created(&store);
    let device = identity.credential().verify(Some(NOW)).unwrap();
    assert_eq!(&device, identity.device());
    assert_eq!(device.signing(), &identity.signing_key().verify_key());
    assert_eq!(device.dh(), &identity.dh().public());
    assert_eq!(identity.account_certificate().verify(), Ok(identity.account()));
    let pin = list::pin(None, identity.account_certificate(), identity.device_list(), NOW).unwrap();
    assert_eq!(pin.devices(), &[device]);
    let keys = [identity.signing_key(), identity.inbox_key(), identity.account_key().unwrap()];
    assert!(keys[0].verify_key() != keys[1].verify_key() && keys[1].verify_key() != keys[2].verify_key());
}

// spec ID-60, A-FA-06
#[test]
fn there_is_never_a_second_identity() {
    let store = MemoryStore::new();
    created(&store);
    let overlay = Overlay::default();
    let mut tx = Tx::new(&store, &overlay);
    let again = LocalIdentity::create(&mut tx, "Ann", NOW, &mut StdRng::seed_from_u64(2));
    assert_eq!(again.err(), Some(IdentityError::AlreadyThere));
    assert!(tx.into_batch().is_empty());

    let (key, value) = row(&store);
    let damaged = [
        (vec![], StoreError::Corrupt),
        (value[..99].to_vec(), StoreError::Corrupt),
        ([&[2], &value[1..]].concat(), StoreError::TooNew),
    ];
    for (bytes, error) in damaged {
        let mut tx = Tx::new(&store, &overlay);
        tx.put(Table::Identity, &key, bytes);
        assert_eq!(LocalIdentity::load(&tx).err(), Some(IdentityError::Store(error)));
        let again = LocalIdentity::create(&mut tx, "Ann", NOW, &mut StdRng::seed_from_u64(2));
        assert_eq!(again.err(), Some(IdentityError::AlreadyThere));
    }
}

// spec ID-60
#[test]
fn keys_that_are_not_those_of_the_certificates_are_corruption() {
    let store = MemoryStore::new();
    created(&store);
    let (key, value) = row(&store);
    let overlay = Overlay::default();
    // The account's seed stands behind version and the mark of an optional; the device's signing and DH keys behind it.
    for at in [2, 2 + 32, 2 + 64] {
        let mut changed = value.clone();
        changed[at + 8] ^= 1;
        let mut tx = Tx::new(&store, &overlay);
        tx.put(Table::Identity, &key, changed);
        assert_eq!(LocalIdentity::load(&tx).err(), Some(IdentityError::Store(StoreError::Corrupt)), "byte {at}");
    }
}

#[test]
fn a_bad_name_makes_no_identity() {
    let (store, overlay) = (MemoryStore::new(), Overlay::default());
    let mut tx = Tx::new(&store, &overlay);
    let refused = LocalIdentity::create(&mut tx, "A\u{202e}nn", NOW, &mut StdRng::seed_from_u64(1));
    assert_eq!(refused.err(), Some(IdentityError::Name(NameError::Direction)));
    assert!(tx.into_batch().is_empty());
}

// spec ID-24, spec ID-61
#[test]
fn a_list_is_signed_anew_before_it_expires_and_peers_follow() {
    let store = MemoryStore::new();
    let mut identity = created(&store);
    let overlay = Overlay::default();
    let mut tx = Tx::new(&store, &overlay);
    peers::pin(&mut tx, identity.account_certificate(), identity.device_list(), NOW).unwrap();
    assert_eq!(identity.renew_list(&mut tx, NOW.after(44 * DAY)), Renewal::NotDue);
    let later = NOW.after(46 * DAY);
    assert_eq!(identity.renew_list(&mut tx, later), Renewal::Signed);
    assert_eq!(identity.device_list().expires(), later.after(LIST_LIFETIME));
    let pin = peers::pin(&mut tx, identity.account_certificate(), identity.device_list(), later).unwrap();
    assert_eq!(pin.list_version().as_u64(), 2);
    assert_eq!(identity.renew_list(&mut tx, later), Renewal::NotDue);
    store.commit(&tx.into_batch()).unwrap();
    assert_eq!(loaded(&store).unwrap().unwrap().device_list(), identity.device_list());
}

// spec ENC-13
#[test]
fn an_identity_shows_neither_keys_nor_name() {
    let identity = created(&MemoryStore::new());
    for key in [identity.signing_key(), identity.inbox_key(), identity.account_key().unwrap()] {
        assert_hidden(&identity, key.to_seed().expose());
    }
    assert_hidden(&identity, identity.dh().to_secret().expose());
    assert_hidden(&identity, identity.seal().seed().expose());
    assert!(!format!("{identity:?}").contains("Ann"));
}

#[test]
fn one_row_holds_all_of_it() {
    let store = MemoryStore::new();
    created(&store);
    let overlay = Overlay::default();
    let tx = Tx::new(&store, &overlay);
    assert_eq!(tx.scan(Table::Identity, &[], &[0xff], Direction::Ascending, 9).unwrap().len(), 1);
}
