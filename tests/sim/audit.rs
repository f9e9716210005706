//! What must hold at the end of every story: nothing is told twice, and no payload or nonce stands for two things.

use std::collections::{BTreeMap, BTreeSet};

use undertone::content::MessageId;
use undertone::conversation::ConversationId;
use undertone::crypto::Secret32;
use undertone::engine::{Event, EventId, Suspicion};
use undertone::envelope::{DirectBody, LogKeys, ParcelKind, TurnBody, shell};
use undertone::store::Table;
use undertone_wire::frame::{Append, ClientFrame, NewEntry, Request};
use undertone_wire::id::{EntryId, Generation, LogId};

use super::{Node, World};

impl Node {
    /// What an app that remembers the ids of events has been told, in order.
    pub fn told_once(&self) -> Vec<&Event> {
        let mut known: BTreeSet<EventId> = BTreeSet::new();
        self.events.iter().filter(|(id, _)| known.insert(*id)).map(|(_, event)| event).collect()
    }

    /// The secrets of direct logs that stand on the disk, each with its log and generation. A row of a log is a version,
    /// the conversation[32], u64 generation, u64 seq, head[32], then the secret as `opaque<V>`.
    pub fn direct_secrets(&self) -> Vec<(LogId, Generation, Secret32)> {
        let mut found = Vec::new();
        for (log, row) in self.store.rows(Table::Logs) {
            let generation = u64::from_be_bytes(row[33..41].try_into().unwrap());
            if row[81] == 32 {
                let secret = Secret32::from_slice(&row[82..114]).unwrap();
                found.push((LogId::from_bytes(log.try_into().unwrap()), Generation::from_u64(generation), secret));
            }
        }
        found
    }

    /// Everything that was sent to be appended.
    pub fn appends(&self) -> Vec<Append> {
        let append = |bytes: &Vec<u8>| match ClientFrame::decode(bytes).unwrap().body {
            Request::Append(append) => Some(append),
            _ => None,
        };
        self.frames_sent.iter().filter_map(append).collect()
    }
}

impl World {
    /// No message was told twice or stands twice in a history, and everything told stands in one (A-FA-01..03).
    pub fn assert_nothing_twice(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            let mut told: BTreeSet<MessageId> = BTreeSet::new();
            let mut sent: BTreeSet<MessageId> = BTreeSet::new();
            for event in node.told_once() {
                match event {
                    Event::Message(message) => assert!(told.insert(message.id), "node {at}: told twice"),
                    // What the relay replaced is sent again.
                    Event::Suspicion { suspicion: Suspicion::Replaced, .. } => sent.clear(),
                    Event::Sent { message, .. } => assert!(sent.insert(*message), "node {at}: sent twice"),
                    _ => {}
                }
            }
            let mut shown: BTreeSet<MessageId> = BTreeSet::new();
            for conversation in node.client.conversations().unwrap() {
                for message in self.history(at, conversation.id) {
                    assert!(shown.insert(message.id), "node {at}: shown twice");
                }
            }
            assert!(told.is_subset(&shown), "node {at}: told and then gone");
            assert!(sent.is_subset(&shown), "node {at}: sent and then gone");
        }
    }

    /// Nobody was told that something could not be read, was missing or was tampered with.
    pub fn assert_nothing_odd(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            for event in node.told_once() {
                let is_odd = matches!(
                    event,
                    Event::Undecryptable { .. } | Event::Gap { .. } | Event::Suspicion { .. } | Event::Failed { .. }
                );
                assert!(!is_odd, "node {at}: {event:?}");
            }
        }
    }

    /// The payload of an entry id in one generation never changes, and no two payloads share a nonce: neither that of the
    /// shell nor, in directs, the prefix of the ratchet message, whose 16 bytes are nonce and salt (A-DM-24).
    pub fn assert_no_nonce_twice(&self) {
        let mut payloads: BTreeMap<(LogId, Generation, EntryId), Vec<u8>> = BTreeMap::new();
        let mut nonces: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut prefixes: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let secrets: Vec<_> = self.nodes.iter().flat_map(Node::direct_secrets).collect();
        for append in self.nodes.iter().flat_map(Node::appends) {
            let Append { log, generation, entries } = append;
            for NewEntry { id, class, payload, .. } in entries {
                let payload = payload.as_slice().to_vec();
                let before = payloads.insert((log, generation, id), payload.clone());
                assert!(before.is_none_or(|before| before == payload), "sealed anew in one generation (spec DEL-11)");
                let before = nonces.insert(payload[..24].to_vec(), payload.clone());
                assert!(before.is_none_or(|before| before == payload), "a nonce for two payloads");
                let Some((.., secret)) = secrets.iter().find(|(of, at, _)| (*of, *at) == (log, generation)) else {
                    continue;
                };
                let keys = LogKeys::derive(secret, log, generation);
                let parcel = shell::open(&keys.outer, log, generation, id, class, &payload).unwrap();
                let body = match parcel.kind {
                    ParcelKind::DirectMessage => DirectBody::decode(&parcel.body).unwrap(),
                    ParcelKind::DirectTurn => TurnBody::decode(&parcel.body).unwrap().direct,
                    kind => panic!("{kind:?} in a direct log"),
                };
                for wrap in body.form.wraps() {
                    let before = prefixes.insert(wrap.message[..16].to_vec(), wrap.message.clone());
                    assert!(before.is_none_or(|before| before == wrap.message), "a ratchet prefix for two messages");
                }
            }
        }
    }

    /// Both see the same messages in the same order.
    pub fn assert_same_history(&self, one: usize, other: usize, conversation: ConversationId) {
        let ids = |node| self.history(node, conversation).iter().map(|message| message.id).collect::<Vec<_>>();
        let texts = |node| self.texts(node, conversation);
        assert!(ids(one) == ids(other), "{one}: {:?}\n{other}: {:?}", texts(one), texts(other));
    }
}
