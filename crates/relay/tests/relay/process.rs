//! The real program: its arguments, its signals, and `kill -9` under load.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::tempdir;
use tokio::time::timeout;
use undertone_wire::chain;
use undertone_wire::frame::*;
use undertone_wire::id::*;

use crate::peer::*;

const PROGRAM: &str = env!("CARGO_BIN_EXE_undertone-relay");

/// The program, killed when dropped.
struct Program {
    child: Child,
    url: String,
}

impl Program {
    fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(url) = line.trim_end().strip_prefix("listening on ") else {
            let mut log = String::new();
            child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
            panic!("it does not start: {line}{log}")
        };
        assert!(url.starts_with("ws://127.0.0.1:") && url.ends_with("/v1/ws"), "{url}");
        Self { url: url.to_owned(), child }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn output(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn it_explains_itself_and_its_configuration() {
    let (ok, help, _) = output(&["--help"]);
    assert!(ok);
    for argument in ["--config", "--listen", "--data", "--print-config", "--log"] {
        assert!(help.contains(argument), "{argument}");
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/relay.toml");
    let (ok, from_example, error) = output(&["--config", example, "--print-config"]);
    assert!(ok, "{error}");
    let (_, defaults, _) = output(&["--print-config"]);
    assert_eq!(from_example, defaults, "the example shows the defaults");

    let file = tempdir().unwrap();
    let path = file.path().join("relay.toml");
    std::fs::write(&path, "listen = \"127.0.0.1:9\"\nlisten_on = 3\n").unwrap();
    let (ok, _, error) = output(&["--config", path.to_str().unwrap(), "--print-config"]);
    assert!(!ok && error.contains("listen_on"), "{error}");
    let (ok, _, error) = output(&["--config", "/nowhere/relay.toml"]);
    assert!(!ok && error.contains("/nowhere/relay.toml"), "{error}");
}

// spec RELAY-06
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_used_store_is_a_clear_failure() {
    let data = tempdir().unwrap();
    let running = Program::start(data.path(), &[]);
    let mut peer = Peer::connect(&running.url).await;
    assert_eq!(peer.ask(Room::new(1).create()).await, Reply::Done);
    let arguments = ["--listen", "127.0.0.1:0", "--data", data.path().to_str().unwrap()];
    let (ok, out, error) = output(&arguments);
    assert!(!ok && out.is_empty() && error.contains("another relay uses the data directory"), "{error}");
    running.kill();

    let journal = data.path().join("db/0.jnl");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&journal, &bytes).unwrap();
    let (ok, out, error) = output(&arguments);
    assert!(!ok && out.is_empty() && error.contains("0.jnl is damaged at byte 0"), "{error}");
}

// spec RELAY-65
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_and_ends_it_with_success() {
    let data = tempdir().unwrap();
    let mut program = Program::start(data.path(), &[]);
    let mut peer = Peer::connect(&program.url).await;
    let pid = program.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(matches!(peer.pushed().await, RelayFrame::Draining { .. }));
    assert_eq!(peer.frame().await, None);
    let status = timeout(Duration::from_secs(10), tokio::task::spawn_blocking(move || program.child.wait().unwrap()));
    assert!(status.await.unwrap().unwrap().success());
}

// spec RELAY-01, RELAY-06; A-FA-14. Small memory tables, so that flushes and journal changes are hit as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_under_load_it_loses_nothing_it_acknowledged() {
    const WRITERS: u64 = 4;
    let rounds = std::env::var("RELAY_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8_u64);
    let data = tempdir().unwrap();
    let config = data.path().join("relay.toml");
    std::fs::write(&config, "[memory]\nmemtable_mib = 1\n[limits]\nrequests_burst = 100000\n").unwrap();
    let arguments = ["--config", config.to_str().unwrap(), "--log", "warn"];
    let store = data.path().join("store");
    let room = Room::new(1);
    // What every writer was told: where each id stands, and with which payload.
    let mut acked: BTreeMap<EntryId, Place> = BTreeMap::new();

    for round in 0..rounds {
        let program = Program::start(&store, &arguments);
        let mut peer = Peer::connect(&program.url).await;
        assert_eq!(peer.ask(room.create()).await, Reply::Done);
        peer.enter(&room, 0).await;
        verify(&mut peer, &room, &acked).await;

        let mut writing = Vec::new();
        for writer in 0..WRITERS {
            let mut peer = Peer::connect(&program.url).await;
            peer.enter(&room, 0).await;
            let first = (round * WRITERS + writer) << 32;
            writing.push(tokio::spawn(async move { write_until_it_dies(&mut peer, room, first).await }));
        }
        tokio::time::sleep(Duration::from_millis(60 + round * 97 % 700)).await;
        program.kill();
        for task in writing {
            acked.extend(task.await.unwrap());
        }
    }
    let program = Program::start(&store, &arguments);
    let mut peer = Peer::connect(&program.url).await;
    peer.enter(&room, 0).await;
    verify(&mut peer, &room, &acked).await;
    assert!(acked.len() as u64 > rounds * WRITERS, "there was load: {}", acked.len());
}

async fn write_until_it_dies(peer: &mut Peer, room: Room, first: u64) -> Vec<(EntryId, Place)> {
    let mut acked = Vec::new();
    let (mut sent, mut answered) = (first, first);
    loop {
        while sent < answered + 8 {
            let large = NewEntry { payload: vec![sent as u8; 3_000].into(), ..entry(sent) };
            if !peer.try_send_request(room.append(0, vec![large])).await {
                return acked;
            }
            sent += 1;
        }
        match peer.frame().await {
            Some(RelayFrame::Reply { reply, .. }) => {
                acked.push((entry_id(answered), places(reply)[0]));
                answered += 1;
            }
            Some(other) => panic!("not {other:?}"),
            None => return acked,
        }
    }
}

/// Reads the whole log: contiguous, each id once, everything acknowledged where it was said to be.
async fn verify(peer: &mut Peer, room: &Room, acked: &BTreeMap<EntryId, Place>) {
    let mut stored = BTreeMap::new();
    let (mut next, mut head) = (Seq::FIRST, chain::EMPTY);
    loop {
        let Reply::Page { entries } = peer.ask(Request::Read { log: room.log, from: next, limit: 64 }).await else {
            panic!("a page")
        };
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            assert_eq!(entry.seq, next, "contiguous");
            next = entry.seq.next();
            head = entry.leaf().extend(&head);
            assert!(stored.insert(entry.id, (entry.seq, entry.leaf().payload)).is_none(), "each id once");
        }
    }
    for (id, place) in acked {
        assert_eq!(stored.get(id), Some(&(place.seq, place.payload)), "acknowledged, and not there");
    }
}
