//! The label table of the library (spec/00-conventions). The relay's own labels stand in `undertone_wire::label`.

pub(crate) use undertone_wire::label::transcript_parts;
pub use undertone_wire::label::{Label, hash, transcript};

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident = $purpose:literal;)*) => {
        $($(#[$doc])* pub const $name: Label = Label::new(concat!("undertone/v1/", $purpose));)*

        /// Every label of the library, for the test of the label table.
        pub const ALL: &[Label] = &[$($name),*];
    };
}

labels! {
    /// Names an account by its certificate.
    ACCOUNT_ID = "account id";
    /// Names a device by its certificate.
    DEVICE_ID = "device id";
    /// The account's signature over its own certificate.
    ACCOUNT_CERTIFICATE = "account certificate";
    /// The account's signature over a device certificate.
    DEVICE_CERTIFICATE = "device certificate";
    /// The account's signature over a device list.
    DEVICE_LIST = "device list";
    /// The hash that the next device list names.
    DEVICE_LIST_HASH = "hash of device list";
    /// A new device's signature over the keys that it asks to have certified.
    DEVICE_REQUEST = "device request";
    /// The checksum of the offer of a new device.
    LINKING_OFFER = "linking offer";
    /// The transcript of a linking.
    LINKING_TRANSCRIPT = "linking transcript";
    /// The keys of a linking.
    LINKING_KEY = "linking key";
    /// What binds the old device to its nonce.
    LINKING_COMMITMENT = "linking commitment";
    /// The six digits of a linking.
    LINKING_CODE = "linking code";
    /// The device's signature over a prekey.
    PREKEY = "prekey";
    /// The checksum of an invitation.
    INVITATION = "invitation";
    /// The device's signature over the address of its inbox.
    INBOX_ADDRESS = "inbox address";
    /// The digits of a safety number.
    SAFETY_NUMBER = "safety number";
    /// The keys that a direct handshake yields.
    DIRECT_HANDSHAKE = "direct handshake";
    /// The transcript of a direct handshake.
    DIRECT_TRANSCRIPT = "direct transcript";
    /// The hash of an ephemeral key, remembered against replay.
    DIRECT_REPLAY = "direct replay";
    /// A step of the root chain.
    DIRECT_ROOT = "direct root";
    /// A step of a message chain.
    DIRECT_CHAIN = "direct chain";
    /// The key of one message.
    DIRECT_MESSAGE = "direct message";
    /// The key of an epoch of the post-quantum ratchet.
    DIRECT_PQ = "direct pq";
    /// The associated data of one direct message.
    DIRECT_AAD = "direct aad";
    /// The key of a payload that is sealed once for many devices, and the commitment to it.
    DIRECT_PAYLOAD = "direct payload";
    /// What the wraps of such a payload are bound to.
    DIRECT_WRAP = "direct wrap";
    /// The gate key of readers, from a log's generation secret.
    GATE_READ = "gate read key";
    /// The gate key of appenders, from a log's generation secret.
    GATE_APPEND = "gate append key";
    /// The key of the shell, from a log's generation secret.
    OUTER = "outer key";
    /// The key of ephemeral traffic, from a log's generation secret.
    EPHEMERAL = "ephemeral key";
    /// The root of a direct conversation's log, from the secret of its generation 0.
    LOG_ROOT = "log root";
    /// The control key of a direct conversation's log.
    CONTROL = "control key";
    /// The associated data of the shell.
    SHELL = "shell";
    /// The associated data of an ephemeral payload.
    EPHEMERAL_SHELL = "light shell";
    /// A device's signature over an ephemeral payload in a group.
    EPHEMERAL_SIGNATURE = "light signature";
    /// The sealing of an inbox entry to its device.
    INBOX_SEAL = "inbox seal";
    /// A sender's signature inside an inbox entry.
    INBOX_SENDER = "inbox sender";
    /// The control key of a transfer log.
    HISTORY_CONTROL = "history control";
    /// The id of an entry that carries a chunk of history.
    HISTORY_ENTRY = "history entry";
    /// The associated data of a chunk of history.
    HISTORY_CHUNK = "history chunk";
    /// What was given of a history.
    HISTORY_DIGEST = "history digest";
    /// The hash of an epoch authenticator, as evidence.
    EPOCH_EVIDENCE = "epoch evidence";
    /// The id of a direct conversation.
    CONVERSATION_ID = "conversation id";
    /// The id of a message, over its received bytes.
    MESSAGE_ID = "message id";
    /// The secret of a log's generation, from the exporter of an MLS epoch.
    GENERATION = "generation";
}

#[cfg(test)]
mod tests;
