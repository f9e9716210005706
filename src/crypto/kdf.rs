//! HKDF-SHA256 (RFC 5869): the one key derivation of the library (rule ENC-04), and its two steps alone for the chains of
//! the double ratchet (rules ENC-15, ENC-16).

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Secret32;
use super::label::{Label, transcript, transcript_parts};

/// Derives one key of 32 bytes: HKDF(salt = 32 zero bytes, ikm = `secret`, info = transcript(`label`, `fields`)).
pub fn derive(secret: &Secret32, label: Label, fields: &[&[u8]]) -> Secret32 {
    let [key] = derive_many(&[0; 32], secret.expose(), label, fields);
    key
}

/// Derives `N` keys of 32 bytes each, in the order in which HKDF puts them out.
///
/// `salt` is 32 bytes, secret or zero; `ikm` is secret and of any length.
pub fn derive_many<const N: usize>(salt: &[u8; 32], ikm: &[u8], label: Label, fields: &[&[u8]]) -> [Secret32; N] {
    const { assert!(N > 0 && N * 32 <= 255 * 32, "HKDF-SHA256 puts out at most 255 blocks") };
    let mut okm = Zeroizing::new([[0u8; 32]; N]);
    expand(salt, ikm, &transcript(label, fields), okm.as_flattened_mut());
    std::array::from_fn(|index| Secret32::from_bytes(okm[index]))
}

/// Derives `N` keys of 32 bytes each with HKDF-Expand alone (RFC 5869 §2.3; rule ENC-15): `prk` is the PRK, the
/// transcript of `label` and `fields` the info.
///
/// The caller vouches that `prk` is uniformly random, as what a KDF put out is, and a shared secret is not.
pub fn expand_many<const N: usize>(prk: &Secret32, label: Label, fields: &[&[u8]]) -> [Secret32; N] {
    const { assert!(N > 0 && N <= 255, "HKDF-SHA256 puts out at most 255 blocks") };
    let keyed = keyed(prk.expose());
    let mut block = Zeroizing::new([0u8; 32]);
    std::array::from_fn(|index| {
        let mut mac = keyed.clone();
        if index > 0 {
            mac.update(block.as_slice());
        }
        transcript_parts(label, fields, |part| mac.update(part));
        mac.update(&[index as u8 + 1]);
        *block = finish(mac);
        Secret32::from_bytes(*block)
    })
}

/// Derives one key of 32 bytes with HKDF-Extract alone (RFC 5869 §2.2; rule ENC-16): `salt` is the salt, the transcript
/// of `label` and `fields`, one of which is secret, the input key material.
pub fn extract(salt: &[u8; 32], label: Label, fields: &[&[u8]]) -> Secret32 {
    let mut mac = keyed(salt);
    transcript_parts(label, fields, |part| mac.update(part));
    Secret32::from_bytes(finish(mac))
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

fn finish(mac: Hmac<Sha256>) -> [u8; 32] {
    mac.finalize().into_bytes().into()
}

/// HKDF without the label, as RFC 5869 has it: what the vectors of others are checked against.
fn expand(salt: &[u8], ikm: &[u8], info: &[u8], okm: &mut [u8]) {
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, okm).expect("the length is at most 255 blocks");
}

#[cfg(test)]
mod tests;
