//! Invitations: mistyped, cut, forged.

use proptest::prelude::*;
use undertone_wire::id::SlotId;

use super::Account;
use crate::crypto::label;
use crate::identity::invitation::{base32, checksum};
use crate::identity::{
    AccountCertificate, DisplayName, INVITATION_LEN_MAX, IdentityError, Invitation, InvitationError, NAME_LEN_MAX,
    NameError, RELAY_URL_LEN_MAX, RelayUrl,
};

fn invitation() -> Invitation {
    let url = RelayUrl::new("wss://relay.example/v1").unwrap();
    Invitation::new(Account::new(1).certificate, url, DisplayName::new("Ann").unwrap()).unwrap()
}

/// The text of a payload, checksum included: what a forger would write.
fn text_of(payload: &[u8]) -> String {
    format!("undertone1{}", base32().encode(&[payload, &checksum(payload)].concat()))
}

fn payload_of(text: &str) -> Vec<u8> {
    let mut bytes = base32().decode(text.strip_prefix("undertone1").unwrap().as_bytes()).unwrap();
    bytes.truncate(bytes.len() - 4);
    bytes
}

// spec ID-40
#[test]
fn an_invitation_is_one_line_that_says_the_same_when_read() {
    let invitation = invitation();
    let text = invitation.to_string();
    assert!(text.starts_with("undertone1"));
    assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    assert_eq!(text.parse(), Ok(invitation.clone()));
    assert_eq!(format!("  {}\n", text.to_ascii_uppercase()).parse(), Ok(invitation.clone()));
    assert_eq!(text_of(&payload_of(&text)), text);
    assert_eq!(invitation.account(), Account::new(1).id());
}

// spec ID-41
#[test]
fn every_mistyped_character_and_every_cut_is_noticed() {
    let text = invitation().to_string();
    for at in 0..text.len() {
        let other = if &text[at..=at] == "b" { "c" } else { "b" };
        let mistyped = format!("{}{other}{}", &text[..at], &text[at + 1..]);
        assert!(mistyped.parse::<Invitation>().is_err(), "character {at}");
        assert!(text[..at].parse::<Invitation>().is_err(), "cut to {at}");
    }
    assert!(format!("{text}a").parse::<Invitation>().is_err());
    assert_eq!("hello".parse::<Invitation>(), Err(InvitationError::NotAnInvitation));
    assert_eq!("undertone2aaaa".parse::<Invitation>(), Err(InvitationError::NotAnInvitation));
    assert_eq!("undertone1".parse::<Invitation>(), Err(InvitationError::Checksum));
    assert_eq!(format!("{}!{}", &text[..20], &text[21..]).parse::<Invitation>(), Err(InvitationError::Alphabet));
    let long = format!("undertone1{}", "a".repeat(INVITATION_LEN_MAX));
    assert_eq!(long.parse::<Invitation>(), Err(InvitationError::NotAnInvitation));
}

// spec ID-42, spec ENC-02
#[test]
fn what_an_invitation_says_is_verified() {
    let payload = payload_of(&invitation().to_string());
    let parse = |payload: &[u8]| text_of(payload).parse::<Invitation>();
    let with = |at: usize, byte: u8| {
        let mut changed = payload.clone();
        changed[at] = byte;
        changed
    };
    let invalid = |error| Err(InvitationError::Invalid(error));
    assert_eq!(parse(&with(0, 2)), invalid(IdentityError::UnknownVersion { version: 2 }));
    assert_eq!(parse(&with(1, 9)), invalid(IdentityError::UnknownVersion { version: 9 }));
    assert_eq!(parse(&with(2, payload[2] ^ 1)), invalid(IdentityError::BadSignature));
    assert_eq!(parse(&[&payload[..], &[0]].concat()), invalid(IdentityError::Malformed));
    assert_eq!(parse(&with(payload.len() - 1, 0)), invalid(IdentityError::Name(NameError::Control)));
    assert_eq!(parse(&with(1 + 121 + 1, b' ')), invalid(IdentityError::BadRelayUrl));
    assert_eq!(parse(&[]), invalid(IdentityError::Malformed));

    let account = Account::new(1);
    let mut bytes = account.certificate.encode();
    let signature = account.key.sign(label::DEVICE_LIST, &[&bytes[..57]]);
    bytes[57..].copy_from_slice(signature.as_bytes());
    let forged = AccountCertificate::decode(&bytes).unwrap();
    let (url, name) = (RelayUrl::new("ws://r").unwrap(), DisplayName::new("Ann").unwrap());
    assert_eq!(Invitation::new(forged, url, name), Err(IdentityError::BadSignature));
}

// spec ID-43
#[test]
fn an_invitation_leads_to_the_list_of_its_own_account_only() {
    let (invited, other) = (Account::new(1), Account::new(2));
    let invitation = invitation();
    assert_eq!(invitation.slot(), SlotId::of_owner(&invited.key.verify_key()));
    assert!(invited.first_list().verify(invitation.certificate()).is_ok());
    assert_eq!(other.first_list().verify(invitation.certificate()), Err(IdentityError::WrongAccount));
}

#[test]
fn addresses_are_visible_ascii_within_their_bound() {
    assert!(RelayUrl::new(&"a".repeat(RELAY_URL_LEN_MAX)).is_ok());
    for url in ["", "ws://a b", "ws://ü", "ws://a\n", &"a".repeat(RELAY_URL_LEN_MAX + 1)] {
        assert_eq!(RelayUrl::new(url), Err(IdentityError::BadRelayUrl), "{url:?}");
    }
}

#[test]
fn the_longest_invitation_is_within_its_bound() {
    let url = RelayUrl::new(&"a".repeat(RELAY_URL_LEN_MAX)).unwrap();
    let name = DisplayName::new(&"n".repeat(NAME_LEN_MAX)).unwrap();
    let invitation = Invitation::new(Account::new(1).certificate, url, name).unwrap();
    assert_eq!(invitation.to_string().len(), INVITATION_LEN_MAX);
    assert_eq!(invitation.to_string().parse(), Ok(invitation));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "(undertone1)?[a-z2-7 é]{0,60}") {
        prop_assert!(text.parse::<Invitation>().is_err());
    }

    #[test]
    fn an_arbitrary_payload_never_panics(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(text_of(&payload).parse::<Invitation>().is_err());
    }

    #[test]
    fn invitations_come_back_from_their_text(seed: u64, url in "wss://[a-z]{1,40}", name in "[a-zA-Zé]{1,20}") {
        let (url, name) = (RelayUrl::new(&url).unwrap(), DisplayName::new(&name).unwrap());
        let invitation = Invitation::new(Account::new(seed).certificate, url, name).unwrap();
        prop_assert_eq!(invitation.to_string().parse(), Ok(invitation));
    }
}
