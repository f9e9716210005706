//! Frames: one typed content (rules ENV-18 to ENV-22). The same in direct conversations and in groups.
//!
//! ```text
//! u8 version = 1 | u16 kind | u8 flags | opaque body<V>
//!
//! flags   bits 0–1 compression: 0 none, 1 deflate, 2 zstd, 3 refused
//!         bits 2–3 if unknown:  0 ignore, 1 show fallback, 2 keep, 3 tell the sender
//!         bits 4–7 zero
//! ```

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use super::codec::{self, DecodeError, opaque, require};
use super::extension::is_grease;
use crate::limits::CONTENT_LEN_MAX;

/// The version of frames, their first byte.
pub const VERSION: u8 = 1;

/// One typed content.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Frame {
    version: u8,
    kind: FrameKind,
    flags: u8,
    #[tls_codec(with = "opaque")]
    body: Vec<u8>,
}

/// What a frame holds (u16). Kinds from 0x4000 belong to apps, GREASE values to nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct FrameKind(u16);

/// What a receiver does with a frame whose kind it does not know; the sender says so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum IfUnknown {
    /// Passes over it.
    Ignore = 0,
    /// Shows that something came which this version cannot show, and keeps it.
    ShowFallback = 1,
    /// Keeps it silently and reads it again after an upgrade.
    Keep = 2,
    /// Keeps it and tells the sender `unsupported`.
    TellSender = 3,
}

impl FrameKind {
    /// K1: a message.
    pub const MESSAGE: Self = Self(1);
    /// K2: states of messages.
    pub const STATUS: Self = Self(2);
    /// K3: typing; ephemeral.
    pub const TYPING: Self = Self(3);
    /// K4: a point of a live location; ephemeral.
    pub const LIVE_POINT: Self = Self(4);
    /// K5: presence; ephemeral.
    pub const PRESENCE: Self = Self(5);
    /// K6: call signals.
    pub const CALL: Self = Self(6);
    /// K7: shared sessions and documents.
    pub const SESSION: Self = Self(7);
    /// K8: records with strong consistency.
    pub const RECORD: Self = Self(8);
    /// K9: among the devices of one account.
    pub const OWN_DEVICES: Self = Self(9);
    /// K10: events of a topic.
    pub const TOPIC_EVENT: Self = Self(10);
    /// K11: moderation.
    pub const MODERATION: Self = Self(11);
    /// K12: control: decryption errors, resets, resend requests, capabilities, consent.
    pub const CONTROL: Self = Self(12);
    /// K13: group policy, which travels in the group context and never in a frame.
    pub const GROUP_POLICY: Self = Self(13);
    /// What the sending account calls itself.
    pub const PROFILE: Self = Self(14);
    /// The first kind that belongs to apps.
    pub const APP_FIRST: Self = Self(0x4000);

    /// Takes the number.
    pub const fn from_u16(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// Whether this release reads frames of this kind.
    pub const fn is_known(self) -> bool {
        matches!(self, Self::MESSAGE | Self::STATUS | Self::TYPING | Self::CONTROL)
    }

    /// Whether the kind belongs to the app.
    pub const fn is_app(self) -> bool {
        self.0 >= Self::APP_FIRST.0 && !self.is_grease()
    }

    /// Whether the kind means nothing and is there to be passed over.
    pub const fn is_grease(self) -> bool {
        is_grease(self.0)
    }
}

impl Frame {
    /// Makes a frame of plain bytes, at most [`CONTENT_LEN_MAX`].
    pub fn new(kind: FrameKind, if_unknown: IfUnknown, body: Vec<u8>) -> Self {
        Self { version: VERSION, kind, flags: (if_unknown as u8) << IF_UNKNOWN_SHIFT, body }
    }

    /// What the frame holds.
    pub fn kind(&self) -> FrameKind {
        self.kind
    }

    /// The content, opaque to this layer.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Takes the content.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// What a receiver does that does not know the kind.
    pub fn if_unknown(&self) -> IfUnknown {
        match self.flags >> IF_UNKNOWN_SHIFT & 0b11 {
            0 => IfUnknown::Ignore,
            1 => IfUnknown::ShowFallback,
            2 => IfUnknown::Keep,
            _ => IfUnknown::TellSender,
        }
    }

    /// Encodes a frame that stands alone.
    pub fn encode(&self) -> Vec<u8> {
        use tls_codec::Serialize;
        self.tls_serialize_detached().expect("writing to a Vec does not fail, and a body is far below 2^30 bytes")
    }

    /// Decodes a frame that stands alone and must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`]; unknown kinds are none, [`Frame::if_unknown`] says what to do.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (&version, _) = bytes.split_first().ok_or(DecodeError::Malformed)?;
        require_version(version)?;
        let frame: Self = codec::decode(bytes, CONTENT_LEN_MAX + 16)?;
        frame.check()?;
        Ok(frame)
    }

    /// Checks what the encoding alone does not: version, kind, flags, bound.
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        require_version(self.version)?;
        require(self.kind != FrameKind(0) && self.kind != FrameKind::GROUP_POLICY, "frame.kind")?;
        require(self.flags & FLAGS_ZERO == 0, "frame.flags")?;
        // Compression is agreed on before it is used, and this release agrees to none.
        require(self.flags & COMPRESSION == 0, "frame.compression")?;
        require(self.body.len() <= CONTENT_LEN_MAX, "frame.body")
    }
}

fn require_version(version: u8) -> Result<(), DecodeError> {
    if version == VERSION { Ok(()) } else { Err(DecodeError::Version { version }) }
}

const COMPRESSION: u8 = 0b0000_0011;
const IF_UNKNOWN_SHIFT: u8 = 2;
const FLAGS_ZERO: u8 = 0b1111_0000;
