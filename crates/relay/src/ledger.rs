//! What each write does: one pure step per request, over the rows as the requests before it left them.
//!
//! A request that is refused has written nothing: every check comes before the first write. Whether the connection may
//! ask at all (proofs, signatures) was decided before; what only the order of requests decides (which append turns the
//! log, who takes the last item) is decided here.

use undertone_wire::VLBytes;
use undertone_wire::chain::Leaf;
use undertone_wire::frame::{
    Append, Class, Create, Deposit, Entry, EntryContent, NewEntry, OpenInbox, Place, Presence, Publish, Reply,
    SlotKind, Taken,
};
use undertone_wire::gate::Gate;
use undertone_wire::id::{EntryId, Generation, LogId, PayloadHash, Seq, SlotId, TakeId};
use undertone_wire::limits::SLOT_ITEMS_MAX;
use undertone_wire::refusal::Refusal;

use crate::rows::{EntryRow, GateRow, IdRow, Key, LogKind, LogRow, QuotaRow, SlotRow, Table, TakeRow, TokensRow};
use crate::store::{Raised, Step, StoreError};

/// A request that changes something.
pub(crate) enum Write {
    Create(Create),
    Append(Append),
    Publish(Publish),
    Take {
        slot: SlotId,
        kind: SlotKind,
        take: TakeId,
    },
    OpenInbox(OpenInbox),
    Deposit(Deposit),
    AckInbox {
        log: LogId,
        through: Seq,
    },
    /// Turns payloads that are due into stubs, and forgets what is old.
    Sweep,
}

impl Write {
    /// Bytes that count towards one commit.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Append(append) => append.entries.iter().map(|entry| entry.payload.as_slice().len()).sum(),
            Self::Deposit(deposit) => deposit.payload.as_slice().len(),
            Self::Publish(publish) => {
                publish.body.as_slice().len() + publish.items.iter().map(|item| item.as_slice().len()).sum::<usize>()
            }
            Self::Create(_) | Self::Take { .. } | Self::OpenInbox(_) | Self::AckInbox { .. } | Self::Sweep => 256,
        }
    }
}

/// Applies one request.
pub(crate) fn apply(step: &mut Step<'_>, write: Write) -> Result<Reply, StoreError> {
    let result = match write {
        Write::Create(create) => apply_create(step, &create)?,
        Write::Append(append) => apply_append(step, append)?,
        Write::Publish(publish) => apply_publish(step, publish)?,
        Write::Take { slot, kind, take } => apply_take(step, &slot, kind, &take)?,
        Write::OpenInbox(open) => apply_open_inbox(step, open)?,
        Write::Deposit(deposit) => apply_deposit(step, deposit)?,
        Write::AckInbox { log, through } => apply_ack_inbox(step, &log, through)?,
        Write::Sweep => sweep(step)?,
    };
    Ok(result.unwrap_or_else(Reply::Refused))
}

type Applied = Result<Result<Reply, Refusal>, StoreError>;

fn apply_create(step: &mut Step<'_>, create: &Create) -> Applied {
    if let Some(row) = step.get::<LogRow>(&Key::log(&create.log))? {
        let gate: Option<GateRow> = step.get(&Key::gate(&create.log, Generation::FIRST))?;
        let same = row.key == create.control && gate.is_some_and(|row| row.gate == create.gate);
        return Ok(if same { Ok(Reply::Done) } else { Err(Refusal::Exists) });
    }
    step.put(Key::log(&create.log), &LogRow::new(LogKind::Conversation, create.control));
    put_gate(step, &create.log, Generation::FIRST, create.gate);
    Ok(Ok(Reply::Done))
}

fn put_gate(step: &mut Step<'_>, log: &LogId, generation: Generation, gate: Gate) {
    step.put(Key::gate(log, generation), &GateRow { gate, ended_by: None });
}

fn apply_append(step: &mut Step<'_>, append: Append) -> Applied {
    let Append { log, generation, entries } = append;
    let row = match step.get::<LogRow>(&Key::log(&log))? {
        Some(row) if row.kind == LogKind::Conversation => row,
        _ => return Ok(Err(Refusal::Unknown)),
    };
    if has_repeated_id(&entries) {
        return Ok(Err(Refusal::Malformed));
    }
    let mut known = Vec::with_capacity(entries.len());
    for entry in &entries {
        known.push(step.get::<IdRow>(&Key::id(&log, &entry.id))?);
    }
    if generation != row.generation && known.iter().any(Option::is_none) {
        return Ok(Err(Refusal::Stale { generation: row.generation, turned_at: row.turned_at }));
    }
    let mut tail = Tail { log, row, added: Vec::new() };
    let mut places = Vec::with_capacity(entries.len());
    for (entry, known) in entries.into_iter().zip(known) {
        places.push(match known {
            Some(row) => duplicate_of(&row),
            None => {
                let NewEntry { id, class, ttl_s, payload, turn } = entry;
                let due_ms = step.now_ms + step.retention.payload_ms(class, ttl_s);
                let place = tail.push(step, class, id, turn, payload, due_ms);
                if let Some(gate) = turn {
                    tail.turn(step, gate, place.seq)?;
                }
                place
            }
        });
    }
    tail.finish(step);
    Ok(Ok(Reply::Appended { places }))
}

fn has_repeated_id(entries: &[NewEntry]) -> bool {
    entries.iter().enumerate().any(|(at, entry)| entries[..at].iter().any(|other| other.id == entry.id))
}

fn duplicate_of(row: &IdRow) -> Place {
    let IdRow { seq, generation, payload } = *row;
    Place { seq, generation, payload, duplicate: Presence::Duplicate }
}

/// The growing end of one log.
struct Tail {
    log: LogId,
    row: LogRow,
    added: Vec<Entry>,
}

impl Tail {
    fn push(
        &mut self,
        step: &mut Step<'_>,
        class: Class,
        id: EntryId,
        turn: Option<Gate>,
        payload: VLBytes,
        due_ms: u64,
    ) -> Place {
        let (seq, generation) = (self.row.last.next(), self.row.generation);
        let payload_hash = PayloadHash::of(payload.as_slice());
        let head = Leaf { seq, generation, class, id, turn, payload: payload_hash }.extend(&self.row.head);
        let content = EntryContent::Payload(payload);
        let entry = Entry { seq, generation, class, id, accepted_ms: step.now_ms, turn, content };
        let key = Key::entry(&self.log, seq);
        let entry_row = EntryRow { entry, head };
        step.put(key.clone(), &entry_row);
        step.put_due(due_ms, &key);
        step.put(Key::id(&self.log, &id), &IdRow { seq, generation, payload: payload_hash });
        self.row.last = seq;
        self.row.head = head;
        self.added.push(entry_row.entry);
        Place { seq, generation, payload: payload_hash, duplicate: Presence::New }
    }

    /// Ends the generation with the entry at `seq`.
    fn turn(&mut self, step: &mut Step<'_>, gate: Gate, seq: Seq) -> Result<(), StoreError> {
        let key = Key::gate(&self.log, self.row.generation);
        let ended = step.get::<GateRow>(&key)?.ok_or(StoreError::Foreign)?;
        step.put(key, &GateRow { ended_by: Some(seq), ..ended });
        self.row.generation = self.row.generation.next();
        self.row.turned_at = seq;
        put_gate(step, &self.log, self.row.generation, gate);
        Ok(())
    }

    fn finish(self, step: &mut Step<'_>) {
        let Self { log, row, added } = self;
        if added.is_empty() {
            return;
        }
        step.put(Key::log(&log), &row);
        step.raise(Raised { log, generation: row.generation, turned_at: row.turned_at, entries: added });
    }
}

fn apply_open_inbox(step: &mut Step<'_>, open: OpenInbox) -> Applied {
    let log = LogId::of_inbox_key(&open.owner);
    if step.get::<LogRow>(&Key::log(&log))?.is_none() {
        step.put(Key::log(&log), &LogRow::new(LogKind::Inbox, open.owner));
    }
    step.put(Key::tokens(&log), &TokensRow { tokens: open.tokens });
    Ok(Ok(Reply::Done))
}

fn apply_deposit(step: &mut Step<'_>, deposit: Deposit) -> Applied {
    let Deposit { log, token, id, payload } = deposit;
    let row = match step.get::<LogRow>(&Key::log(&log))? {
        Some(row) if row.kind == LogKind::Inbox => row,
        _ => return Ok(Err(Refusal::Unknown)),
    };
    let token = token.to_hash();
    let tokens = step.get::<TokensRow>(&Key::tokens(&log))?.map_or_else(Vec::new, |row| row.tokens);
    let Some(admitted) = tokens.iter().find(|known| known.token == token) else {
        return Ok(Err(Refusal::NotProven));
    };
    if let Some(known) = step.get::<IdRow>(&Key::id(&log, &id))? {
        return Ok(Ok(Reply::Appended { places: vec![duplicate_of(&known)] }));
    }
    let key = Key::quota(&log, admitted.lane);
    let day = step.now_ms / DAY_MS;
    let mut quota = match step.get::<QuotaRow>(&key)? {
        Some(row) if row.day == day => row,
        _ => QuotaRow { day, entries_count: 0, payloads_len: 0 },
    };
    quota.entries_count += 1;
    quota.payloads_len += payload.as_slice().len() as u64;
    if !step.retention.lane(admitted.lane).admits(quota.entries_count, quota.payloads_len) {
        let retry_after_ms = (DAY_MS - step.now_ms % DAY_MS) as u32;
        return Ok(Err(Refusal::Quota { retry_after_ms }));
    }
    step.put(key, &quota);
    let due_ms = step.now_ms + step.retention.inbox_ms();
    let mut tail = Tail { log, row, added: Vec::new() };
    // What strangers send is a handshake or a welcome: others wait for it.
    let place = tail.push(step, Class::Control, id, None, payload, due_ms);
    step.put_due(step.now_ms + step.retention.id_ms(), &Key::id(&log, &id));
    tail.finish(step);
    Ok(Ok(Reply::Appended { places: vec![place] }))
}

fn apply_ack_inbox(step: &mut Step<'_>, log: &LogId, through: Seq) -> Applied {
    let mut row = match step.get::<LogRow>(&Key::log(log))? {
        Some(row) if row.kind == LogKind::Inbox => row,
        _ => return Ok(Err(Refusal::Unknown)),
    };
    let through = through.min(row.last);
    if through < row.first {
        return Ok(Ok(Reply::Done));
    }
    let last = step.get::<EntryRow>(&Key::entry(log, through))?.ok_or(StoreError::Foreign)?;
    for seq in row.first.as_u64()..=through.as_u64() {
        step.delete(Key::entry(log, Seq::from_u64(seq)));
    }
    row.first = through.next();
    row.first_head = last.head;
    step.put(Key::log(log), &row);
    Ok(Ok(Reply::Done))
}

fn apply_publish(step: &mut Step<'_>, publish: Publish) -> Applied {
    let Publish { owner, kind, version, body, items, .. } = publish;
    let slot = SlotId::of_owner(&owner);
    let key = Key::slot(&slot, kind);
    let known: Option<SlotRow> = step.get(&key)?;
    let mut row = known.unwrap_or(SlotRow { version, items_from: 0, items_to: 0 });
    if known.is_some() {
        let held: VLBytes = step.get(&Key::body(&slot, kind, row.version))?.ok_or(StoreError::Foreign)?;
        if version < row.version || (version == row.version && held != body) {
            return Ok(Err(Refusal::VersionConflict { version: row.version }));
        }
    }
    let is_new_body = known.is_none_or(|held| held.version < version);
    let items = new_items(step, &slot, kind, version, items)?;
    let items_held = if is_new_body { 0 } else { row.items_to - row.items_from };
    if items_held as usize + items.len() > SLOT_ITEMS_MAX {
        return Ok(Err(Refusal::Quota { retry_after_ms: SLOT_FULL_RETRY_MS }));
    }
    if is_new_body {
        if known.is_some() {
            // Takes that were answered with the old body are repeated for as long as they are remembered.
            step.put_due(step.now_ms + TAKE_KEPT_MS + DAY_MS, &Key::body(&slot, kind, row.version));
        }
        for number in row.items_from..row.items_to {
            step.delete(Key::item(&slot, kind, number));
        }
        row.items_from = row.items_to;
        row.version = version;
        step.put(Key::body(&slot, kind, version), &body);
    }
    for (added, item) in items {
        step.put(Key::item(&slot, kind, row.items_to), &item);
        step.put(added.clone(), &ADDED);
        step.put_due(step.now_ms + step.retention.id_ms(), &added);
        row.items_to += 1;
    }
    step.put(key, &row);
    Ok(Ok(Reply::Published { version, items_left: (row.items_to - row.items_from) as u32 }))
}

/// The items that this version of the slot has not held before, each with the key that remembers it: whoever repeats a
/// publication whose reply was lost must not have an item handed out twice.
fn new_items(
    step: &Step<'_>,
    slot: &SlotId,
    kind: SlotKind,
    version: u64,
    items: Vec<VLBytes>,
) -> Result<Vec<(Key, VLBytes)>, StoreError> {
    let mut new: Vec<(Key, VLBytes)> = Vec::new();
    for item in items {
        let added = Key::added(slot, kind, version, &PayloadHash::of(item.as_slice()));
        if step.get::<u8>(&added)?.is_none() && new.iter().all(|(key, _)| *key != added) {
            new.push((added, item));
        }
    }
    Ok(new)
}

fn apply_take(step: &mut Step<'_>, slot: &SlotId, kind: SlotKind, take: &TakeId) -> Applied {
    let take_key = Key::take(slot, kind, take);
    let row = match step.get::<TakeRow>(&take_key)? {
        Some(row) => row,
        None => {
            let Some(mut slot_row) = step.get::<SlotRow>(&Key::slot(slot, kind))? else {
                return Ok(Err(Refusal::Unknown));
            };
            let mut item = None;
            if slot_row.items_from < slot_row.items_to {
                let item_key = Key::item(slot, kind, slot_row.items_from);
                item = Some(step.get::<VLBytes>(&item_key)?.ok_or(StoreError::Foreign)?);
                step.delete(item_key);
                slot_row.items_from += 1;
                step.put(Key::slot(slot, kind), &slot_row);
            }
            let row = TakeRow { version: slot_row.version, item };
            step.put(take_key.clone(), &row);
            step.put_due(step.now_ms + TAKE_KEPT_MS, &take_key);
            row
        }
    };
    let body: VLBytes = step.get(&Key::body(slot, kind, row.version))?.ok_or(StoreError::Foreign)?;
    Ok(Ok(Reply::Taken(Taken { version: row.version, body, item: row.item })))
}

/// Handles a bounded number of things that are due: payloads become stubs, other rows go.
fn sweep(step: &mut Step<'_>) -> Applied {
    for due in step.rows.due(step.now_ms, SWEEP_ROWS_MAX)? {
        let (_, key) = Key::split_due(due.as_bytes()).ok_or(StoreError::Foreign)?;
        if key.as_bytes().first() == Some(&(Table::Entry as u8)) {
            // An entry that is gone was acknowledged before its time.
            if let Some(mut row) = step.get::<EntryRow>(&key)? {
                row.entry.content = EntryContent::Stub(row.entry.leaf().payload);
                step.put(key, &row);
            }
        } else {
            step.delete(key);
        }
        step.delete(due);
    }
    Ok(Ok(Reply::Done))
}

/// What stands under a key that only has to be there.
const ADDED: u8 = 1;
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// Milliseconds for which a take gets the same answer.
const TAKE_KEPT_MS: u64 = 600_000;
/// Milliseconds after which a full slot may have room again: others take items, nothing else frees them.
const SLOT_FULL_RETRY_MS: u32 = 3_600_000;
/// Things that one sweep handles, so that no commit becomes long.
const SWEEP_ROWS_MAX: usize = 256;
