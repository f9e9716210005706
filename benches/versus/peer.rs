//! vodozemac's Olm sessions: a double ratchet in memory, without header encryption and without a post-quantum key.

use vodozemac::olm::{Account, OlmMessage, PreKeyMessage, Session, SessionConfig};

pub(crate) const NAME: &str = "vodozemac 0.11";

/// Two sessions with each other, both with a chain of their own.
pub(crate) struct Pair {
    pub(crate) alice: Session,
    pub(crate) bob: Session,
}

/// Somebody who begins a session, and somebody with prekeys.
pub(crate) struct Strangers {
    alice: Account,
    bob: Account,
}

impl Strangers {
    pub(crate) fn new() -> Self {
        Self { alice: Account::new(), bob: Account::new() }
    }

    /// Bob's next one-time key, fetched; then what a session start is: the session and its first message.
    pub(crate) fn prepare(&mut self) -> impl Fn() -> (Session, PreKeyMessage) + '_ {
        self.bob.generate_one_time_keys(1);
        let one_time = self.bob.one_time_keys().into_values().next().unwrap();
        self.bob.mark_keys_as_published();
        move || {
            let identity = self.bob.curve25519_key();
            let mut session =
                self.alice.create_outbound_session(SessionConfig::version_1(), identity, one_time).unwrap();
            let OlmMessage::PreKey(first) = session.encrypt([1; 100]).unwrap() else { panic!("not a first message") };
            (session, first)
        }
    }

    /// What the first decrypt is: the session, and the text.
    pub(crate) fn accept(&mut self, first: &PreKeyMessage) -> Session {
        let config = SessionConfig::version_1();
        let created = self.bob.create_inbound_session(config, self.alice.curve25519_key(), first).unwrap();
        assert_eq!(created.plaintext, [1; 100]);
        created.session
    }
}

impl Pair {
    pub(crate) fn new() -> Self {
        let mut strangers = Strangers::new();
        let (alice, first) = strangers.prepare()();
        let bob = strangers.accept(&first);
        let mut pair = Self { alice, bob };
        pair.turn();
        pair
    }

    /// One message each way: both sides have a new chain.
    pub(crate) fn turn(&mut self) {
        let there = self.alice.encrypt([1; 100]).unwrap();
        self.bob.decrypt(&there).unwrap();
        let back = self.bob.encrypt([1; 100]).unwrap();
        self.alice.decrypt(&back).unwrap();
    }
}

/// Bytes of a message as it travels.
pub(crate) fn len(message: &OlmMessage) -> usize {
    message.to_parts().1.len()
}
