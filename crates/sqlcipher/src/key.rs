//! The key of a store: 32 bytes that the platform's keystore keeps. There is no passphrase and so no slow derivation.

use std::fmt;
use std::fmt::Write as _;

use undertone::crypto::Secret32;
use zeroize::Zeroizing;

/// The key that encrypts a store: 32 uniformly random bytes, wiped when dropped.
pub struct StoreKey(Secret32);

impl StoreKey {
    /// Gives a secret this meaning.
    pub fn from_secret(secret: Secret32) -> Self {
        Self(secret)
    }

    /// The statement that keys a connection: a raw key, used as it is.
    pub(crate) fn as_pragma(&self) -> Zeroizing<String> {
        const STATEMENT_LEN: usize = "PRAGMA key = \"x''\"".len() + 2 * 32;
        // Long enough from the start: a string that grows would leave a copy behind.
        let mut statement = Zeroizing::new(String::with_capacity(STATEMENT_LEN));
        statement.push_str("PRAGMA key = \"x'");
        for byte in self.0.expose() {
            // Writing to a string never fails.
            let _ = write!(statement, "{byte:02x}");
        }
        statement.push_str("'\"");
        debug_assert_eq!(statement.len(), STATEMENT_LEN);
        statement
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(_) = self;
        f.write_str("StoreKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_holds_the_key_in_hex_and_debug_does_not() {
        let key = StoreKey::from_secret(Secret32::from_bytes([0xa7; 32]));
        assert_eq!(*key.as_pragma(), format!("PRAGMA key = \"x'{}'\"", "a7".repeat(32)));
        assert!(!format!("{key:?}").contains("a7"));
    }
}
