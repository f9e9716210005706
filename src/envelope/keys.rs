//! The keys of one generation of a log (rules ENV-01 to ENV-03): all members derive them from one secret, and every turn
//! changes all of them.

use std::fmt;

use undertone_wire::gate::Gate;
use undertone_wire::id::{Generation, LogId};

use crate::crypto::label::{self, Label};
use crate::crypto::sign::SigningKey;
use crate::crypto::{Secret32, kdf, secret_key};

secret_key!(
    /// Seals the shells of one generation of one log.
    pub OuterKey
);
secret_key!(
    /// Seals the ephemeral traffic of one generation of one log.
    pub EphemeralKey
);

/// The keys of one generation of one log.
pub struct LogKeys {
    /// Proves the right to read and subscribe.
    pub read: SigningKey,
    /// Proves the right to append, and to send ephemeral traffic.
    pub append: SigningKey,
    /// Seals shells.
    pub outer: OuterKey,
    /// Seals ephemeral traffic.
    pub ephemeral: EphemeralKey,
}

impl LogKeys {
    /// Derives the keys of `generation`. The secret is S_g in a direct conversation, an exporter value of the epoch in
    /// force in a group; both change with the generation.
    pub fn derive(generation_secret: &Secret32, log: LogId, generation: Generation) -> Self {
        let key =
            |purpose: Label| kdf::derive(generation_secret, purpose, &[log.as_bytes(), &generation.to_be_bytes()]);
        Self {
            read: SigningKey::from_seed(&key(label::GATE_READ)),
            append: SigningKey::from_seed(&key(label::GATE_APPEND)),
            outer: OuterKey::from_secret(key(label::OUTER)),
            ephemeral: EphemeralKey::from_secret(key(label::EPHEMERAL)),
        }
    }

    /// The public keys that the relay gets.
    pub fn gate(&self) -> Gate {
        Gate { read: self.read.verify_key(), append: self.append.verify_key() }
    }
}

impl fmt::Debug for LogKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, append, outer, ephemeral } = self;
        f.debug_struct("LogKeys")
            .field("read", read)
            .field("append", append)
            .field("outer", outer)
            .field("ephemeral", ephemeral)
            .finish()
    }
}

/// The control key of a direct conversation's log, from the secret of its generation 0 (rule ENV-03).
///
/// The log's id is the hash of this key, so that the two need not be sent apart and cannot contradict each other.
pub fn direct_control_key(generation_secret_0: &Secret32) -> SigningKey {
    SigningKey::from_seed(&kdf::derive(generation_secret_0, label::CONTROL, &[]))
}

/// The id of a direct conversation's log, from the secret of its generation 0 (rule ENV-03).
pub fn direct_log_id(generation_secret_0: &Secret32) -> LogId {
    LogId::of_control_key(&direct_control_key(generation_secret_0).verify_key())
}
