//! Account and device certificates, and the two side by side.

use proptest::prelude::*;

use super::{Account, DAY, NOW};
use crate::crypto::dh::{DhError, DhPublic};
use crate::identity::device::{CAPABILITIES_MAX, DeviceFacts};
use crate::identity::{
    ACCOUNT_CERTIFICATE_LEN, AccountCertificate, CREDENTIAL_LEN_MAX, Capability, Credential,
    DEVICE_CERTIFICATE_LEN_MAX, Device, DeviceCertificate, IdentityError,
};
use crate::time::UnixMs;

#[test]
fn a_device_is_verified_with_its_account() {
    let account = Account::new(1);
    let certificate = account.device();
    let device = Device::verify(&account.certificate, &certificate, NOW).unwrap();
    assert_eq!(device.account(), account.id());
    assert_eq!(device.id(), certificate.id());
    assert_eq!(device.signing(), certificate.signing());
    assert_eq!(device.dh(), certificate.dh());
    assert_eq!(device.account_key(), account.certificate.key());
    assert_eq!(device.certificates(), &Credential::new(account.certificate.clone(), certificate));
}

// spec ENC-01, spec ID-01, spec ID-10, A-DM-16: every bit of both certificates is signed, and every length checked.
#[test]
fn no_bit_can_be_flipped_and_no_byte_added_or_lost() {
    let bytes = Account::new(2).credential().encode();
    assert_eq!(Credential::decode(&bytes).unwrap().encode(), bytes);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let verified = Credential::decode(&flipped).and_then(|credential| credential.verify(None));
        assert!(verified.is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(Credential::decode(&bytes[..len]).is_err(), "cut to {len} bytes");
    }
    assert_eq!(Credential::decode(&[&bytes[..], &[0]].concat()), Err(IdentityError::Malformed));
    assert_eq!(Credential::decode(&[&bytes[..], &bytes].concat()).err(), Some(too_long(2 * bytes.len())));
}

fn too_long(len: usize) -> IdentityError {
    IdentityError::TooLong { len, len_max: CREDENTIAL_LEN_MAX }
}

// spec ENC-01: the list of capabilities behind a length of two bytes where one would do.
#[test]
fn a_longer_length_than_needed_is_refused() {
    let account = Account::new(3);
    let bytes = account.device().encode();
    let at = bytes.len() - 64 - 3 * 2 - 1;
    assert_eq!(bytes[at], 6);
    let mut longer = bytes.clone();
    longer.splice(at..=at, [0x40, 6]);
    assert_eq!(DeviceCertificate::decode(&longer), Err(IdentityError::Malformed));
    assert!(DeviceCertificate::decode(&bytes).is_ok());
}

// spec ENC-02, row: version 0, 2, 255, of the structure and of each inside it.
#[test]
fn another_version_is_its_own_error() {
    let bytes = Account::new(4).credential().encode();
    for at in [0, 1, 1 + ACCOUNT_CERTIFICATE_LEN] {
        for version in [0, 2, 255] {
            let mut other = bytes.clone();
            other[at] = version;
            assert_eq!(Credential::decode(&other), Err(IdentityError::UnknownVersion { version }), "at byte {at}");
        }
    }
}

// spec ENC-09
#[test]
fn a_declared_length_reserves_nothing() {
    let account = Account::new(5);
    let bytes = account.device().encode();
    let at = bytes.len() - 64 - 3 * 2 - 1;
    let mut huge = bytes[..at].to_vec();
    huge.extend_from_slice(&[0xbf, 0xff, 0xff, 0xff]);
    assert_eq!(DeviceCertificate::decode(&huge), Err(IdentityError::Malformed));
    let len = 1 << 20;
    assert_eq!(Credential::decode(&vec![1; len]).err(), Some(too_long(len)));
}

// spec ID-02, spec ID-11
#[test]
fn names_are_hashes_of_the_whole_certificate() {
    let (one, other) = (Account::new(6), Account::new(7));
    assert_ne!(one.id(), other.id());
    let again = one.certificate_again();
    assert_ne!(again.id(), one.id(), "two accounts of one key are two accounts");

    let account = Account::new(9);
    let facts = account.facts();
    let later = DeviceFacts { not_after: facts.not_after.after(DAY), ..facts.clone() };
    assert_ne!(account.certify(facts).id(), account.certify(later).id());
}

// spec ID-12, spec ID-02, A-DM-05
#[test]
fn a_device_of_another_account_is_refused() {
    let (alice, bob) = (Account::new(10), Account::new(11));
    let of_alice = alice.device();
    assert_eq!(Device::verify(&bob.certificate, &of_alice, NOW), Err(IdentityError::WrongAccount));

    // Bob signs a device that names Alice's account, and one that names his own with Alice's keys.
    let stolen = DeviceCertificate::create(alice.id(), &bob.key, alice.facts());
    assert_eq!(Device::verify(&alice.certificate, &stolen, NOW), Err(IdentityError::BadSignature));
    let crossed = DeviceCertificate::create(bob.id(), &alice.key, alice.facts());
    assert_eq!(Device::verify(&bob.certificate, &crossed, NOW), Err(IdentityError::BadSignature));
}

// spec ID-12, spec ENC-07, A-DM-01
#[test]
fn a_device_with_an_unusable_dh_key_is_refused() {
    let account = Account::new(12);
    let mut second_encoding = [0xff; 32];
    second_encoding[31] = 0x7f;
    for (dh, error) in [([0; 32], DhError::NonContributory), (second_encoding, DhError::NonCanonical)] {
        let facts = DeviceFacts { dh: DhPublic::from_bytes(dh), ..account.facts() };
        let device = account.certify(facts);
        assert_eq!(Device::verify(&account.certificate, &device, NOW), Err(IdentityError::BadDhKey(error)));
    }
}

// spec ID-13, spec ID-14, A-FA-12
#[test]
fn dates_count_where_a_clock_is_given_and_nowhere_else() {
    let account = Account::new(13);
    let facts = account.facts();
    let (not_before, not_after) = (facts.not_before, facts.not_after);
    let credential = Credential::new(account.certificate.clone(), account.certify(facts));
    let one_ms = std::time::Duration::from_millis(1);
    let at = |now| credential.verify(Some(now)).map(|_| ());
    assert_eq!(at(not_before), Ok(()));
    assert_eq!(at(not_after), Ok(()));
    assert_eq!(at(not_before.before(one_ms)), Err(IdentityError::NotYetValid { not_before }));
    assert_eq!(at(not_after.after(one_ms)), Err(IdentityError::Expired { not_after }));
    assert_eq!(at(UnixMs::from_u64(0)), Err(IdentityError::NotYetValid { not_before }));
    assert_eq!(at(UnixMs::MAX), Err(IdentityError::Expired { not_after }));
    assert!(credential.verify(None).is_ok());
}

// spec ID-10
#[test]
fn lists_and_dates_out_of_bounds_are_refused_though_signed() {
    let account = Account::new(14);
    let facts = account.facts();
    let number = Capability::from_u16;
    let many = |count: usize| (0..count as u16).map(number).collect::<Vec<_>>();
    let bad = [
        DeviceFacts { capabilities: vec![number(2), number(1)], ..facts.clone() },
        DeviceFacts { capabilities: vec![number(1), number(1)], ..facts.clone() },
        DeviceFacts { not_after: facts.not_before.before(DAY), ..facts.clone() },
    ];
    for facts in bad {
        let device = account.certify(facts);
        assert_eq!(DeviceCertificate::decode(&device.encode()), Err(IdentityError::Bound));
        assert_eq!(Device::verify(&account.certificate, &device, NOW), Err(IdentityError::Bound));
        let credential = Credential::new(account.certificate.clone(), device);
        assert_eq!(Credential::decode(&credential.encode()), Err(IdentityError::Bound));
        assert_eq!(credential.verify(None), Err(IdentityError::Bound));
    }
    let most = account.certify(DeviceFacts { capabilities: many(CAPABILITIES_MAX), ..facts.clone() });
    assert_eq!(most.encode().len(), DEVICE_CERTIFICATE_LEN_MAX);
    assert_eq!(DeviceCertificate::decode(&most.encode()), Ok(most.clone()));
    assert_eq!(Credential::new(account.certificate.clone(), most).encode().len(), CREDENTIAL_LEN_MAX);
    let more = account.certify(DeviceFacts { capabilities: many(CAPABILITIES_MAX + 1), ..facts });
    assert!(DeviceCertificate::decode(&more.encode()).is_err());
    assert_eq!(Device::verify(&account.certificate, &more, NOW), Err(IdentityError::Bound));
}

// spec ID-15
#[test]
fn an_unknown_capability_is_kept_and_ignored() {
    let account = Account::new(15);
    let device = Device::verify(&account.certificate, &account.device(), NOW);
    let device = device.unwrap();
    assert!(device.can(Capability::DIRECT) && device.can(Capability::from_u16(0x1a1a)));
    assert!(!device.can(Capability::from_u16(3)));
    let again = Credential::decode(&device.certificates().encode()).unwrap();
    assert_eq!(again.verify(Some(NOW)).unwrap(), device);
}

#[test]
fn a_certificate_signed_in_another_domain_is_refused() {
    // A-DM-02: the right key over the right bytes, but as something else.
    let account = Account::new(16);
    let mut bytes = account.certificate.encode();
    let signed_len = bytes.len() - 64;
    let signature = account.key.sign(crate::crypto::label::DEVICE_CERTIFICATE, &[&bytes[..signed_len]]);
    bytes[signed_len..].copy_from_slice(signature.as_bytes());
    let forged = AccountCertificate::decode(&bytes).unwrap();
    assert_eq!(forged.verify(), Err(IdentityError::BadSignature));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = AccountCertificate::decode(&bytes);
        let _ = DeviceCertificate::decode(&bytes);
        if let Ok(credential) = Credential::decode(&bytes) {
            prop_assert_eq!(credential.encode(), bytes);
        }
    }

    #[test]
    fn certificates_come_back_from_their_bytes(seed: u64, capabilities in proptest::collection::btree_set(any::<u16>(), 0..CAPABILITIES_MAX)) {
        let account = Account::new(seed);
        let capabilities = capabilities.into_iter().map(Capability::from_u16).collect();
        let facts = DeviceFacts { capabilities, ..account.facts() };
        let credential = Credential::new(account.certificate.clone(), account.certify(facts));
        prop_assert_eq!(Credential::decode(&credential.encode()), Ok(credential.clone()));
        prop_assert!(credential.verify(Some(NOW)).is_ok());
    }
}
