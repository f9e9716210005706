#![no_main]
//! A linking passes over what nobody sealed for it, and goes on with what was.

use libfuzzer_sys::fuzz_target;
use undertone::identity::RelayUrl;
use undertone::identity::linking::{Mailbox, NewOffering, OldOpened, Round};
use undertone::time::UnixMs;
use undertone_fuzz::Counting;
use undertone_wire::id::{InboxToken, LogId, ServerId};

fuzz_target!(|data: &[u8]| {
    let (now, server, rng) = (UnixMs::from_u64(1), ServerId::from_bytes([7; 32]), &mut Counting(1));
    let mailbox = Mailbox { inbox: LogId::from_bytes([1; 32]), token: InboxToken::from_bytes([2; 32]) };
    let relay = RelayUrl::new("ws://relay.example/").expect("an address");
    let new = NewOffering::new(mailbox, server, relay, now, rng);
    let (old, opening) = OldOpened::open(new.offer(), mailbox, &server, now, rng).expect("a good offer");
    let Ok(Round::Ignored(new)) = new.hear(data, now, rng) else { panic!("a forged opening") };
    let Ok(Round::Ignored(old)) = old.hear(data, now) else { panic!("a forged answer") };
    let Ok(Round::Next((new, answer))) = new.hear(&opening, now, rng) else { panic!("the opening") };
    let Ok(Round::Next((old, reveal))) = old.hear(&answer, now) else { panic!("the answer") };
    let Ok(Round::Ignored(new)) = new.hear(data, now) else { panic!("a forged reveal") };
    let Ok(Round::Next(new)) = new.hear(&reveal, now) else { panic!("the reveal") };
    let (old, new) = (old.hear(data, now).expect("goes on"), new.hear(data, now).expect("goes on"));
    assert_eq!(new.code(), old.code());
});
