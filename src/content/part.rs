//! The part of a message (draft-ietf-mimi-content, `NestedPart`): text, a reference, a choice or collection of parts, or
//! something that a later release knows.
//!
//! ```text
//! [disposition, language, 0]                                                   null: what is replaced is gone
//! [disposition, language, 1, content type, content]                            single
//! [disposition, language, 2, content type, url, expires, size, enc alg, key,
//!  nonce, aad, hash alg, hash, description, filename]                          external
//! [disposition, language, 3, semantics, [part, …]]                             multi
//! ```

use super::cbor::Value;
use super::message::ContentError;

/// Parts of one message, all levels together.
pub(super) const PARTS_MAX: usize = 64;

/// A part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// What it is for.
    pub disposition: Disposition,
    /// Its language (RFC 5646), empty if not said.
    pub language: String,
    /// What it holds.
    pub body: Body,
}

/// What a part is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Disposition(u64);

impl Disposition {
    /// Not said.
    pub const UNSPECIFIED: Self = Self(0);
    /// To be shown as a message.
    pub const RENDER: Self = Self(1);
    /// A reaction to the message that is replied to.
    pub const REACTION: Self = Self(2);
    /// To be shown on a profile.
    pub const PROFILE: Self = Self(3);
    /// Shown where another part refers to it.
    pub const INLINE: Self = Self(4);
    /// An icon.
    pub const ICON: Self = Self(5);
    /// To be opened or saved.
    pub const ATTACHMENT: Self = Self(6);
    /// To be joined.
    pub const SESSION: Self = Self(7);
    /// A preview.
    pub const PREVIEW: Self = Self(8);

    /// Takes the number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// What a part holds.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Body {
    /// Nothing: what the message replaces is gone.
    Null,
    /// Content of one type.
    Single {
        /// Its media type.
        content_type: String,
        /// Its bytes.
        content: Vec<u8>,
    },
    /// Content that is elsewhere.
    External(External),
    /// Several parts.
    Multi {
        /// How they belong together.
        semantics: Semantics,
        /// The parts.
        parts: Vec<Part>,
    },
    /// A cardinality that this release does not know, with its fields: kept as it came.
    Unknown {
        /// The cardinality.
        cardinality: u64,
        /// What follows it.
        fields: Vec<Value>,
    },
}

/// How the parts of a [`Body::Multi`] belong together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Semantics(u64);

impl Semantics {
    /// One of them: the receiver takes the one that it can show best.
    pub const CHOOSE_ONE: Self = Self(0);
    /// All as one unit.
    pub const SINGLE_UNIT: Self = Self(1);
    /// All, one behind the other.
    pub const PROCESS_ALL: Self = Self(2);

    /// Takes the number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

/// Content that is elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct External {
    /// Its media type.
    pub content_type: String,
    /// Where it is.
    pub url: String,
    /// Seconds since 1970-01-01T00:00Z until which it is there, 0 if not said.
    pub expires_s: u64,
    /// Its size in bytes, 0 if not said.
    pub size: u64,
    /// How it is encrypted (an AEAD number of RFC 5116), 0 if it is not.
    pub encryption: u64,
    /// The key.
    pub key: Vec<u8>,
    /// The nonce.
    pub nonce: Vec<u8>,
    /// The associated data.
    pub aad: Vec<u8>,
    /// How it is hashed (a number of the Named Information registry), 0 if it is not.
    pub hashing: u64,
    /// The hash of what is at the url.
    pub hash: Vec<u8>,
    /// What it is, to be read aloud.
    pub description: String,
    /// What the file is called.
    pub filename: String,
}

impl Part {
    /// A part with content of one type, to be shown.
    pub fn single(disposition: Disposition, content_type: &str, content: Vec<u8>) -> Self {
        let body = Body::Single { content_type: content_type.to_owned(), content };
        Self { disposition, language: String::new(), body }
    }

    /// A part that says: gone.
    pub fn null(disposition: Disposition) -> Self {
        Self { disposition, language: String::new(), body: Body::Null }
    }

    /// The text of the part if it is one of plain or Markdown text, in UTF-8.
    pub fn text(&self) -> Option<&str> {
        let Body::Single { content_type, content } = &self.body else {
            return None;
        };
        let is_text = matches!(essence(content_type), "text/plain" | "text/markdown");
        if is_text { std::str::from_utf8(content).ok() } else { None }
    }

    /// A text that stands for the part where it cannot be shown or must be read aloud, if the part says anything.
    pub(super) fn accessible_text(&self) -> Option<String> {
        let text = match &self.body {
            Body::Single { content_type, content } if essence(content_type) == "text/html" => {
                without_markup(std::str::from_utf8(content).ok()?)
            }
            Body::Single { .. } => self.text()?.to_owned(),
            Body::External(External { description, filename, content_type, .. }) => {
                let said = [description, filename, content_type].into_iter().find(|text| !text.trim().is_empty());
                said?.clone()
            }
            Body::Multi { semantics: Semantics::CHOOSE_ONE, parts } => {
                let plain = parts.iter().find(|part| part.text().is_some_and(|text| !text.trim().is_empty()));
                plain.into_iter().chain(parts).find_map(Self::accessible_text)?
            }
            Body::Multi { parts, .. } => {
                let texts: Vec<String> = parts.iter().filter_map(Self::accessible_text).collect();
                texts.join("\n")
            }
            Body::Null | Body::Unknown { .. } => return None,
        };
        (!text.trim().is_empty()).then_some(text)
    }

    pub(super) fn to_value(&self) -> Value {
        let mut fields = vec![Value::Unsigned(self.disposition.0), Value::Text(self.language.clone())];
        match &self.body {
            Body::Null => fields.push(Value::Unsigned(NULL)),
            Body::Single { content_type, content } => {
                let content = Value::Bytes(content.clone());
                fields.extend([Value::Unsigned(SINGLE), Value::Text(content_type.clone()), content]);
            }
            Body::External(external) => {
                fields.push(Value::Unsigned(EXTERNAL));
                fields.extend(external.to_values());
            }
            Body::Multi { semantics, parts } => {
                let parts = Value::Array(parts.iter().map(Self::to_value).collect());
                fields.extend([Value::Unsigned(MULTI), Value::Unsigned(semantics.0), parts]);
            }
            Body::Unknown { cardinality, fields: rest } => {
                fields.push(Value::Unsigned(*cardinality));
                fields.extend_from_slice(rest);
            }
        }
        Value::Array(fields)
    }

    /// Reads a part; `parts_left` counts all parts of the message down. The scanner has bounded their depth.
    pub(super) fn from_value(value: Value, parts_left: &mut usize) -> Result<Self, ContentError> {
        *parts_left = parts_left.checked_sub(1).ok_or(ContentError::TooManyParts)?;
        let Value::Array(fields) = value else {
            return Err(PART);
        };
        let mut fields = fields.into_iter();
        let mut next = || fields.next().ok_or(PART);
        let (disposition, language, cardinality) = (next()?, next()?, next()?);
        let disposition = Disposition(disposition.as_unsigned().ok_or(PART)?);
        let Value::Text(language) = language else {
            return Err(PART);
        };
        let rest: Vec<Value> = fields.collect();
        let body = match cardinality.as_unsigned().ok_or(PART)? {
            NULL => {
                let [] = exactly(rest)?;
                Body::Null
            }
            SINGLE => {
                let [Value::Text(content_type), Value::Bytes(content)] = exactly(rest)? else {
                    return Err(PART);
                };
                Body::Single { content_type, content }
            }
            EXTERNAL => Body::External(External::from_values(rest)?),
            MULTI => {
                let [Value::Unsigned(semantics), Value::Array(parts)] = exactly(rest)? else {
                    return Err(PART);
                };
                let parts = parts.into_iter().map(|part| Self::from_value(part, parts_left));
                Body::Multi { semantics: Semantics(semantics), parts: parts.collect::<Result<_, _>>()? }
            }
            cardinality => Body::Unknown { cardinality, fields: rest },
        };
        Ok(Self { disposition, language, body })
    }
}

impl External {
    fn to_values(&self) -> [Value; 12] {
        [
            Value::Text(self.content_type.clone()),
            Value::Text(self.url.clone()),
            Value::Unsigned(self.expires_s),
            Value::Unsigned(self.size),
            Value::Unsigned(self.encryption),
            Value::Bytes(self.key.clone()),
            Value::Bytes(self.nonce.clone()),
            Value::Bytes(self.aad.clone()),
            Value::Unsigned(self.hashing),
            Value::Bytes(self.hash.clone()),
            Value::Text(self.description.clone()),
            Value::Text(self.filename.clone()),
        ]
    }

    fn from_values(values: Vec<Value>) -> Result<Self, ContentError> {
        let [
            Value::Text(content_type),
            Value::Text(url),
            Value::Unsigned(expires_s),
            Value::Unsigned(size),
            Value::Unsigned(encryption),
            Value::Bytes(key),
            Value::Bytes(nonce),
            Value::Bytes(aad),
            Value::Unsigned(hashing),
            Value::Bytes(hash),
            Value::Text(description),
            Value::Text(filename),
        ] = exactly(values)?
        else {
            return Err(PART);
        };
        Ok(Self {
            content_type,
            url,
            expires_s,
            size,
            encryption,
            key,
            nonce,
            aad,
            hashing,
            hash,
            description,
            filename,
        })
    }
}

const NULL: u64 = 0;
const SINGLE: u64 = 1;
const EXTERNAL: u64 = 2;
const MULTI: u64 = 3;
const PART: ContentError = ContentError::Field { field: "part" };

fn exactly<const N: usize>(values: Vec<Value>) -> Result<[Value; N], ContentError> {
    values.try_into().map_err(|_| PART)
}

/// A media type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// The text between the tags of HTML, for reading aloud only.
fn without_markup(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut is_tag = false;
    for char in html.chars() {
        match char {
            '<' => is_tag = true,
            '>' if is_tag => is_tag = false,
            _ if !is_tag => text.push(char),
            _ => {}
        }
    }
    text.trim().to_owned()
}
