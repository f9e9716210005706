//! HKDF-SHA256 (RFC 5869): the one key derivation of the library (rule ENC-04).

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Secret32;
use super::label::{Label, transcript};

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

/// HKDF-Expand alone (RFC 5869 §2.3), `N` keys of 32 bytes: for a secret that is itself such a key, uniformly random.
pub fn expand_many<const N: usize>(prk: &Secret32, label: Label, fields: &[&[u8]]) -> [Secret32; N] {
    const { assert!(N > 0 && N * 32 <= 255 * 32, "HKDF-SHA256 puts out at most 255 blocks") };
    let mut okm = Zeroizing::new([[0u8; 32]; N]);
    let hkdf = Hkdf::<Sha256>::from_prk(prk.expose()).expect("32 bytes are a key of HKDF-SHA256");
    hkdf.expand(&transcript(label, fields), okm.as_flattened_mut()).expect("the length is at most 255 blocks");
    std::array::from_fn(|index| Secret32::from_bytes(okm[index]))
}

/// HKDF-Extract alone (RFC 5869 §2.2): one key of 32 bytes from a salt and transcript(`label`, `fields`).
pub fn extract(salt: &[u8; 32], label: Label, fields: &[&[u8]]) -> Secret32 {
    let (prk, _) = Hkdf::<Sha256>::extract(Some(salt), &transcript(label, fields));
    Secret32::from_bytes(prk.into())
}

/// HKDF without the label, as RFC 5869 has it: what the vectors of others are checked against.
fn expand(salt: &[u8], ikm: &[u8], info: &[u8], okm: &mut [u8]) {
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, okm).expect("the length is at most 255 blocks");
}

#[cfg(test)]
mod tests;
