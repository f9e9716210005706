//! The subjects of spec/identity, Linking: offers, grants, and all that two devices send.

use serde_json::json;
use undertone::crypto::dh::DhSecret;
use undertone::crypto::label::{self, hash};
use undertone::identity::linking::{
    Abort, LinkingError, Mailbox, NewComparing, NewOffering, Offer, OfferError, OldComparing, OldOpened, Round,
};
use undertone::identity::{Grant, IdentityError, KeyGrant, RelayUrl};
use undertone_wire::id::{InboxToken, LogId, ServerId};

use super::Subject;
use super::inputs::{Derived, FixedRandomness, Inputs, Stop, ensure, fault, hex};
use super::vectors::Fault;

pub(super) const SUBJECTS: &[(&str, Subject)] =
    &[("linking-offer", linking_offer), ("linking", linking), ("grant", grant), ("key-grant", key_grant)];

impl From<OfferError> for Stop {
    fn from(error: OfferError) -> Self {
        match error {
            OfferError::NotAnOffer => Self::Refused("no-offer"),
            OfferError::Alphabet => Self::Refused("alphabet"),
            OfferError::Checksum => Self::Refused("checksum"),
            OfferError::Invalid(error) => error.into(),
            _ => Self::Refused("unknown"),
        }
    }
}

impl From<LinkingError> for Stop {
    fn from(error: LinkingError) -> Self {
        match error {
            LinkingError::Offer(error) => error.into(),
            LinkingError::Identity(error) => error.into(),
            LinkingError::Expired => Self::Refused("expired"),
            LinkingError::AnotherRelay => Self::Refused("another-relay"),
            _ => Self::Refused("unknown"),
        }
    }
}

/// What comes next; that a message was passed over is a fault here.
fn next<S, N>(round: Round<S, N>) -> Result<N, Stop> {
    match round {
        Round::Next(next) => Ok(next),
        Round::Ignored(_) => Err(Fault::new("the library passes over a message of the other side").into()),
    }
}

fn mailbox(inputs: &Inputs<'_>, name: &str) -> Result<Mailbox, Fault> {
    let bytes: [u8; 64] = inputs.array(name)?;
    let half = |half: &[u8]| half.try_into().map_err(|_| fault(name, "has no two halves"));
    let (inbox, token) = (half(&bytes[..32])?, half(&bytes[32..])?);
    Ok(Mailbox { inbox: LogId::from_bytes(inbox), token: InboxToken::from_bytes(token) })
}

fn mailbox_bytes(mailbox: &Mailbox) -> Vec<u8> {
    [mailbox.inbox.as_bytes().as_slice(), mailbox.token.as_bytes()].concat()
}

fn relay(inputs: &Inputs<'_>) -> Result<RelayUrl, Stop> {
    let url = inputs.bytes("relay_url")?;
    Ok(RelayUrl::new(std::str::from_utf8(&url).map_err(|_| IdentityError::BadRelayUrl)?)?)
}

fn server(inputs: &Inputs<'_>) -> Result<ServerId, Fault> {
    inputs.array("server").map(ServerId::from_bytes)
}

/// The payload of an offer, from its bytes in text.
fn payload_of(offer: &Offer, key: &[u8; 32], server: &ServerId) -> Vec<u8> {
    let url = offer.relay().as_str().as_bytes();
    let len = match url.len() {
        short @ 0..64 => vec![short as u8],
        long => (0x4000 | long as u16).to_be_bytes().to_vec(),
    };
    let expires = offer.expires().as_u64().to_be_bytes();
    let mailbox = mailbox_bytes(offer.mailbox());
    [&[1], key.as_slice(), &mailbox, server.as_bytes(), &expires, &len, url].concat()
}

fn linking_offer(inputs: &Inputs<'_>) -> Derived {
    if inputs.has("secret") {
        let (secret, server, relay) = (inputs.array::<32>("secret")?, server(inputs)?, relay(inputs)?);
        let key = DhSecret::from_secret(&undertone::crypto::Secret32::from_bytes(secret)).public();
        // Behind the secret of the offer come the keys of the device, which the offer does not show.
        let rng = &mut FixedRandomness::new([secret.as_slice(), &[0; 128]].concat());
        let (mailbox, begun) = (mailbox(inputs, "mailbox")?, inputs.instant("begun_ms")?);
        let offering = NewOffering::new(mailbox, server, relay, begun, rng);
        let offer = offering.offer();
        let payload = payload_of(offer, key.as_bytes(), &server);
        let checksum = hash(label::LINKING_OFFER, &[&payload]);
        let text = offer.to_string();
        ensure(text.parse() == Ok(offer.clone()), "it reads another offer than it wrote")?;
        return Ok(json!({ "payload": hex(payload), "checksum": hex(&checksum[..4]), "text": text }));
    }
    let offer: Offer = inputs.text("text")?.parse()?;
    if inputs.has("now_ms") {
        offer.check(&server(inputs)?, inputs.instant("now_ms")?)?;
    }
    let bytes = offer_bytes(&offer)?;
    Ok(json!({
        "linking_key": hex(&bytes[1..33]),
        "mailbox": hex(mailbox_bytes(offer.mailbox())),
        "server": hex(&bytes[97..129]),
        "expires_ms": offer.expires().as_u64(),
        "relay_url": hex(offer.relay().as_str()),
    }))
}

/// The bytes behind the text that the library writes of an offer.
fn offer_bytes(offer: &Offer) -> Result<Vec<u8>, Stop> {
    let text = offer.to_string().to_ascii_uppercase();
    let digits = text.strip_prefix("UNDERTONELINK1").ok_or_else(|| Fault::new("an offer without its beginning"))?;
    let bytes = data_encoding::BASE32_NOPAD.decode(digits.as_bytes());
    Ok(bytes.map_err(|_| Fault::new("an offer that is no base32"))?)
}

/// Two devices that show the digits, and what they have sent until then.
struct Compared {
    new: NewComparing,
    old: OldComparing,
    payload: Vec<u8>,
    opening: Vec<u8>,
    answer: Vec<u8>,
    reveal: Vec<u8>,
}

fn compared(inputs: &Inputs<'_>) -> Result<Compared, Stop> {
    let drawn = |names: &[&str]| -> Result<Vec<u8>, Fault> {
        let bytes: Result<Vec<_>, _> = names.iter().map(|name| inputs.bytes(name)).collect();
        Ok(bytes?.concat())
    };
    // Between its DH key and what it draws when it answers stand two keys of the new device that no message shows.
    let mut of_new = FixedRandomness::new(
        [
            drawn(&["secret_of_new", "signing_seed", "dh_secret"])?,
            vec![0; 64],
            drawn(&["kem_randomness", "nonce_of_new"])?,
        ]
        .concat(),
    );
    let mut of_old =
        FixedRandomness::new([drawn(&["secret_of_old", "kem_d"])?, vec![0; 32], drawn(&["nonce_of_old"])?].concat());
    let (server, begun) = (server(inputs)?, inputs.instant("begun_ms")?);
    let offering = NewOffering::new(mailbox(inputs, "mailbox_of_new")?, server, relay(inputs)?, begun, &mut of_new);
    let offer = offering.offer().clone();
    let bytes = offer_bytes(&offer)?;
    let payload = bytes[..bytes.len() - 4].to_vec();
    let old = mailbox(inputs, "mailbox_of_old")?;
    let (opened, opening) = OldOpened::open(&offer, old, &server, begun, &mut of_old)?;
    let (answered, answer) = next(offering.hear(&opening, begun, &mut of_new)?)?;
    let (old, reveal) = next(opened.hear(&answer, begun)?)?;
    let new = next(answered.hear(&reveal, begun)?)?;
    ensure(old.code() == new.code(), "both sides show other digits")?;
    of_new.end()?;
    of_old.end()?;
    Ok(Compared { new, old, payload, opening, answer, reveal })
}

fn linking(inputs: &Inputs<'_>) -> Derived {
    let begun = inputs.instant("begun_ms")?;
    let grant = Grant::decode(&inputs.bytes("grant")?)?;
    let Compared { new, old, payload, opening, answer, reveal } = compared(inputs)?;
    let code: String = old.code().to_string().split(' ').collect();
    let (new, confirmation) = new.confirm(begun)?;
    let ready = next(old.hear(&confirmation, begun)?.confirm(begun)?)?;
    let grant_message = ready.grant(&grant);
    next(new.hear(&grant_message, begun)?)?;
    let ended = compared(inputs)?;
    Ok(json!({
        "payload": hex(payload),
        "opening": hex(opening),
        "answer": hex(answer),
        "reveal": hex(reveal),
        "code": code,
        "confirmation": hex(confirmation),
        "grant_message": hex(grant_message),
        "abort_of_new": hex(ended.new.abort(Abort::Declined)),
        "abort_of_old": hex(ended.old.abort(Abort::Declined)),
    }))
}

fn grant(inputs: &Inputs<'_>) -> Derived {
    let bytes = inputs.bytes("grant")?;
    let grant = Grant::decode(&bytes)?;
    ensure(grant.encode() == bytes, "it writes another grant than it read")?;
    Ok(json!({
        "account_id": hex(grant.credential().account_certificate().id().as_bytes()),
        "device_id": hex(grant.credential().device_certificate().id().as_bytes()),
        "list_hash": hex(grant.list().hash().as_bytes()),
        "name": hex(grant.name().as_str()),
        "relay_url": hex(grant.relay().as_str()),
    }))
}

fn key_grant(inputs: &Inputs<'_>) -> Derived {
    let bytes = inputs.bytes("key_grant")?;
    let grant = KeyGrant::decode(&bytes)?;
    ensure(*grant.encode() == bytes, "it writes another grant than it read")?;
    Ok(json!({ "account_key": hex(grant.verify_key().as_bytes()) }))
}
