//! Deterministic CBOR as a tree: what the [`scanner`] lets pass, and nothing else, so that a value has one
//! encoding and `decode`, then `encode`, gives the same bytes.
//!
//! A tree of our own, because general ones turn some values into others (bignum tags into integers) on the way.

use super::scanner::{self, Depth, FALSE, Head, Major, NULL, ScanError, TRUE};

/// One item.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Value {
    /// An unsigned integer.
    Unsigned(u64),
    /// A negative integer: −1 − the number.
    Negative(u64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text.
    Text(String),
    /// An array.
    Array(Vec<Value>),
    /// A map; encoding puts the keys in order.
    Map(Vec<(Value, Value)>),
    /// A tagged item; tags mean nothing here and are kept.
    Tag(u64, Box<Value>),
    /// `false` or `true`.
    Bool(bool),
    /// `null`.
    Null,
}

impl Value {
    /// Decodes one item that fills `bytes`.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn decode(bytes: &[u8], depth_max: Depth) -> Result<Self, ScanError> {
        scanner::scan(bytes, depth_max)?;
        read(bytes).map(|(value, _)| value)
    }

    /// Encodes the item: shortest heads, map keys in the order of their bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    /// The integer −1 − `number` or `number` of an `i64`.
    pub fn integer(number: i64) -> Self {
        match u64::try_from(number) {
            Ok(number) => Self::Unsigned(number),
            Err(_) => Self::Negative(number.unsigned_abs() - 1),
        }
    }

    /// The value of an integer key in a map.
    pub fn field(&self, key: i64) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        let key = Self::integer(key);
        pairs.iter().find(|(present, _)| *present == key).map(|(_, value)| value)
    }

    /// The number of an unsigned integer.
    pub fn as_unsigned(&self) -> Option<u64> {
        if let Self::Unsigned(number) = self { Some(*number) } else { None }
    }

    /// The bytes of a byte string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The text of a text.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Unsigned(number) => write_head(bytes, 0, *number),
            Self::Negative(number) => write_head(bytes, 1, *number),
            Self::Bytes(string) => {
                write_head(bytes, 2, string.len() as u64);
                bytes.extend_from_slice(string);
            }
            Self::Text(text) => {
                write_head(bytes, 3, text.len() as u64);
                bytes.extend_from_slice(text.as_bytes());
            }
            Self::Array(items) => {
                write_head(bytes, 4, items.len() as u64);
                items.iter().for_each(|item| item.write(bytes));
            }
            Self::Map(pairs) => {
                write_head(bytes, 5, pairs.len() as u64);
                let mut encoded: Vec<_> = pairs.iter().map(|(key, value)| (key.encode(), value)).collect();
                encoded.sort_by(|(before, _), (after, _)| before.cmp(after));
                for (key, value) in encoded {
                    bytes.extend_from_slice(&key);
                    value.write(bytes);
                }
            }
            Self::Tag(tag, item) => {
                write_head(bytes, 6, *tag);
                item.write(bytes);
            }
            Self::Bool(value) => bytes.push(SIMPLE | if *value { TRUE } else { FALSE }),
            Self::Null => bytes.push(SIMPLE | NULL),
        }
    }
}

const SIMPLE: u8 = 7 << 5;

fn write_head(bytes: &mut Vec<u8>, major: u8, number: u64) {
    let major = major << 5;
    match number {
        0..=23 => bytes.push(major | number as u8),
        24..=0xff => bytes.extend_from_slice(&[major | 24, number as u8]),
        0x100..=0xffff => {
            bytes.push(major | 25);
            bytes.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            bytes.push(major | 26);
            bytes.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            bytes.push(major | 27);
            bytes.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Builds an item from scanned bytes: depth and counts are known to be sound.
fn read(bytes: &[u8]) -> Result<(Value, &[u8]), ScanError> {
    let (Head { major, number }, rest) = scanner::head(bytes)?;
    Ok(match major {
        Major::Unsigned => (Value::Unsigned(number), rest),
        Major::Negative => (Value::Negative(number), rest),
        Major::Bytes => {
            let (string, rest) = scanner::string(rest, number)?;
            (Value::Bytes(string.to_vec()), rest)
        }
        Major::Text => {
            let (text, rest) = scanner::string(rest, number)?;
            let text = std::str::from_utf8(text).map_err(|_| ScanError::Utf8)?;
            (Value::Text(text.to_owned()), rest)
        }
        Major::Array => {
            let mut items = Vec::new();
            let mut left = rest;
            for _ in 0..number {
                let (value, behind) = read(left)?;
                items.push(value);
                left = behind;
            }
            (Value::Array(items), left)
        }
        Major::Map => {
            let mut pairs = Vec::new();
            let mut left = rest;
            for _ in 0..number {
                let (key, behind_key) = read(left)?;
                let (value, behind) = read(behind_key)?;
                pairs.push((key, value));
                left = behind;
            }
            (Value::Map(pairs), left)
        }
        Major::Tag => {
            let (item, rest) = read(rest)?;
            (Value::Tag(number, Box::new(item)), rest)
        }
        Major::Simple if number == u64::from(NULL) => (Value::Null, rest),
        Major::Simple => (Value::Bool(number == u64::from(TRUE)), rest),
    })
}
