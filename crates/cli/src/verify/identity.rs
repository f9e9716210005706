//! The subjects of spec/identity.
//!
//! The library makes certificates and lists only of keys that it holds. What a vector makes is therefore put together here,
//! from the byte maps, and signed with the library's keys; the library then reads and verifies it.

use serde_json::{Value, json};
use tls_codec::Serialize;
use undertone::crypto::dh::DhSecret;
use undertone::crypto::label::{self, Label, hash, transcript};
use undertone::crypto::sign::SigningKey;
use undertone::identity::list::{DeviceList, Freshness, pin};
use undertone::identity::{
    AccountCertificate, Credential, Device, DeviceCertificate, DeviceRequest, DisplayName, IdentityError, Invitation,
    InvitationError, NameError, RelayUrl, SafetyNumber, Scan,
};
use undertone_wire::VLBytes;

use super::Subject;
use super::conventions::dh_code;
use super::inputs::{Derived, Inputs, Stop, ensure, fault, hex};
use super::vectors::Fault;

pub(super) const SUBJECTS: &[(&str, Subject)] = &[
    ("account-certificate", account_certificate),
    ("device-certificate", device_certificate),
    ("credential", credential),
    ("device-request", device_request),
    ("device-list", device_list),
    ("device-list-pin", device_list_pin),
    ("safety-number", safety_number),
    ("safety-number-qr", safety_number_qr),
    ("name", name),
    ("invitation", invitation),
];

impl From<IdentityError> for Stop {
    fn from(error: IdentityError) -> Self {
        Self::Refused(match error {
            IdentityError::TooLong { .. } => "too-long",
            IdentityError::UnknownVersion { .. } => "version",
            IdentityError::Malformed => "malformed",
            IdentityError::Bound => "bound",
            IdentityError::BadSignature => "bad-signature",
            IdentityError::WrongAccount => "wrong-account",
            IdentityError::BadDhKey(error) => dh_code(error),
            IdentityError::NotYetValid { .. } => "not-yet-valid",
            IdentityError::Expired { .. } => "expired",
            IdentityError::DuplicateDevice => "duplicate-device",
            IdentityError::ListRolledBack { .. } => "rolled-back",
            IdentityError::DeviceListForked { .. } => "forked",
            IdentityError::ListChainBroken => "chain-broken",
            IdentityError::ListExpired { .. } => "list-expired",
            IdentityError::Name(error) => return error.into(),
            IdentityError::BadRelayUrl => "bad-relay-url",
            _ => "unknown",
        })
    }
}

impl From<NameError> for Stop {
    fn from(error: NameError) -> Self {
        Self::Refused(match error {
            NameError::Blank => "name-blank",
            NameError::TooLong { .. } => "name-too-long",
            NameError::NotUtf8 => "name-not-utf8",
            NameError::OuterSpace => "name-outer-space",
            NameError::Control => "name-control",
            NameError::Direction => "name-direction",
            NameError::Invisible => "name-invisible",
            _ => "unknown",
        })
    }
}

impl From<InvitationError> for Stop {
    fn from(error: InvitationError) -> Self {
        match error {
            InvitationError::NotAnInvitation => Self::Refused("no-invitation"),
            InvitationError::Alphabet => Self::Refused("alphabet"),
            InvitationError::Checksum => Self::Refused("checksum"),
            InvitationError::Invalid(error) => error.into(),
            _ => Self::Refused("unknown"),
        }
    }
}

/// A structure's signature: what was signed, the signature, and both together with what stands in front.
struct Signed {
    transcript: String,
    signature: String,
    encoded: Vec<u8>,
}

fn sign(key: &SigningKey, label: Label, front: &[u8]) -> Signed {
    let signature = key.sign(label, &[front]);
    Signed {
        transcript: hex(transcript(label, &[front])),
        signature: hex(signature.as_bytes()),
        encoded: [front, signature.as_bytes()].concat(),
    }
}

/// `name<V>`.
fn vector(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    VLBytes::from(bytes).tls_serialize_detached().map_err(|error| Fault::new(error.to_string()))
}

/// Capabilities as a list `<V>`.
fn capabilities_of(inputs: &Inputs<'_>) -> Result<Vec<u8>, Fault> {
    let mut capabilities = Vec::new();
    for number in inputs.numbers("capabilities")? {
        let number = u16::try_from(number).map_err(|_| fault("capabilities", "holds no u16"))?;
        capabilities.extend_from_slice(&number.to_be_bytes());
    }
    vector(&capabilities)
}

fn account_of(inputs: &Inputs<'_>, name: &str) -> Result<AccountCertificate, Stop> {
    Ok(AccountCertificate::decode(&inputs.bytes(name)?)?)
}

fn account_certificate(inputs: &Inputs<'_>) -> Derived {
    if inputs.has("account_seed") {
        let (key, nonce) = (inputs.signing_key("account_seed")?, inputs.array::<16>("nonce")?);
        let created = inputs.instant("created_ms")?;
        let front = [&[1], key.verify_key().as_bytes().as_slice(), &created.as_u64().to_be_bytes(), &nonce].concat();
        let Signed { transcript, signature, encoded } = sign(&key, label::ACCOUNT_CERTIFICATE, &front);
        let certificate = AccountCertificate::decode(&encoded)?;
        let id = certificate.verify()?;
        ensure(certificate.encode() == encoded && certificate.created() == created, "it reads another certificate")?;
        return Ok(json!({
            "account_key": hex(certificate.key().as_bytes()),
            "signed": transcript,
            "signature": signature,
            "certificate": hex(encoded),
            "account_id": hex(id.as_bytes()),
        }));
    }
    let certificate = account_of(inputs, "certificate")?;
    let id = certificate.verify()?;
    Ok(json!({
        "account_key": hex(certificate.key().as_bytes()),
        "created_ms": certificate.created().as_u64(),
        "nonce": hex(certificate.nonce()),
        "account_id": hex(id.as_bytes()),
    }))
}

fn device_certificate(inputs: &Inputs<'_>) -> Derived {
    let account = account_of(inputs, "account_certificate")?;
    let account_id = account.verify()?;
    if inputs.has("account_seed") {
        let (key, signing) = (inputs.signing_key("account_seed")?, inputs.signing_key("signing_seed")?.verify_key());
        let dh = DhSecret::from_secret(&inputs.secret("dh_secret")?).public();
        let dates = [inputs.number("not_before_ms")?, inputs.number("not_after_ms")?].map(u64::to_be_bytes).concat();
        let capabilities = capabilities_of(inputs)?;
        let front: [&[u8]; 6] = [&[1], account_id.as_bytes(), signing.as_bytes(), dh.as_bytes(), &dates, &capabilities];
        let Signed { transcript, signature, encoded } = sign(&key, label::DEVICE_CERTIFICATE, &front.concat());
        let certificate = DeviceCertificate::decode(&encoded)?;
        let device = Credential::new(account, certificate).verify(None)?;
        return Ok(json!({
            "account_id": hex(device.account().as_bytes()),
            "signing_key": hex(device.signing().as_bytes()),
            "dh_key": hex(device.dh().as_bytes()),
            "signed": transcript,
            "signature": signature,
            "certificate": hex(device.certificates().device_certificate().encode()),
            "device_id": hex(device.id().as_bytes()),
        }));
    }
    let certificate = DeviceCertificate::decode(&inputs.bytes("certificate")?)?;
    let device = if inputs.has("now_ms") {
        Device::verify(&account, &certificate, inputs.instant("now_ms")?)?
    } else {
        Credential::new(account, certificate.clone()).verify(None)?
    };
    ensure(device.account() == certificate.account(), "the device belongs to another account")?;
    let capabilities: Vec<u16> = certificate.capabilities().iter().map(|capability| capability.as_u16()).collect();
    Ok(json!({
        "account_id": hex(device.account().as_bytes()),
        "signing_key": hex(device.signing().as_bytes()),
        "dh_key": hex(device.dh().as_bytes()),
        "not_before_ms": certificate.not_before().as_u64(),
        "not_after_ms": certificate.not_after().as_u64(),
        "capabilities": capabilities,
        "device_id": hex(device.id().as_bytes()),
    }))
}

fn credential(inputs: &Inputs<'_>) -> Derived {
    let encoded = inputs.bytes("credential")?;
    let credential = Credential::decode(&encoded)?;
    let now = if inputs.has("now_ms") { Some(inputs.instant("now_ms")?) } else { None };
    let device = credential.verify(now)?;
    ensure(credential.encode() == encoded, "it reads another credential")?;
    Ok(json!({
        "account_certificate": hex(credential.account_certificate().encode()),
        "device_certificate": hex(credential.device_certificate().encode()),
        "account_id": hex(device.account().as_bytes()),
        "device_id": hex(device.id().as_bytes()),
    }))
}

fn device_request(inputs: &Inputs<'_>) -> Derived {
    if inputs.has("signing_seed") {
        let key = inputs.signing_key("signing_seed")?;
        let dh = DhSecret::from_secret(&inputs.secret("dh_secret")?).public();
        let (signing, capabilities) = (key.verify_key(), capabilities_of(inputs)?);
        let front = [&[1], signing.as_bytes().as_slice(), dh.as_bytes(), &capabilities].concat();
        let Signed { transcript, signature, encoded } = sign(&key, label::DEVICE_REQUEST, &front);
        let request = DeviceRequest::decode(&encoded)?;
        request.verify()?;
        return Ok(json!({"signed": transcript, "signature": signature, "request": hex(request.encode())}));
    }
    let request = DeviceRequest::decode(&inputs.bytes("request")?)?;
    request.verify()?;
    Ok(json!({
        "signing_key": hex(request.signing().as_bytes()),
        "dh_key": hex(request.dh().as_bytes()),
        "capabilities": request.capabilities().iter().map(|capability| capability.as_u16()).collect::<Vec<_>>(),
    }))
}

fn device_ids(devices: &[Device]) -> Vec<String> {
    devices.iter().map(|device| hex(device.id().as_bytes())).collect()
}

fn device_list(inputs: &Inputs<'_>) -> Derived {
    let account = account_of(inputs, "account_certificate")?;
    let account_id = account.verify()?;
    if inputs.has("account_seed") {
        let (version, expires) = (inputs.number("list_version")?, inputs.number("expires_ms")?);
        let previous = inputs.array::<32>("previous")?;
        let devices = vector(&inputs.list("devices")?.concat())?;
        let front: [&[u8]; 6] =
            [&[1], account_id.as_bytes(), &version.to_be_bytes(), &previous, &devices, &expires.to_be_bytes()];
        let Signed { transcript, signature, encoded } =
            sign(&inputs.signing_key("account_seed")?, label::DEVICE_LIST, &front.concat());
        let list = DeviceList::decode(&encoded)?;
        let devices = list.verify(&account)?;
        return Ok(json!({
            "signed": transcript,
            "signature": signature,
            "list": hex(list.encode()),
            "device_ids": device_ids(&devices),
            "list_hash": hex(list.hash().as_bytes()),
        }));
    }
    let list = DeviceList::decode(&inputs.bytes("list")?)?;
    let devices = list.verify(&account)?;
    Ok(json!({
        "list_version": list.list_version().as_u64(),
        "previous": hex(list.previous().as_bytes()),
        "expires_ms": list.expires().as_u64(),
        "device_ids": device_ids(&devices),
        "list_hash": hex(list.hash().as_bytes()),
    }))
}

fn device_list_pin(inputs: &Inputs<'_>) -> Derived {
    let account = account_of(inputs, "account_certificate")?;
    let pinned = if inputs.has("pinned") {
        let of =
            if inputs.has("pinned_certificate") { account_of(inputs, "pinned_certificate")? } else { account.clone() };
        let list = DeviceList::decode(&inputs.bytes("pinned")?)?;
        Some(pin(None, &of, &list, inputs.instant("pinned_ms")?)?)
    } else {
        None
    };
    let offered = DeviceList::decode(&inputs.bytes("offered")?)?;
    let now = inputs.instant("now_ms")?;
    let new = pin(pinned.as_ref(), &account, &offered, now)?;
    let freshness = match new.freshness(now) {
        Freshness::Fresh => "fresh",
        Freshness::Expired => "expired",
        Freshness::Stopped => "stopped",
    };
    Ok(json!({
        "account_id": hex(new.account().as_bytes()),
        "list_version": new.list_version().as_u64(),
        "list_hash": hex(new.hash().as_bytes()),
        "freshness": freshness,
    }))
}

fn safety_number_of(inputs: &Inputs<'_>) -> Result<SafetyNumber, Stop> {
    let certificates = inputs.list("certificates")?;
    let [one, other] = certificates.as_slice() else { return Err(fault("certificates", "are not two").into()) };
    let certificates = [AccountCertificate::decode(one)?, AccountCertificate::decode(other)?];
    for certificate in &certificates {
        certificate.verify()?;
    }
    Ok(SafetyNumber::of(&certificates[0], &certificates[1]))
}

fn safety_number(inputs: &Inputs<'_>) -> Derived {
    let number = safety_number_of(inputs)?;
    let qr = number.to_qr();
    let fingerprints: Vec<String> = qr[1..].chunks(30).map(hex).collect();
    Ok(json!({"fingerprints": fingerprints, "digits": number.to_string(), "qr": hex(qr)}))
}

fn safety_number_qr(inputs: &Inputs<'_>) -> Derived {
    match safety_number_of(inputs)?.scan(&inputs.bytes("scanned")?) {
        Scan::Matches => Ok(json!({"same": true})),
        Scan::Differs => Err(Stop::Refused("another-number")),
        Scan::Unreadable => Err(Stop::Refused("no-safety-code")),
    }
}

fn name(inputs: &Inputs<'_>) -> Derived {
    let name = DisplayName::from_utf8(&inputs.bytes("utf8")?)?;
    let code_points: Vec<u32> = name.as_str().chars().map(u32::from).collect();
    Ok(json!({"code_points": code_points}))
}

fn invitation(inputs: &Inputs<'_>) -> Derived {
    if inputs.has("account_certificate") {
        let (url, name) = (inputs.bytes("relay_url")?, inputs.bytes("name")?);
        let relay = std::str::from_utf8(&url).map_err(|_| Stop::Refused("bad-relay-url"))?;
        let account = account_of(inputs, "account_certificate")?;
        let payload = [vec![1], account.encode(), vector(&url)?, vector(&name)?].concat();
        let checksum = hash(label::INVITATION, &[&payload]);
        let invitation = Invitation::new(account, RelayUrl::new(relay)?, DisplayName::from_utf8(&name)?)?;
        let text = invitation.to_string();
        ensure(text.parse() == Ok(invitation.clone()), "it reads another invitation than it wrote")?;
        return Ok(json!({
            "payload": hex(payload),
            "checksum": hex(&checksum[..4]),
            "text": text,
            "account_id": hex(invitation.account().as_bytes()),
            "slot": hex(invitation.slot().as_bytes()),
        }));
    }
    read_invitation(inputs.text("text")?)
}

fn read_invitation(text: &str) -> Result<Value, Stop> {
    let invitation: Invitation = text.parse()?;
    Ok(json!({
        "account_certificate": hex(invitation.certificate().encode()),
        "account_id": hex(invitation.account().as_bytes()),
        "relay_url": hex(invitation.relay().as_str()),
        "name": hex(invitation.name().as_str()),
        "slot": hex(invitation.slot().as_bytes()),
    }))
}
