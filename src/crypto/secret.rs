//! The bytes of a secret: wiped when dropped, never cloned, shown or compared in variable time.

use std::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// 32 secret bytes.
pub struct Secret32([u8; 32]);

/// Secret bytes of any length, such as a plaintext or an encoded private state.
pub type SecretBytes = Zeroizing<Vec<u8>>;

impl Secret32 {
    /// Takes the bytes; the caller wipes its own copy.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Takes 32 bytes out of a slice, or nothing if it has another length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Draws new bytes.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        let mut secret = Self([0; 32]);
        rng.fill_bytes(&mut secret.0);
        secret
    }

    /// The bytes themselves: to be stored encrypted, or fed into a primitive.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// A second handle on the same secret, where a protocol keeps one and hands one on. Spelled out, so that each copy
    /// is a decision.
    pub(crate) fn duplicate(&self) -> Self {
        Self(self.0)
    }
}

/// Overwrites secret bytes with zeros, and keeps the compiler from finding that nobody reads them.
pub(super) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(bytes);
}

impl Drop for Secret32 {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl ZeroizeOnDrop for Secret32 {}

impl PartialEq for Secret32 {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret32 {}

impl fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(_) = self;
        f.write_str("Secret32(…)")
    }
}

/// Declares a named secret over [`Secret32`], so that two secrets of different meaning are different types.
macro_rules! secret_key {
    ($(#[$doc:meta])* $vis:vis $name:ident) => {
        $(#[$doc])*
        #[derive(PartialEq, Eq)]
        $vis struct $name($crate::crypto::Secret32);

        #[allow(dead_code, reason = "not every kind of secret needs every accessor")]
        impl $name {
            /// Gives the secret its meaning.
            $vis fn from_secret(secret: $crate::crypto::Secret32) -> Self {
                Self(secret)
            }

            /// The secret without its meaning, for a primitive or the store.
            $vis fn as_secret(&self) -> &$crate::crypto::Secret32 {
                &self.0
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let Self(_) = self;
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}
pub(crate) use secret_key;
