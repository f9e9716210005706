//! The keys of one generation of a log (rules ENV-01 to ENV-03): all members derive them from one secret, and every turn
//! changes all of them.

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::gate::Gate;
use undertone_wire::id::{Generation, LogId};

use super::conversation::ConversationId;
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

/// Where a direct log stands among those of its conversation: of two, the one with the higher order lives, and of two with
/// one order the one with the lower id (rule DEL-50). 12 bytes.
///
/// The id of the log is derived from it ([`LogRoot::log_id`]), so that one log has one order, for whoever knows it.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, TlsSerialize, TlsDeserializeBytes, TlsSize,
)]
pub struct LogOrder {
    /// The versions of both device lists with which the log began, added up. Only the accounts' own keys raise it.
    pub lists: u64,
    /// Which log it is of those that began with such lists, from 0.
    pub round: u32,
}

secret_key!(
    /// The root of a direct conversation's log: all that its control key rests on, besides the conversation and the order.
    pub LogRoot
);

impl LogRoot {
    /// The root of the log whose generation 0 has the secret S_0 (rule ENV-03).
    pub fn of_first(generation_secret_0: &Secret32) -> Self {
        Self::from_secret(kdf::derive(generation_secret_0, label::LOG_ROOT, &[]))
    }

    /// The control key (rule ENV-03).
    pub fn control_key(&self, conversation: &ConversationId, order: LogOrder) -> SigningKey {
        let LogOrder { lists, round } = order;
        let fields: [&[u8]; 3] = [conversation.as_bytes(), &lists.to_be_bytes(), &round.to_be_bytes()];
        SigningKey::from_seed(&kdf::derive(self.as_secret(), label::CONTROL, &fields))
    }

    /// The id of the log, the hash of its control key: the two need not be sent apart and cannot contradict each other.
    pub fn log_id(&self, conversation: &ConversationId, order: LogOrder) -> LogId {
        LogId::of_control_key(&self.control_key(conversation, order).verify_key())
    }
}
