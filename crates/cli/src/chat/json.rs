//! The machine interface of `undertone chat`: one JSON object on each line.
//!
//! Every object has a `type` and `at_us` (microseconds since 1970-01-01T00:00Z, when it was said; in the reply to a message
//! when the command was taken up). Commands are answered in order, each by one `reply` or `error` with its `command`.
//! Objects with an `event` number are events: after a crash the last ones may come again with the same numbers.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use undertone::dm::Start;

use super::saying::{
    DeviceLine, Fault, Happened, Line, Listed, Named, Passing, Reply, Saying, Says, failure, held, history_failure,
    linking, reason, recovery, state, status, suspicion, verification,
};

/// One object, as one line without its end.
pub(crate) fn line(saying: &Saying) -> String {
    let mut object = object(saying);
    if let Value::Object(fields) = &mut object {
        fields.entry("at_us").or_insert_with(|| now_us().into());
    }
    escape(&object.to_string())
}

/// Microseconds since 1970-01-01T00:00Z.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Escapes what a terminal could take for a command or for a change of direction. Such characters stand in strings only.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if super::print::is_unsafe(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

fn object(saying: &Saying) -> Value {
    match saying {
        Saying::Hello { name, account, device, relay, is_new } => json!({
            "type": "hello", "name": name, "account": account.to_string(), "device": device.to_string(),
            "relay": relay, "new": is_new,
        }),
        Saying::Reply { command, reply } => reply_object(command, reply),
        Saying::Trouble { command, fault: Fault { code, kind, text, help } } => json!({
            "type": "error", "command": command, "code": code, "kind": kind, "text": text, "help": help,
        }),
        Saying::Event { number, happened } => {
            let mut object = happened_object(happened);
            object.insert("event".into(), (*number).into());
            Value::Object(object)
        }
        Saying::Passing(passing) => passing_object(passing),
        Saying::Bye { unsent_count } => json!({ "type": "bye", "unsent": unsent_count }),
    }
}

fn reply_object(command: &str, reply: &Reply) -> Value {
    let mut object = Map::new();
    object.insert("type".into(), "reply".into());
    object.insert("command".into(), command.into());
    let fields = match reply {
        Reply::Done | Reply::Help => Value::Null,
        Reply::Queued { local, at_us, to } => {
            name_conversation(&mut object, to);
            json!({ "local": local, "at_us": at_us })
        }
        Reply::Me { name, account, device } => {
            json!({ "name": name, "account": account.to_string(), "device": device.to_string() })
        }
        Reply::Invitation(invitation) => json!({ "invitation": invitation }),
        Reply::Safety { who, number, verification: is } => {
            json!({ "name": who, "number": number.to_string(), "verification": verification(*is).0 })
        }
        Reply::Conversations(conversations) => {
            json!({ "conversations": conversations.iter().map(listed_object).collect::<Vec<_>>() })
        }
        Reply::Current(conversation) => {
            name_conversation(&mut object, conversation);
            Value::Null
        }
        Reply::Devices(devices) => json!({ "devices": devices.iter().map(device_object).collect::<Vec<_>>() }),
        Reply::History { of, messages } => {
            name_conversation(&mut object, of);
            json!({ "messages": messages.iter().map(line_object).collect::<Vec<_>>() })
        }
    };
    merge(&mut object, fields);
    Value::Object(object)
}

fn happened_object(happened: &Happened) -> Map<String, Value> {
    let mut object = Map::new();
    let (kind, conversation, fields) = match happened {
        Happened::Contact { name, conversation } => ("contact", conversation, json!({ "peer": name })),
        Happened::Ready { conversation } => ("ready", conversation, Value::Null),
        Happened::Message { conversation, line } => ("message", conversation, line_object(line)),
        Happened::Sent { conversation, message, local, place } => {
            ("sent", conversation, json!({ "message": message, "local": local, "place": place }))
        }
        Happened::Delivered { conversation, by, through } => {
            ("delivered", conversation, json!({ "by": by, "through": through }))
        }
        Happened::Read { conversation, by, message } => ("read", conversation, json!({ "by": by, "message": message })),
        Happened::GroupChanged { conversation, by, added, removed, name } => {
            ("group_changed", conversation, json!({ "by": by, "added": added, "removed": removed, "new_name": name }))
        }
        Happened::Removed { conversation, by, is_own_will } => {
            ("removed", conversation, json!({ "by": by, "left": is_own_will }))
        }
        Happened::Undecryptable { conversation, place, reason: why } => (
            "undecryptable",
            conversation,
            json!({ "place": place, "reason": reason(*why).0, "recovery": recovery(why.recovery()).0 }),
        ),
        Happened::Gap { conversation, count } => ("gap", conversation, json!({ "missing": count })),
        Happened::Suspicion { conversation, place, suspicion: what } => {
            ("suspicion", conversation, json!({ "place": place, "suspicion": suspicion(*what).0 }))
        }
        Happened::Failed { conversation, who, failure: why } => {
            ("failed", conversation, json!({ "who": who, "failure": failure(*why).0 }))
        }
        Happened::Devices { of, device, is_added } => {
            object.insert("type".into(), if *is_added { "device_linked" } else { "device_removed" }.into());
            merge(&mut object, json!({ "device": device, "of": of }));
            return object;
        }
        Happened::HistorySent { device, count } => {
            object.insert("type".into(), "history_sent".into());
            merge(&mut object, json!({ "device": device, "count": count }));
            return object;
        }
        Happened::HistoryComplete { device, count } => {
            object.insert("type".into(), "history_complete".into());
            merge(&mut object, json!({ "device": device, "count": count }));
            return object;
        }
        Happened::HistoryFailed { device, because } => {
            object.insert("type".into(), "history_failed".into());
            merge(&mut object, json!({ "device": device, "because": history_failure(*because).0 }));
            return object;
        }
        Happened::Held { of, because } => {
            object.insert("type".into(), "sending_held".into());
            merge(&mut object, json!({ "of": of, "because": held(*because).0 }));
            return object;
        }
        Happened::Other => {
            object.insert("type".into(), "other".into());
            return object;
        }
    };
    object.insert("type".into(), kind.into());
    name_conversation(&mut object, conversation);
    merge(&mut object, fields);
    object
}

fn passing_object(passing: &Passing) -> Value {
    match passing {
        Passing::Online => json!({ "type": "online" }),
        Passing::CaughtUp => json!({ "type": "caught_up" }),
        Passing::Offline => json!({ "type": "offline" }),
        Passing::RelayChanged => json!({ "type": "relay_changed" }),
        Passing::LinkOffer { offer, expires_ms } => {
            json!({ "type": "link_offer", "offer": offer, "expires_ms": expires_ms })
        }
        Passing::LinkCode(code) => json!({ "type": "link_code", "code": code }),
        Passing::LinkEnded(error) => {
            let (reason, text) = linking(*error);
            json!({ "type": "link_ended", "reason": reason, "text": text })
        }
        Passing::HistoryProgress { device, done, total } => {
            json!({ "type": "history_progress", "device": device, "done": done, "total": total })
        }
        Passing::Typing { conversation, who, is_typing } => json!({
            "type": "typing", "conversation": conversation.id.to_string(), "name": conversation.name, "by": who,
            "typing": is_typing,
        }),
    }
}

fn device_object(device: &DeviceLine) -> Value {
    let DeviceLine { id, is_this, is_primary, session } = device;
    let session = session.map(|session| {
        json!({
            "weak_start": session.start == Start::Weak, "pq_epoch": session.pq_epoch.as_u32(),
            "messages_since_pq_heal": session.messages_since_pq_heal,
        })
    });
    json!({ "device": id, "this": is_this, "primary": is_primary, "session": session })
}

fn listed_object(listed: &Listed) -> Value {
    let Listed { named, state: how_far, members, unsent_count, is_current } = listed;
    json!({
        "conversation": named.id.to_string(), "name": named.name, "group": named.is_group, "state": state(*how_far),
        "members": members, "unsent": unsent_count, "current": is_current,
    })
}

fn line_object(line: &Line) -> Value {
    let Line { id, place, sender, is_ours, sent_ms, says, status: how_far } = line;
    let mut object = json!({
        "message": id, "place": place, "sender": sender, "ours": is_ours, "sent_ms": sent_ms,
        "status": status(*how_far),
    });
    let says = match says {
        Says::Text(text) => json!({ "text": text }),
        Says::Reaction { grapheme, to } => json!({ "reaction": grapheme, "to": to }),
        Says::Other(words) => json!({ "other": words }),
    };
    if let Value::Object(fields) = &mut object {
        merge(fields, says);
    }
    object
}

fn name_conversation(object: &mut Map<String, Value>, conversation: &Named) {
    object.insert("conversation".into(), conversation.id.to_string().into());
    object.insert("name".into(), conversation.name.clone().into());
    object.insert("group".into(), conversation.is_group.into());
}

fn merge(object: &mut Map<String, Value>, fields: Value) {
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_leaves_as_it_is_and_a_parser_gets_it_back() {
        let text = "a\u{9b}31m\u{7f}\u{202e}b\u{1b}[2J\u{e0001}";
        let fault = Fault { code: 1, kind: "misuse", text: text.into(), help: "" };
        let line = line(&Saying::Trouble { command: None, fault });
        assert!(line.chars().all(|character| !super::super::print::is_unsafe(character)));
        let read: Value = serde_json::from_str(&line).expect("a line is JSON");
        assert_eq!(read["text"], text);
    }
}
