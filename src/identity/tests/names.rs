//! What may stand in a name, and what a safety number is.

use proptest::prelude::*;

use super::Account;
use crate::identity::{DisplayName, NAME_LEN_MAX, NameError, QR_LEN, SafetyNumber, Scan, Verification, peers};
use crate::store::{Direction, MemoryStore, Overlay, Store, StoreError, Table, Tx};

#[test]
fn names_of_people_are_taken_as_they_are() {
    for name in ["Ann", "Søren Kierkegaard", "محمد", "王小明", "O'Brien-Smith", "❤\u{fe0f} Ann", "नेहा", &"n".repeat(64)]
    {
        assert_eq!(DisplayName::new(name).unwrap().as_str(), name);
        assert_eq!(DisplayName::from_utf8(name.as_bytes()).unwrap().to_string(), name);
    }
}

// spec ID-50
#[test]
fn names_that_would_deceive_are_refused() {
    let cases = [
        ("", NameError::Blank),
        ("   ", NameError::Blank),
        (" Ann", NameError::OuterSpace),
        ("Ann\u{a0}", NameError::OuterSpace),
        ("A\0nn", NameError::Control),
        ("A\nnn", NameError::Control),
        ("A\u{1b}[31m", NameError::Control),
        ("A\u{85}nn", NameError::Control),
        ("A\u{2028}nn", NameError::Control),
        ("A\u{202e}nn", NameError::Direction),
        ("A\u{2066}nn", NameError::Direction),
        ("A\u{200f}nn", NameError::Direction),
        ("A\u{200b}nn", NameError::Invisible),
        ("A\u{200d}nn", NameError::Invisible),
        ("A\u{feff}nn", NameError::Invisible),
        ("A\u{ad}nn", NameError::Invisible),
        ("\u{3164}", NameError::Invisible),
        ("A\u{e0041}nn", NameError::Invisible),
    ];
    for (name, error) in cases {
        assert_eq!(DisplayName::new(name), Err(error), "{name:?}");
        assert_eq!(DisplayName::from_utf8(name.as_bytes()), Err(error), "{name:?}");
    }
    let long = "n".repeat(NAME_LEN_MAX + 1);
    assert_eq!(DisplayName::new(&long), Err(NameError::TooLong { len: long.len() }));
    assert_eq!(DisplayName::from_utf8(&[0xff, 0xfe]), Err(NameError::NotUtf8));
}

#[test]
fn a_name_does_not_show_in_debug() {
    assert_eq!(format!("{:?}", DisplayName::new("Ann").unwrap()), "DisplayName(…)");
}

// spec ID-30, A-DM-33
#[test]
fn both_sides_see_one_number_and_any_other_account_gives_another() {
    let (alice, bob, carol) = (Account::new(1), Account::new(2), Account::new(3));
    let number = SafetyNumber::of(&alice.certificate, &bob.certificate);
    assert_eq!(number, SafetyNumber::of(&bob.certificate, &alice.certificate));
    assert_ne!(number, SafetyNumber::of(&carol.certificate, &bob.certificate));
    assert_ne!(number, SafetyNumber::of(&alice.certificate, &carol.certificate));
    // The same key under another id: the certificate was made anew.
    let again = alice.certificate_again();
    assert_ne!(number, SafetyNumber::of(&again, &bob.certificate));
}

// spec ID-30: computed here once more, from the words of the specification.
#[test]
fn a_number_is_twelve_groups_of_five_digits_out_of_iterated_hashes() {
    use sha2::{Digest, Sha256};

    let (alice, bob) = (Account::new(1), Account::new(2));
    let mut halves = [&alice, &bob].map(|account| {
        let field = |bytes: &[u8]| [&[bytes.len() as u8], bytes].concat();
        let label = field(b"undertone/v1/safety number");
        let key = field(account.certificate.key().as_bytes());
        let mut value = account.id().as_bytes().to_vec();
        for _ in 0..5_200 {
            value = Sha256::digest([&label[..], &field(&value), &key].concat()).to_vec();
        }
        value[..30].to_vec()
    });
    halves.sort();
    let digits: Vec<String> = halves
        .concat()
        .chunks(5)
        .map(|group| {
            let number = u64::from_be_bytes([0, 0, 0, group[0], group[1], group[2], group[3], group[4]]);
            format!("{:05}", number % 100_000)
        })
        .collect();
    let number = SafetyNumber::of(&alice.certificate, &bob.certificate);
    assert_eq!(number.to_string(), digits.join(" "));
    assert_eq!(number.to_string().len(), 60 + 11);
    assert_eq!(number.to_qr().to_vec(), [&[1], &halves.concat()[..]].concat());
}

// spec ID-31
#[test]
fn a_scanned_code_matches_its_own_number_only() {
    let (alice, bob, carol) = (Account::new(1), Account::new(2), Account::new(3));
    let ours = SafetyNumber::of(&alice.certificate, &bob.certificate);
    let theirs = SafetyNumber::of(&bob.certificate, &alice.certificate);
    assert_eq!(ours.scan(&theirs.to_qr()), Scan::Matches);
    assert_eq!(ours.scan(&SafetyNumber::of(&alice.certificate, &carol.certificate).to_qr()), Scan::Differs);
    assert_eq!(ours.scan(b""), Scan::Unreadable);
    assert_eq!(ours.scan(&theirs.to_qr()[..QR_LEN - 1]), Scan::Unreadable);
    assert_eq!(ours.scan(&[&theirs.to_qr()[..], &[0]].concat()), Scan::Unreadable);
    let mut other_version = theirs.to_qr();
    other_version[0] = 2;
    assert_eq!(ours.scan(&other_version), Scan::Unreadable);
}

// spec ID-32
#[test]
fn an_account_is_verified_for_the_number_that_was_compared_and_for_no_other() {
    let (alice, bob) = (Account::new(30), Account::new(31));
    let number = SafetyNumber::of(&alice.certificate, &bob.certificate);
    let another = SafetyNumber::of(&alice.certificate, &bob.certificate_again());
    let (store, overlay) = (MemoryStore::new(), Overlay::default());
    let mut tx = Tx::new(&store, &overlay);
    let of = |tx: &Tx<'_>, number| peers::verification(tx, bob.id(), number);
    assert_eq!(of(&tx, &number), Ok(Verification::Unverified));
    peers::set_verified(&mut tx, bob.id(), &number);
    store.commit(&tx.into_batch()).unwrap();
    let mut tx = Tx::new(&store, &overlay);
    assert_eq!(of(&tx, &number), Ok(Verification::Verified));
    assert_eq!(of(&tx, &another), Ok(Verification::Changed));
    assert_eq!(peers::verification(&tx, alice.id(), &number), Ok(Verification::Unverified));
    assert_eq!(peers::load(&tx, bob.id()), Ok(None), "a number is no pin");
    let (key, value) = tx.scan_prefix(Table::Peers, &[2], Direction::Ascending, 1).unwrap().remove(0);
    for damaged in [&value[1..], &value[..60], &[&value[..], &[0]].concat()[..], &[&[2], &value[1..]].concat()[..]] {
        tx.put(Table::Peers, &key, damaged.to_vec());
        assert_eq!(of(&tx, &number), Err(StoreError::Corrupt));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_a_name_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(name) = DisplayName::from_utf8(&bytes) {
            prop_assert_eq!(name.as_str().as_bytes(), &bytes[..]);
        }
    }

    #[test]
    fn arbitrary_text_is_a_name_or_an_error(text in "\\PC{0,20}") {
        if let Ok(name) = DisplayName::new(&text) {
            prop_assert!(!name.as_str().chars().any(char::is_control));
        }
    }
}
