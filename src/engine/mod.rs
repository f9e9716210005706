//! The client as a state machine: inputs in, outputs out, no I/O, no clock, no randomness of its own.
//!
//! ```text
//!           handle(input, now, rng)                    poll()
//!  driver ────────────────────────▶  Client  ─────────────────────────▶  Persist(step, batch)   commit it, then say so
//!                                                                         Transmit(bytes)        send it to the relay
//!                                                                         Event / Signal         tell the app
//!                                                                         Timer(at)              call handle(Timer) then
//! ```
//!
//! Every call is one step. A step reads through an overlay of what is not durable yet and yields at most one batch; what
//! it wants to transmit or to tell is held until `Input::Persisted` says that its batch, and all before it, are durable.
//! So no key is used on the wire before its use is on the disk, and no event is told that a crash could take back.
//!
//! | file | noun |
//! |---|---|
//! | `step` | one step: transaction, clock, randomness, outputs |
//! | `link` | the connection: what is proven, subscribed, in flight; frames in, requests out |
//! | `receive` | entries of logs and of the inbox |
//! | `outbox` | what is to be appended: sealing, retrying, placing |
//! | `lookup` | learning the keys of accounts and devices, Welcomes |
//! | `linking`, `joining`, `postbox` | linking a device: the one that has the account key, the new one, and what lies between |
//! | `devices` | the devices of our account, and what follows when they change |
//! | `roster` | who a direct log is addressed to |
//! | `direct` | direct parcels, for all devices of both accounts |
//! | `introduce` | how a device comes to a direct log |
//! | `history`, `giving`, `taking` | handing the history to another device of our account: both sides |
//! | `shelf` | our own slots in the directory |
//! | `trust` | whether a person has made sure of an account, and what is held because its keys are in doubt |
//! | `query` | what an app reads |
//! | `rows`, `event` | what is stored and told |

mod client;
mod devices;
mod direct;
mod event;
mod giving;
mod history;
mod introduce;
mod joining;
mod link;
mod linking;
mod lookup;
mod mend;
mod note;
mod order;
mod outbox;
mod postbox;
mod query;
mod receive;
mod roster;
mod rows;
mod shelf;
mod step;
mod taking;
mod trust;
mod upkeep;

pub use client::{Client, Input, Output, StepId};
pub use event::{Event, EventId, Failure, HeldBecause, HistoryFailure, Reason, Recovery, Signal, Suspicion};
pub use history::{HistoryDirection, HistoryTransfer};
pub use joining::Joining;
