//! What the first message to somebody says: the introduction inside the first ratchet message, and the note that comes
//! with a Welcome (rules ENV-44 to ENV-47).
//!
//! ```text
//! introduction:  u8 version = 1 | log[32] | S_0[32] | opaque name<V> | opaque device_list<V> | opaque relay_url<V>
//!                | extension extensions<V>
//! Welcome note:  u8 version = 1 | log[32] | u64 generation | u64 seq | head[32] | opaque welcome<V>
//!                | opaque group_name<V> | opaque relay_url<V> | extension extensions<V>
//! ```

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::frame::Checkpoint;
use undertone_wire::id::{Generation, LogId};
use undertone_wire::limits::COUNTER_MAX;
use zeroize::Zeroizing;

use super::codec::{self, DecodeError, opaque, require, secret};
use super::extension::Extensions;
use super::inbox::BODY_LEN_MAX;
use super::keys::direct_log_id;
use crate::crypto::{Secret32, SecretBytes};
use crate::identity::{AccountId, DEVICE_LIST_LEN_MAX, DisplayName, RelayUrl};

/// The version of introductions and Welcome notes, their first byte.
pub const VERSION: u8 = 1;

/// What an initiator says of itself and of the conversation that it begins.
#[derive(PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Introduction {
    log: LogId,
    #[tls_codec(with = "secret")]
    generation_secret: Secret32,
    /// What the initiator calls itself.
    #[tls_codec(with = "name")]
    pub name: DisplayName,
    /// The initiator's encoded device list.
    #[tls_codec(with = "opaque")]
    pub device_list: Vec<u8>,
    /// Where the log is.
    #[tls_codec(with = "relay_url")]
    pub relay_url: RelayUrl,
    /// Room for later versions; no critical type is defined yet.
    pub extensions: Extensions,
}

/// What an account is called, said by another.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct NameHint {
    /// The account.
    pub account: AccountId,
    /// Its name.
    #[tls_codec(with = "name")]
    pub name: DisplayName,
}

/// Names in one note.
pub const NAMES_MAX: usize = 64;

/// What a new member needs beside the MLS Welcome.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct WelcomeNote {
    /// The group's log.
    pub log: LogId,
    /// The generation that begins with the commit that added the member.
    pub generation: Generation,
    /// The log up to and including that commit: where the member begins to read.
    pub checkpoint: Checkpoint,
    /// The MLS Welcome.
    #[tls_codec(with = "opaque")]
    pub welcome: Vec<u8>,
    /// What the inviter calls the members, each a hint until the member says it itself; at most [`NAMES_MAX`].
    pub names: Vec<NameHint>,
    /// Room for later versions; no critical type is defined yet.
    pub extensions: Extensions,
}

impl Introduction {
    /// An introduction to the log that `generation_secret` (S_0) makes.
    pub fn new(generation_secret: Secret32, name: DisplayName, device_list: Vec<u8>, relay_url: RelayUrl) -> Self {
        let log = direct_log_id(&generation_secret);
        Self { log, generation_secret, name, device_list, relay_url, extensions: Extensions::NONE }
    }

    /// The log of the conversation.
    pub fn log(&self) -> LogId {
        self.log
    }

    /// S_0, from which the keys of generation 0 and the control key are derived.
    pub fn generation_secret(&self) -> &Secret32 {
        &self.generation_secret
    }

    /// Encodes the introduction. It holds a secret.
    pub fn encode(&self) -> SecretBytes {
        Zeroizing::new(codec::encode_versioned(VERSION, self))
    }

    /// Decodes one introduction, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`]; [`DecodeError::Range`] also if the log is not the one of the secret.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let introduction: Self = codec::decode_versioned(VERSION, bytes, BODY_LEN_MAX)?;
        require(introduction.log == direct_log_id(&introduction.generation_secret), "log")?;
        require(introduction.device_list.len() <= DEVICE_LIST_LEN_MAX, "device_list")?;
        introduction.extensions.check(&[])?;
        Ok(introduction)
    }
}

impl fmt::Debug for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, generation_secret, name: _, device_list, relay_url, extensions } = self;
        f.debug_struct("Introduction")
            .field("log", log)
            .field("generation_secret", generation_secret)
            .field("device_list_len", &device_list.len())
            .field("relay_url", relay_url)
            .field("extensions", extensions)
            .finish_non_exhaustive()
    }
}

impl WelcomeNote {
    /// Encodes the note.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }

    /// Decodes one note, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let note: Self = codec::decode_versioned(VERSION, bytes, BODY_LEN_MAX)?;
        require(note.generation.as_u64() <= COUNTER_MAX, "generation")?;
        require(note.checkpoint.seq.as_u64() <= COUNTER_MAX, "checkpoint.seq")?;
        require(note.names.len() <= NAMES_MAX, "names")?;
        note.extensions.check(&[])?;
        Ok(note)
    }
}

/// A name or address of the identity layer as `opaque<V>`.
macro_rules! identity_text {
    ($module:ident, $type:ident) => {
        mod $module {
            use std::io::Write;

            use tls_codec::Error;

            use crate::envelope::codec::text;
            use crate::identity::$type;

            pub(super) fn tls_serialized_len(value: &$type) -> usize {
                text::tls_serialized_len(value.as_str())
            }

            pub(super) fn tls_serialize<W: Write>(value: &$type, writer: &mut W) -> Result<usize, Error> {
                text::tls_serialize(value.as_str(), writer)
            }

            pub(super) fn tls_deserialize_bytes(bytes: &[u8]) -> Result<($type, &[u8]), Error> {
                let (text, rest) = text::tls_deserialize_bytes(bytes)?;
                Ok(($type::new(&text).map_err(|_| Error::InvalidInput)?, rest))
            }
        }
    };
}

identity_text!(name, DisplayName);
identity_text!(relay_url, RelayUrl);
