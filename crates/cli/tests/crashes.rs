//! kill -9 of the relay and of clients at random moments, under load: nothing acknowledged is lost, nothing is shown twice,
//! the order is one for all.
//!
//! `UNDERTONE_CRASH_ROUNDS` and `UNDERTONE_SEED` choose how many rounds, and which.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use undertone_cli::demo::stage::Stage;

const PROGRAM: &str = env!("CARGO_BIN_EXE_undertone");
const PEOPLE: [&str; 3] = ["Ann", "Bob", "Cyd"];

/// SplitMix64: a seed says all.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pause(&mut self, stage: &mut Stage, bound_ms: u64) {
        stage.pause(Duration::from_millis(self.below(bound_ms)));
    }
}

fn chosen(name: &str, default: impl FnOnce() -> u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or_else(default)
}

fn seed() -> u64 {
    let seed = chosen("UNDERTONE_SEED", || {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64
    });
    println!("UNDERTONE_SEED={seed}");
    seed
}

/// Three people who know each other, in a group.
fn gathered(dir: &Path) -> Stage {
    let mut stage = Stage::new(Path::new(PROGRAM), dir);
    stage.start_relay().unwrap();
    for who in PEOPLE {
        stage.start(who).unwrap();
    }
    for (from, to) in [("Ann", "Bob"), ("Bob", "Cyd"), ("Ann", "Cyd")] {
        let invitation = stage.command(to, "/invite").unwrap()["invitation"].as_str().unwrap().to_owned();
        let mark = stage.mark();
        stage.command(from, &format!("/add {invitation}")).unwrap();
        stage.wait_line(from, mark, "ready", |line| line["type"] == "ready").unwrap();
        // So that the other knows the name to answer to.
        stage.say(from, to, &format!("{from} greets {to}"), &[to.to_owned()]).unwrap();
        stage.settle().unwrap();
    }
    let mark = stage.mark();
    stage.command("Ann", "/group Tea Bob Cyd").unwrap();
    for who in ["Bob", "Cyd"] {
        stage.wait_line(who, mark, "the group", |line| line["type"] == "ready" && line["group"] == true).unwrap();
    }
    stage
}

/// Everybody says something to the group and to one other, without waiting.
fn load(stage: &mut Stage, round: u64, dice: &mut Dice) {
    let everybody = PEOPLE.map(String::from);
    for (index, who) in PEOPLE.into_iter().enumerate() {
        if !stage.is_present(who) {
            continue;
        }
        for number in 0..=dice.below(3) {
            let text = format!("round {round}: {number} of {who} to all");
            stage.say(who, "Tea", &text, &everybody).unwrap();
        }
        let peer = PEOPLE[(index + 1 + dice.below(2) as usize) % 3];
        stage.say(who, peer, &format!("round {round}: {who} to {peer}"), &[peer.to_owned()]).unwrap();
    }
}

fn crash_client(stage: &mut Stage, who: &str, dice: &mut Dice) {
    stage.kill(who);
    // Sometimes it is killed again while it comes up.
    while dice.below(4) == 0 {
        stage.start_at_once(who).unwrap();
        dice.pause(stage, 200);
        stage.kill(who);
    }
}

/// Says where the messages are that have not arrived.
fn explain(stage: &mut Stage) {
    for (who, text) in stage.ledger.missing() {
        let histories: Vec<String> = PEOPLE
            .iter()
            .flat_map(|owner| PEOPLE.iter().chain(["Tea"].iter()).map(move |name| (*owner, *name)))
            .filter(|(owner, name)| owner != name)
            .filter_map(|(owner, name)| {
                let history = stage.history(owner, name).ok()?;
                let found = history["messages"].as_array()?.iter().find(|line| line["text"] == *text)?.clone();
                Some(format!("{owner} in {name}: {} {}", found["place"], found["status"]))
            })
            .collect();
        println!("{who} misses {text:?}; {histories:?}");
    }
    for line in stage.heard.iter().rev().take(400).rev() {
        let Some(value) = &line.value else { continue };
        if !["message", "sent", "delivered", "reply", "read"].contains(&value["type"].as_str().unwrap_or_default()) {
            println!("{}: {value}", line.who);
        }
    }
}

#[test]
fn kill_9_at_random_moments_loses_repeats_and_reorders_nothing() {
    let rounds = chosen("UNDERTONE_CRASH_ROUNDS", || 50);
    let dice = &mut Dice(seed());
    let dir = tempfile::tempdir().unwrap();
    let stage = &mut gathered(dir.path());
    for round in 0..rounds {
        load(stage, round, dice);
        dice.pause(stage, 60);
        let victims = dice.below(4);
        if victims != 0 {
            crash_client(stage, PEOPLE[dice.below(3) as usize], dice);
        }
        if victims != 1 {
            stage.kill_relay();
            if dice.below(2) == 0 {
                load(stage, 1_000 + round, dice);
            }
            stage.start_relay().unwrap();
        }
        for who in PEOPLE {
            if !stage.is_present(who) {
                stage.start(who).unwrap();
            }
        }
    }
    if let Err(failure) = stage.settle() {
        explain(stage);
        panic!("{failure}");
    }
    for who in PEOPLE {
        for conversation in PEOPLE.into_iter().chain(["Tea"]).filter(|name| *name != who) {
            let history = stage.history(who, conversation).unwrap();
            let messages = history["messages"].as_array().unwrap().clone();
            stage.ledger.compare_history(who, &messages);
        }
    }
    let table = stage.ledger.table();
    println!("{rounds} rounds: {table:?}");
    assert_eq!((table.lost, table.duplicates, table.out_of_order), (0, 0, 0));
    assert_eq!((table.leaked, table.refused, table.unreadable), (0, 0, 0));
    assert!(table.sent as u64 >= rounds * 6, "there was load");
    stage.close();
}

#[test]
fn a_first_start_that_is_killed_at_any_moment_can_be_begun_again() {
    let dice = &mut Dice(seed());
    let dir = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(Path::new(PROGRAM), dir.path());
    stage.start_relay().unwrap();
    for number in 0..10 {
        let who = format!("Person{number}");
        stage.start_at_once(&who).unwrap();
        dice.pause(&mut stage, 120);
        stage.kill(&who);
        stage.start(&who).unwrap();
        let account = stage.command(&who, "/me").unwrap()["account"].clone();
        stage.kill(&who);
        stage.start(&who).unwrap();
        assert_eq!(stage.command(&who, "/me").unwrap()["account"], account);
        stage.stop(&who);
    }
    stage.close();
}
