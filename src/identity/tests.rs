//! Certificates, lists, pins, invitations and numbers, each also in the ways in which somebody might bend them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod certificates;
mod devices;
mod invitations;
mod lists;
mod local;
mod names;

use std::cell::RefCell;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::device::DeviceFacts;
use super::{AccountCertificate, AccountId, Capability, Credential, DeviceCertificate, DeviceList};
use crate::crypto::dh::DhSecret;
use crate::crypto::sign::SigningKey;
use crate::time::UnixMs;

const NOW: UnixMs = UnixMs::from_u64(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An account with its key in hand, so that a test can sign what an honest one never would.
struct Account {
    key: SigningKey,
    certificate: AccountCertificate,
    rng: RefCell<StdRng>,
}

impl Account {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let key = SigningKey::random(&mut rng);
        let certificate = AccountCertificate::create(&key, NOW, &mut rng);
        Self { key, certificate, rng: RefCell::new(rng) }
    }

    fn id(&self) -> AccountId {
        self.certificate.id()
    }

    /// Another certificate for the same key, at the same time.
    fn certificate_again(&self) -> AccountCertificate {
        AccountCertificate::create(&self.key, NOW, &mut *self.rng.borrow_mut())
    }

    /// Facts of a fresh device, valid from a day ago for a year.
    fn facts(&self) -> DeviceFacts {
        let mut rng = self.rng.borrow_mut();
        DeviceFacts {
            signing: SigningKey::random(&mut *rng).verify_key(),
            dh: DhSecret::random(&mut *rng).public(),
            not_before: NOW.before(DAY),
            not_after: NOW.after(365 * DAY),
            capabilities: vec![Capability::DIRECT, Capability::GROUP, Capability::from_u16(0x1a1a)],
        }
    }

    fn device(&self) -> DeviceCertificate {
        let facts = self.facts();
        self.certify(facts)
    }

    fn certify(&self, facts: DeviceFacts) -> DeviceCertificate {
        DeviceCertificate::create(self.id(), &self.key, facts)
    }

    fn credential(&self) -> Credential {
        Credential::new(self.certificate.clone(), self.device())
    }

    fn first_list(&self) -> DeviceList {
        let devices = vec![self.device()];
        DeviceList::first(self.id(), &self.key, devices, NOW.after(90 * DAY))
    }
}
