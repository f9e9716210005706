//! Everything that `undertone chat` says, with names in place of ids: the one thing that `print` and `json` both show.

use undertone::content::{ContentError, Intent};
use undertone::conversation::{ConversationId, ConversationKind, ConversationState, Message, MessageStatus};
use undertone::dm::SessionInfo;
use undertone::engine::{Failure, HeldBecause, HistoryFailure, Reason, Recovery, Signal, Suspicion};
use undertone::identity::linking::{Abort, LinkingError, OfferError};
use undertone::identity::{AccountId, Capability, Device, DeviceId, InvitationError, SafetyNumber, Verification};
use undertone::{Error, ErrorKind};

/// One thing said.
pub(crate) enum Saying {
    /// The client is there; the first thing said.
    Hello { name: String, account: AccountId, device: DeviceId, relay: String, is_new: bool },
    /// A command was carried out.
    Reply { command: &'static str, reply: Reply },
    /// A command was not carried out, or the client cannot go on.
    Trouble { command: Option<&'static str>, fault: Fault },
    /// Something happened, durably; said again after a crash, with the same number.
    Event { number: u64, happened: Happened },
    /// Something passing.
    Passing(Passing),
    /// The last thing said.
    Bye { unsent_count: usize },
}

/// What a command brought.
pub(crate) enum Reply {
    Done,
    /// It is in the outbox, since this time; `local` names it until it has a place.
    Queued {
        local: u64,
        at_us: u64,
        to: Named,
    },
    Me {
        name: String,
        account: AccountId,
        device: DeviceId,
    },
    Invitation(String),
    Safety {
        who: String,
        number: SafetyNumber,
        verification: Verification,
    },
    Conversations(Vec<Listed>),
    /// The current conversation is now this one.
    Current(Named),
    History {
        of: Named,
        messages: Vec<Line>,
    },
    Devices(Vec<DeviceLine>),
    Help,
}

/// A device, as it is shown.
pub(crate) struct DeviceLine {
    pub(crate) id: String,
    pub(crate) is_this: bool,
    pub(crate) is_primary: bool,
    /// What we send it is sealed so.
    pub(crate) session: Option<SessionInfo>,
}

impl DeviceLine {
    /// A device, seen from the device `own`.
    pub(crate) fn new(device: &Device, own: &DeviceId, session: Option<SessionInfo>) -> Self {
        let (id, is_primary) = (device.id().to_string(), device.can(Capability::PRIMARY));
        Self { id, is_this: device.id() == *own, is_primary, session }
    }
}

/// A conversation, as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    pub(crate) id: ConversationId,
    pub(crate) name: String,
    pub(crate) is_group: bool,
}

/// A conversation in a list.
pub(crate) struct Listed {
    pub(crate) named: Named,
    pub(crate) state: ConversationState,
    pub(crate) members: Vec<String>,
    pub(crate) unsent_count: usize,
    pub(crate) is_current: bool,
}

/// A message, as it is shown.
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) place: Option<u64>,
    pub(crate) sender: String,
    pub(crate) is_ours: bool,
    pub(crate) sent_ms: u64,
    pub(crate) says: Says,
    pub(crate) status: MessageStatus,
}

/// What a message says.
pub(crate) enum Says {
    Text(String),
    Reaction {
        grapheme: String,
        to: String,
    },
    /// An edit, a deletion or something that this program does not know, in words.
    Other(String),
}

/// What happened.
pub(crate) enum Happened {
    Contact {
        name: String,
        conversation: Named,
    },
    Ready {
        conversation: Named,
    },
    Message {
        conversation: Named,
        line: Line,
    },
    Sent {
        conversation: Named,
        message: String,
        local: u64,
        place: u64,
    },
    Delivered {
        conversation: Named,
        by: String,
        through: u64,
    },
    Read {
        conversation: Named,
        by: String,
        message: String,
    },
    GroupChanged {
        conversation: Named,
        by: String,
        added: Vec<String>,
        removed: Vec<String>,
        name: Option<String>,
    },
    Removed {
        conversation: Named,
        by: String,
        is_own_will: bool,
    },
    Undecryptable {
        conversation: Named,
        place: u64,
        reason: Reason,
    },
    Gap {
        conversation: Named,
        count: u64,
    },
    Suspicion {
        conversation: Named,
        place: u64,
        suspicion: Suspicion,
    },
    Failed {
        conversation: Named,
        who: Option<String>,
        failure: Failure,
    },
    /// An account has a device more, or less; it is our own if it has no name.
    Devices {
        of: Option<String>,
        device: String,
        is_added: bool,
    },
    /// What is sent to an account is held; it is our own if it has no name.
    Held {
        of: Option<String>,
        because: HeldBecause,
    },
    /// All of our history lies at the relay for a device of ours.
    HistorySent {
        device: String,
        count: u64,
    },
    /// The history of a device of ours is all here.
    HistoryComplete {
        device: String,
        count: u64,
    },
    /// A transfer of history has come to nothing.
    HistoryFailed {
        device: String,
        because: HistoryFailure,
    },
    /// Something that this program does not know.
    Other,
}

/// Something passing.
pub(crate) enum Passing {
    Online,
    CaughtUp,
    Offline,
    RelayChanged,
    Typing { conversation: Named, who: String, is_typing: bool },
    LinkOffer { offer: String, expires_ms: u64 },
    LinkCode(String),
    LinkEnded(LinkingError),
    HistoryProgress { device: String, done: u64, total: u64 },
}

impl Passing {
    /// What a linking has to say, if that is what it is.
    pub(crate) fn of_linking(signal: Signal) -> Option<Self> {
        Some(match signal {
            Signal::LinkOffer(offer) => {
                Self::LinkOffer { offer: offer.to_string(), expires_ms: offer.expires().as_u64() }
            }
            Signal::LinkCode(code) => Self::LinkCode(code.to_string()),
            Signal::LinkEnded(error) => Self::LinkEnded(error),
            _ => return None,
        })
    }
}

/// Why something was not done: a stable number, who is at fault, and what helps.
pub(crate) struct Fault {
    pub(crate) code: u16,
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    pub(crate) help: &'static str,
}

impl Fault {
    /// A line that was not understood.
    pub(crate) fn usage(text: String) -> Self {
        Self { code: 1, kind: "misuse", text, help: "/help lists the commands" }
    }

    /// There is no current conversation.
    pub(crate) fn nowhere() -> Self {
        let text = "there is no current conversation".to_owned();
        Self { code: 2, kind: "misuse", text, help: "/add an invitation, or choose one of /list with /to" }
    }

    /// A name that nobody here has, or more than one.
    pub(crate) fn unknown_name(name: &str, is_ambiguous: bool) -> Self {
        let what = if is_ambiguous { "more than one is called" } else { "there is nobody and nothing called" };
        let help = "/list shows names, and ids to use instead of them, with # in front";
        Self { code: if is_ambiguous { 4 } else { 3 }, kind: "misuse", text: format!("{what} {name}"), help }
    }

    /// There is no message with this number.
    pub(crate) fn no_message(place: u64) -> Self {
        let text = format!("there is no message {place} in the current conversation");
        Self { code: 5, kind: "misuse", text, help: "/history shows the numbers" }
    }

    /// This device has no account yet.
    pub(crate) fn no_account() -> Self {
        let text = "this device has no account yet".to_owned();
        Self {
            code: 9,
            kind: "misuse",
            text,
            help: "/link the code on the device that has, then /confirm-link on both",
        }
    }

    /// The client has stopped.
    pub(crate) fn stopped() -> Self {
        let text = "the client has stopped".to_owned();
        Self { code: 6, kind: "storage", text, help: "start it again" }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Misuse => "misuse",
            ErrorKind::Peer => "peer",
            ErrorKind::Storage => "storage",
            ErrorKind::Incompatible => "incompatible",
            _ => "other",
        };
        Self { code: error.code(), kind, text: error.to_string(), help: error.recovery() }
    }
}

impl From<ContentError> for Fault {
    fn from(error: ContentError) -> Self {
        Self { code: 7, kind: "misuse", text: error.to_string(), help: "nothing was sent" }
    }
}

impl From<InvitationError> for Fault {
    fn from(error: InvitationError) -> Self {
        Self { code: 8, kind: "misuse", text: error.to_string(), help: "copy the whole line that /invite prints" }
    }
}

impl From<OfferError> for Fault {
    fn from(error: OfferError) -> Self {
        Self { code: 10, kind: "misuse", text: error.to_string(), help: "copy the whole line that chat --link prints" }
    }
}

impl Line {
    /// A message by the name of its sender.
    pub(crate) fn new(message: &Message, sender: String, own: AccountId) -> Self {
        let content = &message.content;
        let says = match (content.intent(), content.plain_text()) {
            (Intent::Message, Some(text)) => Says::Text(text.to_owned()),
            (Intent::Reaction { target, grapheme }, _) => {
                Says::Reaction { grapheme: grapheme.to_owned(), to: target.to_string() }
            }
            _ => Says::Other(content.accessible_text()),
        };
        Self {
            id: message.id.to_string(),
            place: message.place.map(|place| place.as_u64()),
            sender,
            is_ours: message.account == own,
            sent_ms: message.sent.as_u64(),
            says,
            status: message.status,
        }
    }
}

/// Whether a conversation is a group.
pub(crate) fn is_group(kind: ConversationKind) -> bool {
    matches!(kind, ConversationKind::Group)
}

/// A state in one word.
pub(crate) fn state(state: ConversationState) -> &'static str {
    match state {
        ConversationState::Opening => "opening",
        ConversationState::Active => "active",
        ConversationState::Left => "left",
        ConversationState::Removed => "removed",
        ConversationState::Failed => "failed",
        ConversationState::Past => "past",
        _ => "other",
    }
}

/// A status in one word.
pub(crate) fn status(status: MessageStatus) -> &'static str {
    match status {
        MessageStatus::Pending => "pending",
        MessageStatus::Sent => "sent",
        MessageStatus::Delivered => "delivered",
        MessageStatus::Read => "read",
        _ => "other",
    }
}

/// Why an entry cannot be read, in a word for programs and in words for people.
pub(crate) fn reason(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::Expired => ("expired", "it was deleted at the relay before you came"),
        Reason::Shell => ("shell", "whoever sent it did not have the present key of this conversation"),
        Reason::Malformed => ("malformed", "it is damaged, or of a kind that this version does not know"),
        Reason::Authentication => ("authentication", "it is not what its sender wrote, or from somebody else"),
        Reason::NoSession => ("no_session", "there is no session with the device that sent it"),
        Reason::WrongEpoch => ("wrong_epoch", "it was encrypted for another state of the group"),
        Reason::Replayed => ("replayed", "it was received before"),
        Reason::TooFarAhead => ("too_far_ahead", "too many messages before it are missing"),
        Reason::Forbidden => ("forbidden", "the rules of the group forbid it"),
        Reason::Regression => ("regression", "its sender counts backwards: a restored copy of a device?"),
        Reason::VoidTurn => ("void_turn", "it pretends to change the group, and does not"),
        Reason::CommitWithoutTurn => ("commit_without_turn", "it changes the group in a way that has no effect"),
        Reason::Evidence => ("evidence", "it claims to have seen what comes after it"),
        _ => ("other", "this version does not know why"),
    }
}

/// What helps with an entry that cannot be read, likewise.
pub(crate) fn recovery(recovery: Recovery) -> (&'static str, &'static str) {
    match recovery {
        Recovery::Ignore => ("ignore", "nothing is to be done"),
        Recovery::AskSender => ("ask_sender", "ask the sender to send it again"),
        Recovery::CompareNotes => ("compare_notes", "ask another member what they see"),
        Recovery::ResetSession => ("reset_session", "a new session begins by itself; ask the sender to send it again"),
        _ => ("other", "a newer version may know"),
    }
}

/// What is suspected, likewise.
pub(crate) fn suspicion(suspicion: Suspicion) -> (&'static str, &'static str) {
    match suspicion {
        Suspicion::Fork => ("fork", "the relay shows you another conversation than others"),
        Suspicion::Rollback => ("rollback", "the relay hides messages that others have seen"),
        Suspicion::Skipped => ("skipped", "the relay left messages out"),
        Suspicion::Replaced => ("replaced", "the relay keeps something else in place of a message of yours"),
        Suspicion::EpochFork => ("epoch_fork", "a member is in another state of the group"),
        _ => ("other", "something that this version does not know"),
    }
}

/// Why something cannot be done, likewise.
pub(crate) fn failure(failure: Failure) -> (&'static str, &'static str) {
    match failure {
        Failure::NoKeys => ("no_keys", "the relay has no keys of this account"),
        Failure::BadKeys => ("bad_keys", "the keys that the relay gave are not those of the invitation"),
        Failure::Forbidden => ("forbidden", "the rules of the group forbid it"),
        Failure::Overtaken => ("overtaken", "the group has changed meanwhile"),
        Failure::Refused => ("refused", "the relay refuses"),
        Failure::TooLarge => ("too_large", "the group is too large for its welcome to fit into an inbox"),
        _ => ("other", "this version does not know why"),
    }
}

/// Why a transfer of history has come to nothing, likewise.
pub(crate) fn history_failure(because: HistoryFailure) -> (&'static str, &'static str) {
    match because {
        HistoryFailure::Removed => ("removed", "one of the two devices is no longer yours"),
        HistoryFailure::Cancelled => ("cancelled", "the other device has stopped giving it"),
        HistoryFailure::Expired => ("expired", "it took too long"),
        HistoryFailure::Damaged => ("damaged", "the relay keeps something else in place of a part of it"),
        HistoryFailure::Differs => ("differs", "what came does not fit what is here"),
        HistoryFailure::Refused => ("refused", "the relay refuses"),
        _ => ("other", "this version does not know why"),
    }
}

/// Why a linking ended, likewise.
pub(crate) fn linking(error: LinkingError) -> (&'static str, String) {
    let word = match error {
        LinkingError::Expired => "expired",
        LinkingError::AnotherRelay => "another_relay",
        LinkingError::Commitment => "commitment",
        LinkingError::Malformed => "malformed",
        LinkingError::Refused => "refused",
        LinkingError::Identity(_) => "identity",
        LinkingError::Aborted(Abort::Declined) => "declined",
        LinkingError::Aborted(_) => "failed",
        _ => "other",
    };
    (word, error.to_string())
}

/// Whether a person has made sure of an account, likewise.
pub(crate) fn verification(verification: Verification) -> (&'static str, &'static str) {
    match verification {
        Verification::Unverified => ("unverified", "you have not compared it yet; /verify says that you have"),
        Verification::Verified => ("verified", "you have compared it, and it is the same"),
        Verification::Changed => ("changed", "you have compared another number: a key has changed since"),
    }
}

/// Why what is sent is held, likewise.
pub(crate) fn held(because: HeldBecause) -> (&'static str, &'static str) {
    match because {
        HeldBecause::Forked => {
            ("forked", "different devices are shown to different people; compare safety numbers and ask, then /accept")
        }
        HeldBecause::Expired => ("expired", "the list of devices is too old; it goes out when there is a newer one"),
        _ => ("other", "this version does not know why"),
    }
}
