//! The subjects of spec/00-conventions.

use serde_json::json;
use tls_codec::{DeserializeBytes, Serialize};
use undertone::crypto::dh::{DhError, DhPublic, DhSecret};
use undertone::crypto::kem::{KemCiphertext, KemPublic, KemSecret};
use undertone::crypto::label::{self, Label};
use undertone::crypto::sign::{self, Signature, VerifyKey};
use undertone::crypto::{Secret32, aead, kdf};
use undertone_wire::VLBytes;
use zeroize::Zeroizing;

use super::Subject;
use super::inputs::{Derived, Inputs, Stop, ensure, fault, hex};
use super::vectors::Fault;

pub(super) const SUBJECTS: &[(&str, Subject)] = &[
    ("vector-length", vector_length),
    ("transcript", transcript),
    ("hkdf", hkdf),
    ("ed25519", ed25519),
    ("x25519", x25519),
    ("chacha20poly1305", chacha20poly1305),
    ("xchacha20poly1305", xchacha20poly1305),
    ("ml-kem-768", ml_kem_768),
];

impl From<DhError> for Stop {
    fn from(error: DhError) -> Self {
        Self::Refused(dh_code(error))
    }
}

pub(super) fn dh_code(error: DhError) -> &'static str {
    match error {
        DhError::NonCanonical => "non-canonical",
        DhError::NonContributory => "low-order",
        _ => "unknown",
    }
}

impl From<sign::BadSignature> for Stop {
    fn from(_: sign::BadSignature) -> Self {
        Self::Refused("bad-signature")
    }
}

impl From<aead::DoesNotOpen> for Stop {
    fn from(_: aead::DoesNotOpen) -> Self {
        Self::Refused("does-not-open")
    }
}

/// Every label of both tables.
fn all_labels() -> impl Iterator<Item = Label> {
    label::ALL.iter().chain(undertone_wire::label::ALL).copied()
}

fn label_of(inputs: &Inputs<'_>) -> Result<Label, Fault> {
    let text = inputs.text("label")?;
    all_labels().find(|label| label.as_str() == text).ok_or_else(|| fault("label", "is no label of the table"))
}

/// The fields as a transcript takes them.
pub(super) fn slices(fields: &[Vec<u8>]) -> Vec<&[u8]> {
    fields.iter().map(Vec::as_slice).collect()
}

fn vector_length(inputs: &Inputs<'_>) -> Derived {
    let encoded = inputs.bytes("encoded")?;
    let value = VLBytes::tls_deserialize_exact_bytes(&encoded).map_err(|_| Stop::Refused("malformed"))?;
    let again = value.tls_serialize_detached().map_err(|error| Fault::new(error.to_string()))?;
    ensure(again == encoded, "what it decoded has another encoding")?;
    Ok(json!({"value": hex(value.as_slice())}))
}

fn transcript(inputs: &Inputs<'_>) -> Derived {
    let (label, fields) = (label_of(inputs)?, inputs.list("fields")?);
    let (transcript, hash) = (label::transcript(label, &slices(&fields)), label::hash(label, &slices(&fields)));
    Ok(json!({"transcript": hex(transcript), "hash": hex(hash)}))
}

fn hkdf(inputs: &Inputs<'_>) -> Derived {
    let (label, fields) = (label_of(inputs)?, inputs.list("fields")?);
    let (salt, secret) = (inputs.array("salt")?, inputs.bytes("secret")?);
    let keys = match inputs.number("count")? {
        1 => keys::<1>(&salt, &secret, label, &slices(&fields)),
        2 => keys::<2>(&salt, &secret, label, &slices(&fields)),
        3 => keys::<3>(&salt, &secret, label, &slices(&fields)),
        4 => keys::<4>(&salt, &secret, label, &slices(&fields)),
        _ => return Err(fault("count", "is not from 1 to 4").into()),
    };
    if let (Some(secret), true) = (Secret32::from_slice(&secret), salt == [0; 32]) {
        let one = kdf::derive(&secret, label, &slices(&fields));
        ensure(hex(one.expose()) == keys[0], "one key is not the first of several")?;
    }
    Ok(json!({"info": hex(label::transcript(label, &slices(&fields))), "keys": keys}))
}

fn keys<const N: usize>(salt: &[u8; 32], secret: &[u8], label: Label, fields: &[&[u8]]) -> Vec<String> {
    kdf::derive_many::<N>(salt, secret, label, fields).iter().map(|key| hex(key.expose())).collect()
}

fn ed25519(inputs: &Inputs<'_>) -> Derived {
    let (label, fields) = (label_of(inputs)?, inputs.list("fields")?);
    if inputs.has("seed") {
        let secret = inputs.signing_key("seed")?;
        let (key, signature) = (secret.verify_key(), secret.sign(label, &slices(&fields)));
        sign::verify(&key, label, &slices(&fields), &signature)?;
        let signed = label::transcript(label, &slices(&fields));
        return Ok(json!({
            "key": hex(key.as_bytes()), "signed": hex(signed), "signature": hex(signature.as_bytes()),
        }));
    }
    let key = VerifyKey::from_bytes(inputs.array("key")?);
    let signature = Signature::from_bytes(inputs.array("signature")?);
    sign::verify(&key, label, &slices(&fields), &signature)?;
    Ok(json!({"verifies": true}))
}

fn x25519(inputs: &Inputs<'_>) -> Derived {
    let secret = DhSecret::from_secret(&inputs.secret("secret")?);
    let public = DhPublic::from_bytes(inputs.array("public")?);
    let (checked, agreed) = (public.check(), secret.agree(&public));
    ensure(checked.err() == agreed.as_ref().err().copied(), "a check and an agreement differ")?;
    Ok(json!({"own_public": hex(secret.public().as_bytes()), "shared": hex(agreed?.expose())}))
}

fn chacha20poly1305(inputs: &Inputs<'_>) -> Derived {
    let (key, nonce, aad) = (inputs.secret("key")?, inputs.array("nonce")?, inputs.bytes("aad")?);
    if inputs.has("plaintext") {
        let plaintext = inputs.bytes("plaintext")?;
        let ciphertext = aead::seal(&key, &nonce, &aad, &plaintext);
        ensure(*aead::open(&key, &nonce, &aad, &ciphertext)? == plaintext, "another plaintext opens")?;
        return Ok(json!({"ciphertext": hex(ciphertext)}));
    }
    let plaintext = aead::open(&key, &nonce, &aad, &inputs.bytes("ciphertext")?)?;
    Ok(json!({"plaintext": hex(&*plaintext)}))
}

fn xchacha20poly1305(inputs: &Inputs<'_>) -> Derived {
    let (key, aad) = (inputs.secret("key")?, inputs.bytes("aad")?);
    if inputs.has("plaintext") {
        let (plaintext, mut rng) = (inputs.bytes("plaintext")?, inputs.randomness::<24>("nonce")?);
        let sealed = aead::seal_random(&key, &aad, &plaintext, &mut rng);
        rng.end()?;
        ensure(*aead::open_random(&key, &aad, &sealed)? == plaintext, "another plaintext opens")?;
        return Ok(json!({"sealed": hex(sealed)}));
    }
    let plaintext = aead::open_random(&key, &aad, &inputs.bytes("sealed")?)?;
    Ok(json!({"plaintext": hex(&*plaintext)}))
}

fn ml_kem_768(inputs: &Inputs<'_>) -> Derived {
    if inputs.has("seed") {
        let secret = KemSecret::from_seed(Zeroizing::new(inputs.array("seed")?));
        let ciphertext: [u8; 1_088] = inputs.array("ciphertext")?;
        let mut wrong = ciphertext;
        wrong[0] ^= 1;
        let shared = |ciphertext| hex(secret.decapsulate(&KemCiphertext::from_bytes(ciphertext)).expose());
        return Ok(json!({
            "encapsulation_key": hex(secret.public().as_bytes()),
            "shared": shared(ciphertext),
            "shared_of_another_ciphertext": shared(wrong),
        }));
    }
    let public = KemPublic::from_bytes(inputs.array("encapsulation_key")?);
    let mut rng = inputs.randomness::<32>("randomness")?;
    let (ciphertext, shared) = public.encapsulate(&mut rng).map_err(|_| Stop::Refused("bad-kem-key"))?;
    rng.end()?;
    Ok(json!({"ciphertext": hex(ciphertext.as_bytes()), "shared": hex(shared.expose())}))
}
