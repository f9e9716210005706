//! What a device gets to hear of a conversation in its inbox: the introduction to a direct one, inside a ratchet message,
//! and the note that comes with a Welcome to a group (rules ENV-44 to ENV-47).
//!
//! ```text
//! introduction:  u8 version = 1 | log[32] | conversation[32] | order | u64 generation | S_g[32] | root[32]
//!                | u64 seq | head[32] | member lower | member higher | opaque relay_url<V> | extension extensions<V>
//! order:         u64 lists | u32 round
//! member:        opaque name<V> | opaque account certificate<V> | opaque device list<V>
//! Welcome note:  u8 version = 1 | log[32] | u64 generation | u64 seq | head[32] | opaque welcome<V>
//!                | opaque group_name<V> | opaque relay_url<V> | extension extensions<V>
//! ```

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::chain;
use undertone_wire::frame::Checkpoint;
use undertone_wire::id::{Generation, LogId, Seq};
use undertone_wire::limits::COUNTER_MAX;
use zeroize::Zeroizing;

use super::codec::{self, DecodeError, opaque, require, secret};
use super::conversation::ConversationId;
use super::extension::Extensions;
use super::inbox::BODY_LEN_MAX;
use super::keys::{LogOrder, LogRoot};
use crate::crypto::{Secret32, SecretBytes};
use crate::identity::{ACCOUNT_CERTIFICATE_LEN, AccountId, DEVICE_LIST_LEN_MAX, DisplayName, RelayUrl};

/// The version of introductions and Welcome notes, their first byte.
pub const VERSION: u8 = 1;

/// Introduces a device to the log of a direct conversation: all that it needs to read from a place on, and to answer.
#[derive(PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Introduction {
    log: LogId,
    place: LogPlace,
    #[tls_codec(with = "secret")]
    generation_secret: Secret32,
    #[tls_codec(with = "secret")]
    root: Secret32,
    /// The log up to and including the turn that began the generation: where the device begins to read.
    pub checkpoint: Checkpoint,
    /// The account with the lower id.
    pub lower: IntroducedMember,
    /// The account with the higher id.
    pub higher: IntroducedMember,
    /// Where the log is.
    #[tls_codec(with = "relay_url")]
    pub relay_url: RelayUrl,
    /// Room for later versions; no critical type is defined yet.
    pub extensions: Extensions,
}

/// Which log it is, and in which generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct LogPlace {
    /// The conversation.
    pub conversation: ConversationId,
    /// Where the log stands among those of the conversation.
    pub order: LogOrder,
    /// The generation that the log is in behind the checkpoint.
    pub generation: Generation,
}

/// One of the two accounts of a direct conversation, as an introduction shows it.
#[derive(Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct IntroducedMember {
    /// What it calls itself, or what the sender knows it by.
    #[tls_codec(with = "name")]
    pub name: DisplayName,
    /// Its encoded certificate.
    #[tls_codec(with = "opaque")]
    pub certificate: Vec<u8>,
    /// Its encoded device list, as the generation began with it.
    #[tls_codec(with = "opaque")]
    pub device_list: Vec<u8>,
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

/// The secrets of a generation of a direct log, as its members hold them.
pub struct LogSecrets {
    /// S_g.
    pub generation_secret: Secret32,
    /// The root of the log.
    pub root: LogRoot,
}

impl LogSecrets {
    /// Those of a log's first generation, from S_0.
    pub fn first(generation_secret: Secret32) -> Self {
        let root = LogRoot::of_first(&generation_secret);
        Self { generation_secret, root }
    }
}

impl Introduction {
    /// An introduction to the log of a root, as of the turn at `checkpoint`, which began the generation.
    pub fn new(
        place: LogPlace,
        secrets: LogSecrets,
        checkpoint: Checkpoint,
        [lower, higher]: [IntroducedMember; 2],
        relay_url: RelayUrl,
    ) -> Self {
        let LogSecrets { generation_secret, root } = secrets;
        let log = root.log_id(&place.conversation, place.order);
        let (root, extensions) = (root.as_secret().duplicate(), Extensions::NONE);
        Self { log, place, generation_secret, root, checkpoint, lower, higher, relay_url, extensions }
    }

    /// The log of the conversation.
    pub fn log(&self) -> LogId {
        self.log
    }

    /// S_g, from which the keys of the generation are derived.
    pub fn generation_secret(&self) -> &Secret32 {
        &self.generation_secret
    }

    /// The root of the log.
    pub fn root(&self) -> LogRoot {
        LogRoot::from_secret(self.root.duplicate())
    }

    /// Which log it is, and in which generation.
    pub fn place(&self) -> LogPlace {
        self.place
    }

    /// Encodes the introduction. It holds secrets.
    pub fn encode(&self) -> SecretBytes {
        Zeroizing::new(codec::encode_versioned(VERSION, self))
    }

    /// Decodes one introduction, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`]; [`DecodeError::Range`] also if the log is not that of the root in this conversation and order, or
    /// begins otherwise than its first secret says.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let introduction: Self = codec::decode_versioned(VERSION, bytes, BODY_LEN_MAX)?;
        let LogPlace { conversation, order, generation } = introduction.place;
        require(introduction.log == introduction.root().log_id(&conversation, order), "log")?;
        require(generation.as_u64() <= COUNTER_MAX, "generation")?;
        require(introduction.checkpoint.seq.as_u64() <= COUNTER_MAX, "checkpoint.seq")?;
        if generation == Generation::FIRST {
            require(introduction.root() == LogRoot::of_first(&introduction.generation_secret), "root")?;
            require(introduction.checkpoint == Checkpoint { seq: Seq::from_u64(0), head: chain::EMPTY }, "checkpoint")?;
        }
        for member in [&introduction.lower, &introduction.higher] {
            require(member.device_list.len() <= DEVICE_LIST_LEN_MAX, "device_list")?;
            require(member.certificate.len() <= ACCOUNT_CERTIFICATE_LEN, "certificate")?;
        }
        introduction.extensions.check(&[])?;
        Ok(introduction)
    }
}

impl fmt::Debug for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, place, generation_secret, root, checkpoint, lower: _, higher: _, relay_url, extensions } = self;
        f.debug_struct("Introduction")
            .field("log", log)
            .field("place", place)
            .field("generation_secret", generation_secret)
            .field("root", root)
            .field("checkpoint", checkpoint)
            .field("relay_url", relay_url)
            .field("extensions", extensions)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LogSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation_secret, root } = self;
        f.debug_struct("LogSecrets").field("generation_secret", generation_secret).field("root", root).finish()
    }
}

impl fmt::Debug for IntroducedMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name: _, certificate: _, device_list } = self;
        f.debug_struct("IntroducedMember").field("device_list_len", &device_list.len()).finish_non_exhaustive()
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
