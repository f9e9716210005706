//! Names for ids and ids for names, as the client knew them last.

use std::collections::BTreeMap;

use undertone::conversation::{Conversation, ConversationId, ConversationKind};
use undertone::identity::AccountId;

use super::saying::{Fault, Named, is_group};

/// The conversations, latest first, and the names of everybody in them.
#[derive(Default)]
pub(crate) struct Book {
    conversations: Vec<Conversation>,
    names: BTreeMap<AccountId, String>,
}

impl Book {
    /// What the client says now.
    pub(crate) fn new(conversations: Vec<Conversation>) -> Self {
        let mut names = BTreeMap::new();
        for conversation in &conversations {
            for member in &conversation.members {
                if let Some(name) = &member.name {
                    names.insert(member.account, name.clone());
                }
            }
            if let ConversationKind::Direct { peer } = conversation.kind
                && !conversation.name.is_empty()
            {
                names.insert(peer, conversation.name.clone());
            }
        }
        Self { conversations, names }
    }

    /// The conversations, latest first.
    pub(crate) fn conversations(&self) -> &[Conversation] {
        &self.conversations
    }

    /// Whether a conversation is known here.
    pub(crate) fn knows(&self, id: &ConversationId) -> bool {
        self.conversations.iter().any(|conversation| conversation.id == *id)
    }

    /// A conversation by its name.
    pub(crate) fn named(&self, id: &ConversationId) -> Named {
        match self.conversations.iter().find(|conversation| conversation.id == *id) {
            Some(conversation) => named(conversation),
            None => Named { id: *id, name: short(&id.to_string()), is_group: true },
        }
    }

    /// The name of an account, or the beginning of its id.
    pub(crate) fn name(&self, account: &AccountId) -> String {
        self.names.get(account).cloned().unwrap_or_else(|| short(&account.to_string()))
    }

    /// The conversation that is meant by a name, or by `#` and the beginning of its id.
    pub(crate) fn conversation(&self, text: &str) -> Result<ConversationId, Fault> {
        let found = self.conversations.iter().filter(|conversation| match text.strip_prefix('#') {
            Some(id) => is_beginning(id, &conversation.id.to_string()),
            None => conversation.name == text,
        });
        one(text, found.map(|conversation| conversation.id))
    }

    /// The account that is meant by a name, or by `#` and the beginning of its id.
    pub(crate) fn account(&self, text: &str) -> Result<AccountId, Fault> {
        let found = self.names.iter().filter(|(account, name)| match text.strip_prefix('#') {
            Some(id) => is_beginning(id, &account.to_string()),
            None => name.as_str() == text,
        });
        one(text, found.map(|(account, _)| *account))
    }

    /// The accounts that are meant by names.
    pub(crate) fn accounts(&self, texts: &[String]) -> Result<Vec<AccountId>, Fault> {
        texts.iter().map(|text| self.account(text)).collect()
    }
}

/// A conversation by its name.
pub(crate) fn named(conversation: &Conversation) -> Named {
    let Conversation { id, kind, name, .. } = conversation;
    let name = if name.is_empty() { short(&id.to_string()) } else { name.clone() };
    Named { id: *id, name, is_group: is_group(*kind) }
}

pub(crate) fn one<T>(text: &str, mut found: impl Iterator<Item = T>) -> Result<T, Fault> {
    let first = found.next().ok_or_else(|| Fault::unknown_name(text, false))?;
    if found.next().is_some() { Err(Fault::unknown_name(text, true)) } else { Ok(first) }
}

pub(crate) fn is_beginning(text: &str, id: &str) -> bool {
    text.len() >= ID_TYPED_LEN_MIN && id.starts_with(&text.to_ascii_lowercase())
}

pub(crate) fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

/// Digits of an id that must be typed at least.
const ID_TYPED_LEN_MIN: usize = 4;
