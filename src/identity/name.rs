//! Names that people give themselves: short, visible, and unable to rearrange what stands around them.

use std::fmt;

/// A display name: 1 to 64 bytes of UTF-8 without control, direction or invisible characters (rule ID-50).
///
/// It says what a person wants to be called and proves nothing; [`AccountId`](super::AccountId) names an account.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DisplayName(String);

/// Bytes of the longest display name.
pub const NAME_LEN_MAX: usize = 64;

/// Why a name cannot be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing, or nothing but spaces.
    Blank,
    /// More than [`NAME_LEN_MAX`] bytes.
    TooLong {
        /// Its length, bytes.
        len: usize,
    },
    /// Not UTF-8.
    NotUtf8,
    /// Spaces at the beginning or end.
    OuterSpace,
    /// A control character, NUL or a line break included.
    Control,
    /// A character that turns the direction of text.
    Direction,
    /// A character that takes no room, so that two names would look the same.
    Invisible,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("the name is empty"),
            Self::TooLong { len } => write!(f, "a name of {len} bytes is longer than {NAME_LEN_MAX}"),
            Self::NotUtf8 => f.write_str("the name is not UTF-8"),
            Self::OuterSpace => f.write_str("the name begins or ends with a space"),
            Self::Control => f.write_str("the name holds a control character"),
            Self::Direction => f.write_str("the name holds a character that turns the direction of text"),
            Self::Invisible => f.write_str("the name holds an invisible character"),
        }
    }
}

impl std::error::Error for NameError {}

impl DisplayName {
    /// Takes a name as a person typed it.
    ///
    /// # Errors
    /// [`NameError`]; the app says which character to leave out.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.trim().is_empty() {
            return Err(NameError::Blank);
        }
        if name.len() > NAME_LEN_MAX {
            return Err(NameError::TooLong { len: name.len() });
        }
        name.chars().try_for_each(check)?;
        if name.trim().len() != name.len() {
            return Err(NameError::OuterSpace);
        }
        Ok(Self(name.to_owned()))
    }

    /// Takes a name as it was received.
    ///
    /// # Errors
    /// [`NameError`]; the structure that held it is refused.
    pub fn from_utf8(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.len() > NAME_LEN_MAX {
            return Err(NameError::TooLong { len: bytes.len() });
        }
        std::str::from_utf8(bytes).map_err(|_| NameError::NotUtf8).and_then(Self::new)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for DisplayName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(_) = self;
        f.write_str("DisplayName(…)")
    }
}

/// Whether a character may stand in a name. The zero-width joiner is refused too: what it joins in one script it hides
/// in another. Variation selector 16 (emoji style) is the one invisible character that is allowed.
fn check(character: char) -> Result<(), NameError> {
    match character {
        '\u{2028}' | '\u{2029}' => Err(NameError::Control),
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            Err(NameError::Direction)
        }
        '\u{00ad}'
        | '\u{034f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0e}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => Err(NameError::Invisible),
        control if control.is_control() => Err(NameError::Control),
        _ => Ok(()),
    }
}
