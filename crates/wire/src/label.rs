//! Domain separation: the labels of this crate, and the one way in which a label and its fields become bytes.

use sha2::{Digest, Sha256};

/// A domain separator, `undertone/v1/<purpose>` (spec/00-conventions, label table).
///
/// No label is a prefix of another, and every field behind a label carries its length, so that two different inputs
/// never have the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Label(&'static str);

impl Label {
    /// Makes a label from its full text; only label tables call this.
    pub const fn new(text: &'static str) -> Self {
        Self(text)
    }

    /// The full text, `undertone/v1/<purpose>`.
    pub const fn as_str(&self) -> &'static str {
        self.0
    }
}

/// Encodes `label` and `fields`, each as `opaque<V>` (RFC 9420 §2.1.2), one behind the other: the input of every
/// signature, hash, MAC and KDF (rule ENC-03).
pub fn transcript(label: Label, fields: &[&[u8]]) -> Vec<u8> {
    let bytes_len = fields.iter().map(|field| field.len() + 8).sum::<usize>() + label.0.len() + 8;
    let mut bytes = Vec::with_capacity(bytes_len);
    transcript_parts(label, fields, |part| bytes.extend_from_slice(part));
    bytes
}

/// Hands out the bytes of [`transcript`] in parts, in their order: for what takes its input so, and needs no copy of it.
pub fn transcript_parts(label: Label, fields: &[&[u8]], mut take: impl FnMut(&[u8])) {
    for field in std::iter::once(label.0.as_bytes()).chain(fields.iter().copied()) {
        take(length_prefix(field.len()).as_ref());
        take(field);
    }
}

/// SHA-256 over [`transcript`] (rule ENC-03). 32 bytes.
pub fn hash(label: Label, fields: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    transcript_parts(label, fields, |part| hash.update(part));
    hash.finalize().into()
}

/// A length in its shortest form (RFC 9420 §2.1.2): 1, 2 or 4 bytes.
///
/// # Panics
/// Panics from 2^30 bytes on, far above every bound of this crate.
pub(crate) fn length_prefix(len: usize) -> impl AsRef<[u8]> {
    enum Prefix {
        One([u8; 1]),
        Two([u8; 2]),
        Four([u8; 4]),
    }
    impl AsRef<[u8]> for Prefix {
        fn as_ref(&self) -> &[u8] {
            match self {
                Self::One(bytes) => bytes,
                Self::Two(bytes) => bytes,
                Self::Four(bytes) => bytes,
            }
        }
    }
    assert!(len < 1 << 30, "what is encoded is bounded far below 2^30 bytes");
    match len {
        0..0x40 => Prefix::One([len as u8]),
        0x40..0x4000 => Prefix::Two((len as u16 | 0x4000).to_be_bytes()),
        _ => Prefix::Four((len as u32 | 0x8000_0000).to_be_bytes()),
    }
}

/// Names the log of a control key.
pub const LOG_ID: Label = Label::new("undertone/v1/log id");
/// Names the inbox of a device.
pub const INBOX_ID: Label = Label::new("undertone/v1/inbox id");
/// Names the directory slot of a key.
pub const SLOT_ID: Label = Label::new("undertone/v1/slot id");
/// One entry, in the chain of a log.
pub const ENTRY_LEAF: Label = Label::new("undertone/v1/entry leaf");
/// The head of a log's chain.
pub const ENTRY_HEAD: Label = Label::new("undertone/v1/entry head");
/// The hash of a payload inside a leaf.
pub const PAYLOAD: Label = Label::new("undertone/v1/payload");
/// A proof that a connection holds a key of a gate.
pub const GATE_PROOF: Label = Label::new("undertone/v1/gate proof");
/// A signed publication in the directory.
pub const PUBLISH: Label = Label::new("undertone/v1/publish");
/// A signed order to open an inbox.
pub const INBOX_OPEN: Label = Label::new("undertone/v1/open inbox");
/// The hash under which a relay keeps an inbox token.
pub const INBOX_TOKEN: Label = Label::new("undertone/v1/inbox token");

/// Every label of this crate, for the test of the label table.
pub const ALL: &[Label] =
    &[LOG_ID, INBOX_ID, SLOT_ID, ENTRY_LEAF, ENTRY_HEAD, PAYLOAD, GATE_PROOF, PUBLISH, INBOX_OPEN, INBOX_TOKEN];
