//! K1, messages: the IETF MIMI content array as it is (rules ENV-57 to ENV-65).
//!
//! ```text
//! [salt, replaces, topic id, expires, in reply to, extensions, part]
//! ```

use std::fmt;

use unicode_segmentation::UnicodeSegmentation;

use super::CONTENT_LEN_MAX;
use super::cbor::Value;
use super::part::{Body, Disposition, PARTS_MAX, Part};
use super::scanner::{CONTENT_DEPTH_MAX, ScanError};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::crypto::label::{self, hash};
use crate::crypto::{CryptoRng, random_array};
use crate::envelope::ConversationId;
use crate::identity::AccountId;

/// Plain text, as a media type.
pub const TEXT_PLAIN: &str = "text/plain;charset=utf-8";

/// Markdown as MIMI profiles it, as a media type.
pub const TEXT_MARKDOWN: &str = "text/markdown;variant=GFM-MIMI";

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Makes equal messages different.
    pub salt: Salt,
    /// The message that this one edits or deletes.
    pub replaces: Option<MessageId>,
    /// The thread, empty for none.
    pub topic: TopicId,
    /// When it is to be forgotten.
    pub expires: Option<Expiry>,
    /// The message that this one answers, or reacts to.
    pub in_reply_to: Option<MessageId>,
    /// Extensions by key, an integer or a text; unknown ones are kept.
    pub extensions: Vec<(Value, Value)>,
    /// What is said.
    pub part: Part,
}

/// 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Salt([u8; 16]);

impl Salt {
    /// Draws a new salt.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self(random_array(rng))
    }

    /// Takes the bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// Names a message: 32 bytes, the hash of its received bytes, its conversation and its sender.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct MessageId([u8; 32]);

impl MessageId {
    /// The id of a message. `received` are the bytes of the frame's body as they came, never re-encoded.
    pub fn of(conversation: &ConversationId, sender: &AccountId, received: &[u8]) -> Self {
        Self(hash(label::MESSAGE_ID, &[conversation.as_bytes(), sender.as_bytes(), received]))
    }

    /// Takes the bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// Names a thread: bytes that its first message chose; empty for none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct TopicId(Vec<u8>);

impl TopicId {
    /// Takes the bytes, at most [`TOPIC_LEN_MAX`].
    ///
    /// # Errors
    /// [`ContentError::Field`] past the bound.
    pub fn new(bytes: Vec<u8>) -> Result<Self, ContentError> {
        if bytes.len() <= TOPIC_LEN_MAX { Ok(Self(bytes)) } else { Err(field("topic id")) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes of a topic id.
pub const TOPIC_LEN_MAX: usize = 4_096;

/// When a message is to be forgotten.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Expiry {
    /// Seconds after it is read.
    AfterReading {
        /// Seconds.
        seconds: u32,
    },
    /// At a time.
    At {
        /// Seconds since 1970-01-01T00:00Z.
        unix_s: u32,
    },
}

/// A content that cannot be made or read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ContentError {
    /// The bytes are not deterministic CBOR.
    Scan(ScanError),
    /// A field is missing, too many, of another type or out of range.
    Field {
        /// The name of the field, as in spec/envelope.
        field: &'static str,
    },
    /// The encoding is longer than 48 KiB: an attachment carries it.
    TooLong,
    /// More than 64 parts.
    TooManyParts,
    /// A reaction that is not exactly one grapheme.
    NotOneGrapheme,
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scan(error) => error.fmt(f),
            Self::Field { field } => write!(f, "the field {field} is wrong"),
            Self::TooLong => write!(f, "the content is longer than {CONTENT_LEN_MAX} bytes"),
            Self::TooManyParts => write!(f, "the message has more than {PARTS_MAX} parts"),
            Self::NotOneGrapheme => f.write_str("a reaction is one character"),
        }
    }
}

impl std::error::Error for ContentError {}

impl From<ScanError> for ContentError {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

/// What a message does, as its fields say together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Intent<'a> {
    /// Says something new.
    Message,
    /// Says something else instead of an earlier message of its sender.
    Edit {
        /// The message.
        target: MessageId,
    },
    /// Takes an earlier message back.
    Delete {
        /// The message.
        target: MessageId,
    },
    /// Reacts to a message.
    Reaction {
        /// The message.
        target: MessageId,
        /// One grapheme.
        grapheme: &'a str,
    },
    /// Takes a reaction back.
    Unreact {
        /// The reaction.
        target: MessageId,
    },
}

impl Content {
    /// A message in plain text.
    ///
    /// # Errors
    /// [`ContentError::TooLong`]; [`ContentError::Field`] for a text that is empty or blank.
    pub fn text(text: &str, rng: &mut dyn CryptoRng) -> Result<Self, ContentError> {
        Self::written(TEXT_PLAIN, text, rng)
    }

    /// A message in Markdown.
    ///
    /// # Errors
    /// As [`Content::text`].
    pub fn markdown(text: &str, rng: &mut dyn CryptoRng) -> Result<Self, ContentError> {
        Self::written(TEXT_MARKDOWN, text, rng)
    }

    /// A reaction of one grapheme to a message.
    ///
    /// # Errors
    /// [`ContentError::NotOneGrapheme`].
    pub fn reaction(target: MessageId, grapheme: &str, rng: &mut dyn CryptoRng) -> Result<Self, ContentError> {
        if !is_one_grapheme(grapheme) {
            return Err(ContentError::NotOneGrapheme);
        }
        let part = Part::single(Disposition::REACTION, TEXT_PLAIN, grapheme.as_bytes().to_vec());
        Ok(Self { in_reply_to: Some(target), ..Self::of_part(part, rng) })
    }

    /// Takes `reaction` to `target` back.
    pub fn unreact(reaction: MessageId, target: MessageId, rng: &mut dyn CryptoRng) -> Self {
        let content = Self::of_part(Part::null(Disposition::REACTION), rng);
        Self { replaces: Some(reaction), in_reply_to: Some(target), ..content }
    }

    /// This message instead of `target`, which has the same sender.
    #[must_use]
    pub fn editing(self, target: MessageId) -> Self {
        Self { replaces: Some(target), ..self }
    }

    /// This message as an answer to `target`.
    #[must_use]
    pub fn replying_to(self, target: MessageId) -> Self {
        Self { in_reply_to: Some(target), ..self }
    }

    /// Takes `target` back.
    pub fn delete(target: MessageId, rng: &mut dyn CryptoRng) -> Self {
        Self { replaces: Some(target), ..Self::of_part(Part::null(Disposition::RENDER), rng) }
    }

    /// A message with one part and a fresh salt.
    pub fn of_part(part: Part, rng: &mut dyn CryptoRng) -> Self {
        Self {
            salt: Salt::random(rng),
            replaces: None,
            topic: TopicId::default(),
            expires: None,
            in_reply_to: None,
            extensions: Vec::new(),
            part,
        }
    }

    /// What the message does. A malformed reaction is a message: its text is shown, and nothing is counted.
    pub fn intent(&self) -> Intent<'_> {
        let is_reaction = self.part.disposition == Disposition::REACTION;
        match (self.replaces, &self.part.body, self.in_reply_to) {
            (Some(target), Body::Null, _) if is_reaction => Intent::Unreact { target },
            (Some(target), Body::Null, _) => Intent::Delete { target },
            (Some(target), _, _) => Intent::Edit { target },
            (None, _, Some(target)) if is_reaction => match self.part.text().filter(|text| is_one_grapheme(text)) {
                Some(grapheme) => Intent::Reaction { target, grapheme },
                None => Intent::Message,
            },
            (None, _, _) => Intent::Message,
        }
    }

    /// The text of the message, if it is one of plain or Markdown text.
    pub fn plain_text(&self) -> Option<&str> {
        self.part.text()
    }

    /// A text that can be read aloud or shown where the message itself cannot; never empty, and only from this message.
    pub fn accessible_text(&self) -> String {
        if let Some(text) = self.part.accessible_text() {
            return text;
        }
        let fallback = match self.intent() {
            Intent::Delete { .. } => "Message deleted",
            Intent::Unreact { .. } => "Reaction removed",
            _ if matches!(self.part.body, Body::Null) => "Empty message",
            _ => "Message that this version cannot show",
        };
        fallback.to_owned()
    }

    /// Encodes the message.
    ///
    /// # Errors
    /// Any [`ContentError`] that decoding would give: what a caller put together by hand is checked here.
    pub fn encode(&self) -> Result<Vec<u8>, ContentError> {
        let id = |id: Option<MessageId>| id.map_or(Value::Null, |MessageId(bytes)| Value::Bytes(bytes.to_vec()));
        let bytes = Value::Array(vec![
            Value::Bytes(self.salt.0.to_vec()),
            id(self.replaces),
            Value::Bytes(self.topic.0.clone()),
            self.expires.map_or(Value::Null, Expiry::to_value),
            id(self.in_reply_to),
            Value::Map(self.extensions.clone()),
            self.part.to_value(),
        ])
        .encode();
        if bytes.len() > CONTENT_LEN_MAX {
            return Err(ContentError::TooLong);
        }
        Self::decode(&bytes)?;
        Ok(bytes)
    }

    /// Decodes one message, which must fill `bytes`.
    ///
    /// # Errors
    /// [`ContentError`]; the bytes are kept, and the message is shown as one that cannot be read.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let value = Value::decode(bytes, CONTENT_DEPTH_MAX)?;
        let Value::Array(fields) = value else {
            return Err(field("content"));
        };
        let fields: [Value; 7] = fields.try_into().map_err(|_| field("content"))?;
        let [salt, replaces, topic, expires, in_reply_to, extensions, part] = fields;
        let salt = salt.as_bytes().and_then(|bytes| bytes.try_into().ok()).map(Salt).ok_or(field("salt"))?;
        let Value::Bytes(topic) = topic else {
            return Err(field("topic id"));
        };
        let Value::Map(extensions) = extensions else {
            return Err(field("extensions"));
        };
        if !extensions.iter().all(|(key, _)| is_extension_key(key)) {
            return Err(field("extensions"));
        }
        Ok(Self {
            salt,
            replaces: optional_id(&replaces, "replaces")?,
            topic: TopicId::new(topic)?,
            expires: Expiry::from_value(&expires)?,
            in_reply_to: optional_id(&in_reply_to, "in reply to")?,
            extensions,
            part: Part::from_value(part, &mut { PARTS_MAX })?,
        })
    }

    fn written(content_type: &str, text: &str, rng: &mut dyn CryptoRng) -> Result<Self, ContentError> {
        if text.trim().is_empty() {
            return Err(field("part"));
        }
        let part = Part::single(Disposition::RENDER, content_type, text.as_bytes().to_vec());
        let content = Self::of_part(part, rng);
        content.encode()?;
        Ok(content)
    }
}

impl Expiry {
    fn to_value(self) -> Value {
        let (is_relative, seconds) = match self {
            Self::AfterReading { seconds } => (true, seconds),
            Self::At { unix_s } => (false, unix_s),
        };
        Value::Array(vec![Value::Bool(is_relative), Value::Unsigned(seconds.into())])
    }

    fn from_value(value: &Value) -> Result<Option<Self>, ContentError> {
        match value {
            Value::Null => Ok(None),
            Value::Array(fields) => match fields.as_slice() {
                [Value::Bool(is_relative), Value::Unsigned(seconds)] => {
                    let seconds = u32::try_from(*seconds).map_err(|_| field("expires"))?;
                    let absolute = Self::At { unix_s: seconds };
                    Ok(Some(if *is_relative { Self::AfterReading { seconds } } else { absolute }))
                }
                _ => Err(field("expires")),
            },
            _ => Err(field("expires")),
        }
    }
}

fn optional_id(value: &Value, name: &'static str) -> Result<Option<MessageId>, ContentError> {
    match value {
        Value::Null => Ok(None),
        Value::Bytes(bytes) => {
            let bytes = bytes.as_slice().try_into().map_err(|_| field(name))?;
            Ok(Some(MessageId(bytes)))
        }
        _ => Err(field(name)),
    }
}

fn is_extension_key(key: &Value) -> bool {
    matches!(key, Value::Unsigned(_) | Value::Negative(_) | Value::Text(_))
}

/// Exactly one grapheme cluster (UAX #29, extended) that shows something, short enough to be an emoji sequence.
fn is_one_grapheme(text: &str) -> bool {
    text.len() <= GRAPHEME_LEN_MAX
        && text.graphemes(true).take(2).count() == 1
        && !text.chars().any(|char| char.is_control() || char.is_whitespace())
}

/// Bytes of a grapheme: the longest emoji sequences take 35; without a bound one grapheme could be a kilobyte of marks.
const GRAPHEME_LEN_MAX: usize = 64;

const fn field(field: &'static str) -> ContentError {
    ContentError::Field { field }
}
