//! The ledger: what was said, what was seen of it, and what that makes. It knows only what the processes were told and what
//! they said themselves; every message has a text of its own, by which it is recognised.
//!
//! A message counts as *sent* once its sender's process has acknowledged it. It is *delivered* when every member that it
//! was meant for has shown it, *lost* if not. It is *shown twice* if a member told it under two event numbers, or lists it
//! twice in its history; an event told again with the same number after a crash is counted apart. It is *out of order*
//! if a member showed it behind a later one, if two members have it in different places, or if it stands before an
//! earlier message of its sender.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    messages: BTreeMap<String, Sent>,
    /// In which order texts were acknowledged, by sender and conversation.
    order: BTreeMap<(String, String), Vec<String>>,
    /// The event numbers that each client has told.
    told: BTreeMap<String, BTreeSet<u64>>,
    /// The last place that each client has shown, by client and conversation.
    last_place: BTreeMap<(String, String), u64>,
    outages: Vec<Outage>,
    twice: BTreeSet<(String, String)>,
    disordered: BTreeSet<(String, String)>,
    /// Texts shown to somebody for whom they were not meant.
    leaked: BTreeSet<(String, String)>,
    told_again_count: usize,
    unreadable_count: usize,
    refused_count: usize,
}

/// One message.
#[derive(Debug)]
struct Sent {
    by: String,
    meant_for: BTreeSet<String>,
    /// Devices to which another one gave it later.
    given_to: BTreeSet<String>,
    /// When its sender took it up; none until that is acknowledged.
    at_us: Option<u64>,
    /// Whether the acknowledgement came from the history after a crash, so that the time is not known.
    is_found_later: bool,
    /// Where each member has it.
    places: BTreeMap<String, u64>,
    /// When each member showed it first.
    shown_us: BTreeMap<String, u64>,
}

/// A time in which a client could not talk to the relay.
#[derive(Debug)]
struct Outage {
    who: String,
    from_us: u64,
    to_us: Option<u64>,
}

/// What came of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Table {
    /// Messages acknowledged by their sender's process.
    pub sent: usize,
    /// Of these, shown to everybody they were meant for.
    pub delivered: usize,
    /// Members that were shown a message, over all messages.
    pub shown: usize,
    /// Messages that a member was shown twice.
    pub duplicates: usize,
    /// Messages acknowledged and not shown to everybody.
    pub lost: usize,
    /// Messages not in the one order.
    pub out_of_order: usize,
    /// Messages shown to somebody for whom they were not meant: members removed before, or added after.
    pub leaked: usize,
    /// Entries that a client said it cannot read.
    pub unreadable: usize,
    /// Events told again after a crash, with the same number.
    pub told_again: usize,
    /// Messages that their sender's own client did not take up.
    pub refused: usize,
    /// Latencies in ms while both ends were online.
    pub online: Latencies,
    /// Latencies in ms across an outage: somebody was away, or something was killed.
    pub across_outages: Latencies,
}

/// A distribution of times in milliseconds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Latencies {
    /// How many were measured.
    pub count: usize,
    /// Half were faster.
    pub p50_ms: f64,
    /// 99 of 100 were faster.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Ledger {
    /// Notes that `by` is about to say `text`, meant for others.
    pub fn intend(&mut self, by: &str, text: &str, meant_for: impl IntoIterator<Item = String>) {
        let sent = Sent {
            by: by.to_owned(),
            meant_for: meant_for.into_iter().filter(|who| who != by).collect(),
            given_to: BTreeSet::new(),
            at_us: None,
            is_found_later: false,
            places: BTreeMap::new(),
            shown_us: BTreeMap::new(),
        };
        self.messages.insert(text.to_owned(), sent);
    }

    /// Notes that everything that `owner` has is given to `device`: it may list that, and is not waited for.
    pub fn give(&mut self, owner: &str, device: &str) {
        for sent in self.messages.values_mut().filter(|sent| sent.by == owner || sent.meant_for.contains(owner)) {
            sent.given_to.insert(device.to_owned());
        }
    }

    /// Whether a text was used before.
    pub fn knows(&self, text: &str) -> bool {
        self.messages.contains_key(text)
    }

    /// Takes the acknowledgement of `text`: the reply to the command.
    pub fn acknowledge(&mut self, text: &str, reply: &Value) {
        let at_us = reply["at_us"].as_u64().unwrap_or_default();
        self.accept(text, text_of(reply, "conversation"), at_us, false);
    }

    /// Takes `text` for acknowledged, because its sender's history has it.
    pub fn find_later(&mut self, text: &str, conversation: &str) {
        self.accept(text, conversation.to_owned(), 0, true);
    }

    fn accept(&mut self, text: &str, conversation: String, at_us: u64, is_found_later: bool) {
        if let Some(sent) = self.messages.get_mut(text) {
            sent.at_us = Some(at_us);
            sent.is_found_later = is_found_later;
            self.order.entry((sent.by.clone(), conversation)).or_default().push(text.to_owned());
        }
    }

    /// Notes that the sender's own client did not take up a text.
    pub fn refuse(&mut self, text: &str) {
        self.messages.remove(text);
        self.refused_count += 1;
    }

    /// Takes one line that `who` said.
    pub fn observe(&mut self, who: &str, line: &Value) {
        if let Some(number) = line["event"].as_u64()
            && !self.told.entry(who.to_owned()).or_default().insert(number)
        {
            self.told_again_count += 1;
            return;
        }
        let at_us = line["at_us"].as_u64().unwrap_or_default();
        match line["type"].as_str() {
            Some("message") => self.show(who, line, at_us),
            Some("undecryptable" | "gap" | "suspicion") => self.unreadable_count += 1,
            Some("caught_up") => self.end_outage(who, at_us),
            _ => {}
        }
    }

    fn show(&mut self, who: &str, line: &Value, at_us: u64) {
        let (Some(text), Some(place)) = (line["text"].as_str(), line["place"].as_u64()) else { return };
        let Some(sent) = self.messages.get_mut(text) else { return };
        let key = (who.to_owned(), text.to_owned());
        if sent.shown_us.insert(who.to_owned(), at_us).is_some() {
            self.twice.insert(key);
            return;
        }
        if sent.by != who && !sent.meant_for.contains(who) {
            self.leaked.insert(key);
            return;
        }
        sent.places.insert(who.to_owned(), place);
        let last = self.last_place.entry((who.to_owned(), text_of(line, "conversation"))).or_default();
        if place <= *last {
            self.disordered.insert(key);
        }
        *last = place.max(*last);
    }

    /// Takes the whole history of a conversation that `who` lists: each text once, in rising places, the same for all.
    pub fn compare_history(&mut self, who: &str, messages: &[Value]) {
        let mut listed = BTreeSet::new();
        let mut last_place = 0;
        for message in messages {
            let Some(text) = message["text"].as_str() else { continue };
            let Some(sent) = self.messages.get_mut(text) else { continue };
            let key = (who.to_owned(), text.to_owned());
            if sent.by != who && !sent.meant_for.contains(who) && !sent.given_to.contains(who) {
                self.leaked.insert(key);
                continue;
            }
            if !listed.insert(text.to_owned()) {
                self.twice.insert(key);
                continue;
            }
            let Some(place) = message["place"].as_u64() else { continue };
            let is_elsewhere = sent.places.insert(who.to_owned(), place).is_some_and(|before| before != place);
            if place <= last_place || is_elsewhere {
                self.disordered.insert(key);
            }
            last_place = place;
        }
    }

    /// Notes that `who` cannot talk to the relay from now on.
    pub fn begin_outage(&mut self, who: &str, at_us: u64) {
        self.outages.push(Outage { who: who.to_owned(), from_us: at_us, to_us: None });
    }

    fn end_outage(&mut self, who: &str, at_us: u64) {
        for outage in &mut self.outages {
            if outage.who == who && outage.to_us.is_none() && outage.from_us <= at_us {
                outage.to_us = Some(at_us);
            }
        }
    }

    /// Whether everybody among `present` has shown everything that was acknowledged and meant for them.
    pub fn is_settled(&self, present: impl Fn(&str) -> bool) -> bool {
        self.messages
            .values()
            .filter(|sent| sent.at_us.is_some())
            .all(|sent| sent.meant_for.iter().all(|who| !present(who) || sent.shown_us.contains_key(who)))
    }

    /// Who has shown `text`, and after how many milliseconds.
    pub fn shown(&self, text: &str) -> Vec<(String, f64)> {
        let Some(sent) = self.messages.get(text) else { return Vec::new() };
        let since_us = sent.at_us.unwrap_or_default();
        let all = sent.shown_us.iter().filter(|(who, _)| sent.meant_for.contains(*who));
        all.map(|(who, at_us)| (who.clone(), millis(at_us.saturating_sub(since_us)))).collect()
    }

    /// Texts acknowledged and not shown to somebody they were meant for.
    pub fn missing(&self) -> Vec<(String, String)> {
        let acknowledged = self.messages.iter().filter(|(_, sent)| sent.at_us.is_some());
        acknowledged
            .flat_map(|(text, sent)| {
                let missing = sent.meant_for.iter().filter(|who| !sent.shown_us.contains_key(*who));
                missing.map(|who| (who.clone(), text.clone()))
            })
            .collect()
    }

    /// Adds everything up.
    pub fn table(&self) -> Table {
        let acknowledged: Vec<&Sent> = self.messages.values().filter(|sent| sent.at_us.is_some()).collect();
        let is_whole = |sent: &&&Sent| sent.meant_for.iter().all(|who| sent.shown_us.contains_key(who));
        let delivered = acknowledged.iter().filter(is_whole).count();
        let (online, across) = self.latencies(&acknowledged);
        Table {
            sent: acknowledged.len(),
            delivered,
            shown: acknowledged.iter().map(|sent| sent.shown_us.len()).sum(),
            duplicates: self.twice.len(),
            lost: acknowledged.len() - delivered,
            out_of_order: self.out_of_order(),
            leaked: self.leaked.len(),
            unreadable: self.unreadable_count,
            told_again: self.told_again_count,
            refused: self.refused_count,
            online: Latencies::of(online),
            across_outages: Latencies::of(across),
        }
    }

    fn out_of_order(&self) -> usize {
        let mut texts: BTreeSet<&str> = self.disordered.iter().map(|(_, text)| text.as_str()).collect();
        for (text, sent) in &self.messages {
            if sent.places.values().collect::<BTreeSet<_>>().len() > 1 {
                texts.insert(text);
            }
        }
        for said in self.order.values() {
            let mut last_place = 0;
            for text in said {
                let place = self.messages.get(text).and_then(|sent| sent.places.values().next());
                if place.is_some_and(|place| *place <= last_place) {
                    texts.insert(text);
                }
                last_place = place.copied().unwrap_or(last_place);
            }
        }
        texts.len()
    }

    /// Every latency, those without an outage of either end apart.
    fn latencies(&self, acknowledged: &[&Sent]) -> (Vec<u64>, Vec<u64>) {
        let (mut online, mut across) = (Vec::new(), Vec::new());
        for sent in acknowledged.iter().filter(|sent| !sent.is_found_later) {
            let from_us = sent.at_us.unwrap_or_default();
            for (who, to_us) in &sent.shown_us {
                let is_across = self.outages.iter().any(|outage| {
                    (outage.who == sent.by || outage.who == *who)
                        && outage.from_us <= *to_us
                        && outage.to_us.is_none_or(|end_us| end_us >= from_us)
                });
                if is_across { &mut across } else { &mut online }.push(to_us.saturating_sub(from_us));
            }
        }
        (online, across)
    }
}

impl Latencies {
    fn of(mut times_us: Vec<u64>) -> Self {
        times_us.sort_unstable();
        let at = |share: f64| {
            let rank = (times_us.len() as f64 * share).ceil() as usize;
            times_us.get(rank.saturating_sub(1)).copied().map_or(0.0, millis)
        };
        Self { count: times_us.len(), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

impl Table {
    /// Whether everything is as it is promised.
    pub fn is_sound(&self) -> bool {
        let faults = self.duplicates + self.lost + self.out_of_order + self.leaked + self.refused;
        self.sent > 0 && faults == 0
    }
}

fn text_of(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap_or_default().to_owned()
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(ledger: &mut Ledger, by: &str, text: &str, at_us: u64) {
        ledger.intend(by, text, ["Ann", "Bob", "Cyd"].map(String::from));
        ledger.acknowledge(text, &json!({ "at_us": at_us, "conversation": "tea" }));
    }

    fn shown(event: u64, text: &str, place: u64, at_us: u64) -> Value {
        json!({ "type": "message", "event": event, "conversation": "tea", "text": text, "place": place, "at_us": at_us })
    }

    #[test]
    fn what_everybody_saw_once_in_one_order_is_sound() {
        let mut ledger = Ledger::default();
        for (number, text) in ["one", "two"].into_iter().enumerate() {
            let at = number as u64;
            said(&mut ledger, "Ann", text, 1_000 * at);
            for who in ["Bob", "Cyd"] {
                ledger.observe(who, &shown(at, text, at + 1, 1_000 * at + 500));
            }
        }
        let table = ledger.table();
        assert!(table.is_sound(), "{table:?}");
        assert_eq!((table.sent, table.delivered, table.shown, table.online.count), (2, 2, 4, 4));
        assert_eq!((table.online.p50_ms, table.online.max_ms), (0.5, 0.5));
    }

    #[test]
    fn what_one_member_did_not_see_is_lost() {
        let mut ledger = Ledger::default();
        said(&mut ledger, "Ann", "one", 0);
        ledger.observe("Bob", &shown(1, "one", 1, 1));
        assert!(!ledger.is_settled(|_| true));
        assert!(ledger.is_settled(|who| who != "Cyd"));
        assert_eq!(ledger.table().lost, 1);
        assert_eq!(ledger.missing(), [("Cyd".into(), "one".into())]);
    }

    #[test]
    fn twice_is_twice_unless_it_is_the_same_event() {
        let mut ledger = Ledger::default();
        said(&mut ledger, "Ann", "one", 0);
        ledger.observe("Bob", &shown(1, "one", 1, 1));
        ledger.observe("Bob", &shown(1, "one", 1, 2));
        assert_eq!((ledger.table().duplicates, ledger.table().told_again), (0, 1));
        ledger.observe("Bob", &shown(2, "one", 1, 3));
        assert_eq!(ledger.table().duplicates, 1);
        let listed = json!({ "text": "one", "place": 1 });
        ledger.compare_history("Cyd", &[listed.clone(), listed]);
        assert_eq!(ledger.table().duplicates, 2);
    }

    #[test]
    fn order_is_the_same_for_all_and_that_of_each_sender() {
        let mut ledger = Ledger::default();
        said(&mut ledger, "Ann", "one", 0);
        said(&mut ledger, "Ann", "two", 1);
        ledger.observe("Bob", &shown(1, "two", 1, 1));
        ledger.observe("Bob", &shown(2, "one", 2, 2));
        assert_eq!(ledger.table().out_of_order, 1, "against the order of the sender");
        ledger.observe("Cyd", &shown(1, "one", 3, 1));
        ledger.observe("Cyd", &shown(2, "two", 1, 2));
        assert_eq!(ledger.table().out_of_order, 2, "against the order of another member");
    }

    #[test]
    fn what_was_meant_for_others_is_a_leak() {
        let mut ledger = Ledger::default();
        ledger.intend("Ann", "secret", ["Bob".to_owned()]);
        ledger.acknowledge("secret", &json!({ "at_us": 0 }));
        ledger.observe("Bob", &shown(1, "secret", 1, 1));
        assert!(ledger.table().is_sound());
        ledger.compare_history("Cyd", &[json!({ "text": "secret", "place": 1 })]);
        assert_eq!((ledger.table().leaked, ledger.table().is_sound()), (1, false));
    }

    #[test]
    fn times_across_an_outage_stand_apart() {
        let mut ledger = Ledger::default();
        ledger.begin_outage("Bob", 10);
        said(&mut ledger, "Ann", "while Bob is away", 20);
        ledger.observe("Bob", &json!({ "type": "caught_up", "at_us": 5_000 }));
        ledger.observe("Bob", &shown(1, "while Bob is away", 1, 6_000));
        said(&mut ledger, "Ann", "later", 7_000);
        ledger.observe("Bob", &shown(2, "later", 2, 8_000));
        let table = ledger.table();
        assert_eq!((table.online.count, table.online.max_ms), (1, 1.0));
        assert_eq!((table.across_outages.count, table.across_outages.max_ms), (1, 5.98));
    }
}
