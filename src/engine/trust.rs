//! Whether a person has made sure of an account.

use super::client::Client;
use super::step::Step;
use crate::crypto::CryptoRng;
use crate::error::Error;
use crate::identity::{AccountId, Scan, Verification, peers};
use crate::store::StoreView;
use crate::time::UnixMs;

impl<S: StoreView> Client<S> {
    /// A person has compared the [safety number](Client::safety_number) with the one that the other shows, and it is the same.
    /// Remembered with the number.
    ///
    /// # Errors
    /// `Misuse` for an account that we do not know; `Storage`.
    pub fn verify(&mut self, account: &AccountId, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        let number = self.safety_number(account)?;
        let remember = |step: &mut Step<'_>| {
            peers::set_verified(&mut step.tx, *account, &number);
            Ok(())
        };
        self.step(now, rng, remember, None)
    }

    /// Compares with a code that was scanned from the other's screen, and remembers it if it matches.
    ///
    /// # Errors
    /// `Misuse` for an account that we do not know; `Storage`.
    pub fn verify_by_scan(
        &mut self,
        account: &AccountId,
        payload: &[u8],
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<Scan, Error> {
        let scan = self.safety_number(account)?.scan(payload);
        if scan == Scan::Matches {
            self.verify(account, now, rng)?;
        }
        Ok(scan)
    }

    /// Whether a person has made sure of an account, and of the keys that it has now.
    ///
    /// # Errors
    /// `Misuse` for an account that we do not know; `Storage`.
    pub fn verification(&self, account: &AccountId) -> Result<Verification, Error> {
        let number = self.safety_number(account)?;
        self.read(|query| Ok(peers::verification(query.rows(), *account, &number)?))
    }
}
