//! `undertone inspect`: what bytes say, field by field, and what they hide and why.
//!
//! It knows what a relay knows, and no key. A bearer token is a secret even so: its place is shown, its value is not.

mod frames;
mod invitation;
mod walk;

use std::fmt;
use std::io::Read;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::{Value, json};
use undertone::identity::InvitationError;
use undertone_wire::frame::{ClientFrame, DecodeError, RelayFrame};
use undertone_wire::limits::{FRAME_LEN_MAX, PAYLOAD_LEN_MAX, SHELL_OVERHEAD_LEN};

use crate::args::Failure;
pub use walk::Field;

/// Explains bytes: a frame of the relay protocol in either direction, the payload of an entry, or an invitation. Shows the
/// name, the place and the size of each field, what is encrypted, and who could read it. Never shows secrets.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The bytes in hexadecimal (spaces and colons are ignored), an invitation, @FILE to read either from a file, or - to
    /// read it from standard input.
    #[arg(value_name = "HEX|@FILE|-")]
    input: String,
    /// What the bytes are, if it is not to be guessed.
    #[arg(long = "as", value_name = "KIND", value_enum)]
    kind: Option<Kind>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// What bytes can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
#[non_exhaustive]
pub enum Kind {
    /// A frame from a client to the relay.
    Client,
    /// A frame from the relay to a client.
    Relay,
    /// The payload of an entry: a parcel in its shell.
    Payload,
    /// An invitation.
    Invitation,
}

/// Bytes, explained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// What they are.
    pub kind: Kind,
    /// Their length, bytes.
    pub len: usize,
    /// What they do, in a sentence.
    pub summary: String,
    /// Their fields, in order; together they are all bytes.
    pub fields: Vec<Field>,
}

/// Why bytes cannot be explained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unexplained {
    /// There is nothing.
    Empty,
    /// A character is no hexadecimal digit, or a digit is missing.
    NotHex {
        /// Where the text stops to be hexadecimal, characters from 0.
        at: usize,
    },
    /// More than any frame holds.
    TooLong {
        /// How many bytes.
        len: usize,
    },
    /// No frame of that kind.
    NoFrame {
        /// Why not.
        reason: DecodeError,
    },
    /// No invitation.
    NoInvitation {
        /// Why not.
        reason: InvitationError,
    },
    /// No payload: shorter than a nonce and a tag, or longer than one can be.
    NoPayload {
        /// How many bytes.
        len: usize,
    },
    /// None of all these.
    Nothing,
}

impl fmt::Display for Unexplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there are no bytes to explain"),
            Self::NotHex { at } => write!(f, "character {at} does not belong to hexadecimal bytes"),
            Self::TooLong { len } => write!(f, "{len} bytes are more than any frame holds ({FRAME_LEN_MAX})"),
            Self::NoFrame { reason } => write!(f, "this is no such frame: {reason}"),
            Self::NoInvitation { reason } => write!(f, "this is no invitation: {reason}"),
            Self::NoPayload { len } => {
                write!(f, "{len} bytes are no payload: one has {} to {PAYLOAD_LEN_MAX}", SHELL_OVERHEAD_LEN + 1)
            }
            Self::Nothing => f.write_str(
                "this is neither a frame of the relay protocol, nor a payload, nor an invitation; \
                 --as KIND says why it is not that one",
            ),
        }
    }
}

impl std::error::Error for Unexplained {}

/// Reads, explains, prints.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let text = read(&arguments.input)?;
    let explained = explain(&text, arguments.kind);
    let explanation = explained.map_err(|error| Failure::Input { why: error.to_string() })?;
    if arguments.json {
        println!("{}", explanation.to_json());
    } else {
        print!("{explanation}");
    }
    Ok(())
}

fn read(input: &str) -> Result<String, Failure> {
    if input == "-" {
        let mut text = String::new();
        let mut stdin = std::io::stdin().lock().take(TEXT_LEN_MAX);
        stdin.read_to_string(&mut text).map_err(|error| Failure::File { path: "-".into(), error })?;
        return Ok(text);
    }
    match input.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|error| Failure::File { path: path.into(), error }),
        None => Ok(input.to_owned()),
    }
}

/// Explains an invitation, or bytes given in hexadecimal; what they are is guessed if it is not said.
///
/// # Errors
/// [`Unexplained`].
pub fn explain(text: &str, kind: Option<Kind>) -> Result<Explanation, Unexplained> {
    let text = text.trim();
    if text.to_ascii_lowercase().starts_with(invitation::BEGINNING) || kind == Some(Kind::Invitation) {
        return invitation::explain(text);
    }
    let bytes = bytes(text)?;
    match kind {
        Some(Kind::Client) => client(&bytes).map_err(|reason| Unexplained::NoFrame { reason }),
        Some(Kind::Relay) => relay(&bytes).map_err(|reason| Unexplained::NoFrame { reason }),
        Some(_) => payload(&bytes).ok_or(Unexplained::NoPayload { len: bytes.len() }),
        None => match (client(&bytes), relay(&bytes)) {
            (Ok(explanation), _) | (_, Ok(explanation)) => Ok(explanation),
            // A payload looks like chance, so that nearly anything could be one.
            _ => payload(&bytes).filter(|_| bytes.len() >= GUESSED_LEN_MIN).ok_or(Unexplained::Nothing),
        },
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, Unexplained> {
    let digits: Vec<(usize, u8)> = text
        .char_indices()
        .filter(|(_, character)| !character.is_whitespace() && *character != ':')
        .map(|(at, character)| (at, u8::try_from(character).unwrap_or(0)))
        .collect();
    let digits = match digits.as_slice() {
        [(_, b'0'), (_, b'x'), rest @ ..] => rest,
        all => all,
    };
    let plain: Vec<u8> = digits.iter().map(|(_, digit)| *digit).collect();
    let bytes = HEXLOWER_PERMISSIVE
        .decode(&plain)
        .map_err(|error| Unexplained::NotHex { at: digits.get(error.position).map_or(text.len(), |(at, _)| *at) })?;
    match bytes.len() {
        0 => Err(Unexplained::Empty),
        len if len > FRAME_LEN_MAX => Err(Unexplained::TooLong { len }),
        _ => Ok(bytes),
    }
}

fn client(bytes: &[u8]) -> Result<Explanation, DecodeError> {
    let frame = ClientFrame::decode(bytes)?;
    let (summary, fields) = frames::client(bytes, &frame).ok_or(DecodeError::Malformed)?;
    Ok(Explanation { kind: Kind::Client, len: bytes.len(), summary, fields })
}

fn relay(bytes: &[u8]) -> Result<Explanation, DecodeError> {
    let frame = RelayFrame::decode(bytes)?;
    let (summary, fields) = frames::relay(bytes, &frame).ok_or(DecodeError::Malformed)?;
    Ok(Explanation { kind: Kind::Relay, len: bytes.len(), summary, fields })
}

fn payload(bytes: &[u8]) -> Option<Explanation> {
    let summary =
        "looks like a parcel in its shell; whether it is one can only be told with the key of its log".to_owned();
    let fields = frames::payload(bytes)?;
    Some(Explanation { kind: Kind::Payload, len: bytes.len(), summary, fields })
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Client => "frame from a client to the relay",
            Self::Relay => "frame from the relay to a client",
            Self::Payload => "payload of an entry",
            Self::Invitation => "invitation",
        }
    }
}

impl Explanation {
    /// One JSON object.
    pub fn to_json(&self) -> Value {
        let field = |field: &Field| {
            json!({
                "at": field.at, "len": field.len, "depth": field.depth, "name": field.name, "value": field.value,
                "note": field.note,
            })
        };
        json!({
            "kind": self.kind.words(), "len": self.len, "summary": self.summary,
            "fields": self.fields.iter().map(field).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} bytes: {}", self.kind.words(), self.len, self.summary)?;
        writeln!(f, "\n{:>8}  {:>6}  field", "offset", "bytes")?;
        for Field { at, len, depth, name, value, note } in &self.fields {
            let indent = "  ".repeat(usize::from(*depth));
            let note = if note.is_empty() { String::new() } else { format!("   ({note})") };
            let line = format!("{at:>8}  {len:>6}  {indent}{name}  {value}{note}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Bytes of text that are read at most.
const TEXT_LEN_MAX: u64 = 8 << 20;
/// Bytes of the shortest thing that is guessed to be a payload: a shell around the smallest padded parcel is longer.
const GUESSED_LEN_MIN: usize = SHELL_OVERHEAD_LEN + 32;

#[cfg(test)]
mod tests;
