//! The envelope and everything around it (spec/envelope): what a sender says, the frame in it, the parcel and the shell
//! that carry it through a log, ephemeral traffic, and inbox entries.
//!
//! ```text
//! log entry:   shell( padding( parcel( evidence, direct body | MLS message )))
//!                                                └ ratchet | MLS opens ┘
//!                                                 envelope( ids, receipts, frame( content )))
//! inbox entry: HPKE( padding( inbox entry( sender, first ratchet message | welcome note )))
//! ephemeral:   light shell( fixed size( device, counter, frame, signature? ))
//! ```
//!
//! Invariants: every struct here begins with its version and has exactly one encoding; a decoder knows its bound before
//! it reads; nothing here keeps state: trackers and receipts are values, and a step yields the next value.
//!
//! Leaves out the ratchet and MLS themselves (`dm`, `group`), what a frame says (`content`), and where anything is kept.

pub mod address;
pub(crate) mod codec;
mod conversation;
pub mod direct;
#[expect(clippy::module_inception, reason = "the layer is named after its one central noun")]
pub mod envelope;
pub mod ephemeral;
pub mod extension;
pub mod first_contact;
pub mod frame;
pub mod history;
pub mod inbox;
pub mod keys;
pub mod padding;
pub mod parcel;
pub mod receipts;
pub mod sequence;
pub mod shell;

pub use codec::DecodeError;
pub use conversation::ConversationId;
pub use direct::{
    Commitment, DevicePlace, DirectBody, DirectForm, DirectWrap, Fanout, ListName, NamedLists, Side, TurnBody,
};
pub use envelope::{DedupId, Envelope, SenderSeq};
pub use extension::{Extension, Extensions};
pub use frame::{Frame, FrameKind, IfUnknown};
pub use keys::{EphemeralKey, LogKeys, LogOrder, LogRoot, OuterKey};
pub use parcel::{EpochEvidence, Evidence, Parcel, ParcelKind};
pub use receipts::{Delivered, ReceiptState};
pub use sequence::{Observation, SenderTrack};
