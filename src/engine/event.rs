//! What the client tells the app: events, which are rows and come once each, and signals, which are passing.
//!
//! An event is emitted when it is durable, again after every restart, and no more once `Client::events_done` has passed
//! it. A signal is emitted at once and never again.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;
use undertone_wire::id::{LogId, Seq};

use crate::content::{MessageId, TypingState};
use crate::conversation::{ConversationId, LocalId, Message};
use crate::dm::Trouble;
use crate::envelope::SenderSeq;
use crate::identity::linking::{LinkingCode, LinkingError, Offer};
use crate::identity::{AccountId, DeviceId};

/// Names an event: rising, without holes in one life of a store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EventId(u64);

impl EventId {
    pub(super) const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Something that happened, durably.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An account became known, or said what it is called.
    Contact {
        /// The account.
        account: AccountId,
        /// What it calls itself.
        name: String,
        /// The direct conversation with it.
        conversation: ConversationId,
    },
    /// A conversation can carry messages from now on: the peer's keys verified, or a group welcomed us.
    Ready {
        /// The conversation.
        conversation: ConversationId,
    },
    /// A message of somebody else, or of another device of ours.
    Message(Box<Message>),
    /// The relay has made a message of ours durable.
    Sent {
        /// The conversation.
        conversation: ConversationId,
        /// The message.
        message: MessageId,
        /// What `Client::send` returned for it.
        local: LocalId,
        /// Its place.
        place: Seq,
    },
    /// A device of somebody else has everything up to and including `through`, except what it reported missing.
    Delivered {
        /// The conversation.
        conversation: ConversationId,
        /// The device's account.
        by: AccountId,
        /// The last entry it has.
        through: Seq,
    },
    /// Somebody else has read a message of ours; or another device of ours one of somebody else, and all before it.
    Read {
        /// The conversation.
        conversation: ConversationId,
        /// The message.
        message: MessageId,
        /// Who read it: we ourselves, on another device.
        by: AccountId,
    },
    /// The membership or the name of a group changed.
    GroupChanged {
        /// The conversation.
        conversation: ConversationId,
        /// Who changed it.
        by: AccountId,
        /// Who joined.
        added: Vec<AccountId>,
        /// Who is gone.
        removed: Vec<AccountId>,
        /// The new name, if it changed.
        name: Option<String>,
    },
    /// We are no longer in a group.
    Removed {
        /// The conversation.
        conversation: ConversationId,
        /// Who ended it: ourselves, if we left.
        by: AccountId,
    },
    /// An entry cannot be read. It is kept for seven days.
    Undecryptable {
        /// The conversation.
        conversation: ConversationId,
        /// Its place.
        place: Seq,
        /// Why.
        reason: Reason,
    },
    /// A sender's sequence numbers jumped: envelopes are missing (row EN-01).
    Gap {
        /// The conversation.
        conversation: ConversationId,
        /// The sender.
        sender: DeviceId,
        /// The first number missing.
        from: SenderSeq,
        /// The last number missing.
        to: SenderSeq,
    },
    /// The relay, or a member together with it, shows us another log than others (row EN-13).
    Suspicion {
        /// The conversation.
        conversation: ConversationId,
        /// The place at which it showed.
        place: Seq,
        /// What showed.
        suspicion: Suspicion,
    },
    /// An account has a device more. If it is ours, it was linked here or on another device; what is new is sent to it.
    DeviceLinked {
        /// Whose.
        account: AccountId,
        /// The device.
        device: DeviceId,
    },
    /// An account has a device less. If it is this one, it was removed: it hears and sends nothing any more.
    DeviceRemoved {
        /// Whose.
        account: AccountId,
        /// The device.
        device: DeviceId,
    },
    /// What is to be sent to an account is held, and stays queued, because its keys are in doubt. If it is our own account,
    /// everything to direct conversations is.
    SendingHeld {
        /// The account.
        account: AccountId,
        /// Why, and so what helps.
        because: HeldBecause,
    },
    /// We and a device of somebody else, or another one of ours, do not understand each other any more. A new session is
    /// begun with it by itself; what could not be read till then is lost to who could not read it.
    Trouble {
        /// Whose.
        account: AccountId,
        /// The device.
        device: DeviceId,
        /// What is wrong.
        trouble: Trouble,
    },
    /// All of our history that another device of ours asked us for lies at the relay for it.
    HistorySent {
        /// The device that takes it.
        to: DeviceId,
        /// Messages given.
        count: u64,
    },
    /// The history that another device of ours gives us is all here, and what stands in the store is what was given.
    HistoryComplete {
        /// The device that gave it.
        from: DeviceId,
        /// Messages given, those that we had among them.
        count: u64,
    },
    /// A transfer of history has come to nothing. What has come of it stays. It can be begun again on the device that gives.
    HistoryFailed {
        /// The device at the other end.
        with: DeviceId,
        /// Why.
        because: HistoryFailure,
    },
    /// Something that the app asked for cannot be done.
    Failed {
        /// The conversation.
        conversation: ConversationId,
        /// Whom it concerns, if somebody.
        account: Option<AccountId>,
        /// Why.
        failure: Failure,
    },
}

/// Something passing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Signal {
    /// The relay has said who it is, and our rights are being proven.
    Online,
    /// Every log has been read to the end that the relay named when the connection began.
    CaughtUp,
    /// The connection is gone.
    Offline,
    /// The relay at this address is not the one that it was. Nothing is sent to it.
    RelayChanged,
    /// This device has no account yet, and shows this to be scanned by one that has (`Joining`).
    LinkOffer(Box<Offer>),
    /// An old device has taken the offer of this new one: nobody else can, and it is to be shown no more.
    LinkOfferTaken,
    /// A new device is being linked, and both show these digits: is it the same number there? Answer with
    /// `Client::confirm_link` or `Client::cancel_link`, on the new device with `Joining::confirm` or `Joining::cancel`.
    LinkCode(LinkingCode),
    /// A linking has come to nothing, and nothing of it is left.
    LinkEnded(LinkingError),
    /// A transfer of history has come further: there are new messages to be shown, if it is to us.
    HistoryProgress {
        /// The device at the other end.
        with: DeviceId,
        /// Messages that are through.
        done: u64,
        /// Messages that are to be.
        total: u64,
    },
    /// Somebody is typing, or has stopped. Holds for six seconds.
    Typing {
        /// The conversation.
        conversation: ConversationId,
        /// Who.
        account: AccountId,
        /// What they do.
        state: TypingState,
    },
}

/// Why an entry cannot be read. Each says what helps: see [`Reason::recovery`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[non_exhaustive]
pub enum Reason {
    /// The payload expired or was deleted at the relay before we read it.
    Expired = 1,
    /// The shell does not open: whoever sealed it had no key of this generation, or another log's.
    Shell = 2,
    /// The shell opened, and what is inside is malformed or of an unknown kind.
    Malformed = 3,
    /// The ratchet or MLS message does not authenticate.
    Authentication = 4,
    /// There is no session with the device that sent it.
    NoSession = 5,
    /// It was sealed for another MLS epoch than the one in force.
    WrongEpoch = 6,
    /// It was received before.
    Replayed = 7,
    /// It skips more messages than the bound allows.
    TooFarAhead = 8,
    /// The group's policy forbids it.
    Forbidden = 9,
    /// The sender's sequence number went back.
    Regression = 10,
    /// The entry turned the log, and nothing valid says why: the turn is void, the group's state stays.
    VoidTurn = 11,
    /// A commit that did not turn the log: it has no effect.
    CommitWithoutTurn = 12,
    /// It claims to have seen entries behind itself.
    Evidence = 13,
    /// It is for other devices: its sender had no keys of ours when it was sealed.
    NotAddressed = 14,
    /// It is addressed by other device lists than those of its generation, or brings lists that do not verify.
    Lists = 15,
}

impl Reason {
    /// Whether all devices find the same: nothing depends on what is sealed for one of them.
    pub(super) fn is_for_all(self) -> bool {
        matches!(
            self,
            Self::Shell | Self::Malformed | Self::VoidTurn | Self::CommitWithoutTurn | Self::Evidence | Self::Lists
        )
    }
}

/// What helps with an entry that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Recovery {
    /// Nothing is to be done: the entry has no effect, everything else goes on.
    Ignore,
    /// Ask the sender to send it again.
    AskSender,
    /// Compare the log with another member, out of band or over a direct conversation.
    CompareNotes,
    /// A session is begun anew by itself, in a direct conversation; ask the sender to send again what is missing.
    ResetSession,
}

impl Reason {
    /// What helps.
    pub fn recovery(self) -> Recovery {
        match self {
            Self::Expired | Self::TooFarAhead | Self::NotAddressed => Recovery::AskSender,
            Self::NoSession | Self::Authentication => Recovery::ResetSession,
            Self::Shell | Self::WrongEpoch | Self::VoidTurn | Self::Evidence | Self::Lists => Recovery::CompareNotes,
            Self::Malformed | Self::Replayed | Self::Forbidden | Self::Regression | Self::CommitWithoutTurn => {
                Recovery::Ignore
            }
        }
    }
}

/// What shows that somebody shows different things to different people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[non_exhaustive]
pub enum Suspicion {
    /// A member saw another head at a place that we both have: the log was forked.
    Fork = 1,
    /// A member saw entries that the relay does not show us: the log was rolled back, or entries are withheld.
    Rollback = 2,
    /// The relay left out entries of a subscription.
    Skipped = 3,
    /// Under the id of an entry of ours the relay keeps other bytes.
    Replaced = 4,
    /// A member is in another epoch at the same place.
    EpochFork = 5,
    /// An account has signed two device lists of one version: it, or whoever has its key, shows different devices to
    /// different people. Nothing is sent to it any more.
    DeviceListForked = 6,
}

/// Why what is to be sent to an account is held.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[non_exhaustive]
pub enum HeldBecause {
    /// The account has signed two device lists that cannot both be. Compare safety numbers, ask its owner, then
    /// `Client::accept_keys`.
    Forked = 1,
    /// Its newest device list expired more than 30 days ago. A newer one helps, when one of its devices has signed it.
    Expired = 2,
}

/// Why a transfer of history has come to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[non_exhaustive]
pub enum HistoryFailure {
    /// One of the two devices is no longer of our account.
    Removed = 1,
    /// The device that gives has ended it.
    Cancelled = 2,
    /// It took longer than 14 days, or the relay has deleted a part of it.
    Expired = 3,
    /// A part does not open or is none: the relay, or whoever has its disk, keeps something else in its place.
    Damaged = 4,
    /// What was given contradicts what we know, or what stands here at the end.
    Differs = 5,
    /// The relay refuses for good.
    Refused = 6,
}

/// Why something cannot be done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[non_exhaustive]
pub enum Failure {
    /// The relay has no keys of the account: it has never been there, or its keys have run out.
    NoKeys = 1,
    /// The keys that the relay gave do not verify: it, or somebody behind it, has put in others.
    BadKeys = 2,
    /// The policy of the group does not allow us.
    Forbidden = 3,
    /// The group has changed, so that the change asked for has no effect any more.
    Overtaken = 4,
    /// The relay refuses for good.
    Refused = 5,
    /// The group is too large for its Welcome to fit into an inbox.
    TooLarge = 6,
}

/// An event as it is stored: references, resolved when it is emitted.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(super) enum EventRow {
    #[tls_codec(discriminant = 1)]
    Contact { account: AccountId },
    #[tls_codec(discriminant = 2)]
    Ready { conversation: ConversationId },
    #[tls_codec(discriminant = 3)]
    Message { log: LogId, seq: Seq },
    #[tls_codec(discriminant = 4)]
    Sent { conversation: ConversationId, message: MessageId, local: u64, place: Seq },
    #[tls_codec(discriminant = 5)]
    Delivered { conversation: ConversationId, by: AccountId, through: Seq },
    #[tls_codec(discriminant = 6)]
    Read { conversation: ConversationId, message: MessageId, by: AccountId },
    #[tls_codec(discriminant = 7)]
    GroupChanged {
        conversation: ConversationId,
        by: AccountId,
        added: Vec<AccountId>,
        removed: Vec<AccountId>,
        name: Option<VLBytes>,
    },
    #[tls_codec(discriminant = 8)]
    Removed { conversation: ConversationId, by: AccountId },
    #[tls_codec(discriminant = 9)]
    Undecryptable { conversation: ConversationId, place: Seq, reason: Reason },
    #[tls_codec(discriminant = 10)]
    Gap { conversation: ConversationId, sender: DeviceId, from: SenderSeq, to: SenderSeq },
    #[tls_codec(discriminant = 11)]
    Suspicion { conversation: ConversationId, place: Seq, suspicion: Suspicion },
    #[tls_codec(discriminant = 12)]
    Failed { conversation: ConversationId, account: Option<AccountId>, failure: Failure },
    #[tls_codec(discriminant = 13)]
    DeviceLinked { account: AccountId, device: DeviceId },
    #[tls_codec(discriminant = 14)]
    DeviceRemoved { account: AccountId, device: DeviceId },
    #[tls_codec(discriminant = 15)]
    SendingHeld { account: AccountId, because: HeldBecause },
    #[tls_codec(discriminant = 16)]
    Trouble { account: AccountId, device: DeviceId, trouble: Trouble },
    #[tls_codec(discriminant = 17)]
    HistorySent { to: DeviceId, count: u64 },
    #[tls_codec(discriminant = 18)]
    HistoryComplete { from: DeviceId, count: u64 },
    #[tls_codec(discriminant = 19)]
    HistoryFailed { with: DeviceId, because: HistoryFailure },
}
