//! `undertone chat` as real processes, over standard input and output: two people, a group of three, restarts in between.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;
use undertone_cli::demo::stage::Stage;

const PROGRAM: &str = env!("CARGO_BIN_EXE_undertone");

fn stage(dir: &Path) -> Stage {
    let mut stage = Stage::new(Path::new(PROGRAM), dir);
    stage.start_relay().unwrap();
    stage
}

/// `from` takes the invitation of `to`, and waits until its keys are right.
fn introduce(stage: &mut Stage, from: &str, to: &str) {
    let invitation = stage.command(to, "/invite").unwrap()["invitation"].as_str().unwrap().to_owned();
    let mark = stage.mark();
    stage.command(from, &format!("/add {invitation}")).unwrap();
    stage.wait_line(from, mark, "ready", |line| line["type"] == "ready").unwrap();
}

/// Everybody else in `members` sees `text` of `by`.
fn say(stage: &mut Stage, by: &str, conversation: &str, text: &str, members: &[&str]) {
    let members: Vec<String> = members.iter().map(|who| (*who).to_owned()).collect();
    stage.say(by, conversation, text, &members).unwrap();
    stage.settle().unwrap();
}

fn texts(history: &Value) -> Vec<String> {
    let messages = history["messages"].as_array().unwrap().iter();
    messages.filter_map(|message| Some(message["text"].as_str()?.to_owned())).collect()
}

fn status(history: &Value, text: &str) -> String {
    let messages = history["messages"].as_array().unwrap();
    let message = messages.iter().find(|message| message["text"] == *text).unwrap();
    message["status"].as_str().unwrap().to_owned()
}

#[test]
fn two_people_talk_quit_and_find_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = stage(dir.path());
    for who in ["Ann", "Bob"] {
        stage.start(who).unwrap();
    }
    introduce(&mut stage, "Ann", "Bob");
    say(&mut stage, "Ann", "Bob", "Hello Bob", &["Bob"]);
    say(&mut stage, "Bob", "Ann", "Hello Ann", &["Ann"]);

    let numbers = [("Ann", "/safety Bob"), ("Bob", "/safety Ann")]
        .map(|(who, line)| stage.command(who, line).unwrap()["number"].as_str().unwrap().to_owned());
    assert_eq!(numbers[0], numbers[1]);
    assert_eq!(numbers[0].chars().filter(char::is_ascii_digit).count(), 60);
    assert_eq!(stage.command("Ann", "/safety Bob").unwrap()["verification"], "unverified");
    stage.command("Ann", "/verify Bob").unwrap();
    assert_eq!(stage.command("Ann", "/safety Bob").unwrap()["verification"], "verified");

    let mark = stage.mark();
    stage.command("Bob", "/typing").unwrap();
    stage.wait_line("Ann", mark, "typing", |line| line["type"] == "typing" && line["by"] == "Bob").unwrap();
    stage.command("Bob", "/read").unwrap();
    stage.wait_line("Ann", mark, "read", |line| line["type"] == "read" && line["by"] == "Bob").unwrap();
    let place = stage.history("Bob", "Ann").unwrap()["messages"][0]["place"].as_u64().unwrap();
    stage.command("Bob", &format!("/react {place} 👍")).unwrap();
    stage.wait_line("Ann", mark, "reaction", |line| line["reaction"] == "👍").unwrap();

    let before = [("Ann", "Bob"), ("Bob", "Ann")].map(|(who, peer)| stage.history(who, peer).unwrap());
    for who in ["Ann", "Bob"] {
        stage.stop(who);
    }
    for who in ["Ann", "Bob"] {
        stage.start(who).unwrap();
    }
    let after = [("Ann", "Bob"), ("Bob", "Ann")].map(|(who, peer)| stage.history(who, peer).unwrap());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(texts(after), ["Hello Bob", "Hello Ann"]);
        assert_eq!(texts(before), texts(after));
    }
    assert_eq!(status(&after[0], "Hello Bob"), "read");
    say(&mut stage, "Ann", "Bob", "Still me", &["Bob"]);
    assert!(stage.ledger.table().is_sound(), "{:?}", stage.ledger.table());
    stage.close();
}

/// A process with `--link`: its lines out, its commands in.
struct Joining {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Joining {
    fn start(stage: &mut Stage, who: &str, more: &[&str]) -> Self {
        let relay = stage.proxy(who).unwrap().url();
        let mut child = Command::new(PROGRAM)
            .args(["chat", "--link", "--json", "--relay", &relay, "--home"])
            .arg(stage.home(who))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next object of a type; those before it are passed over.
    fn wait(&mut self, kind: &str) -> Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it ended before {kind}");
            let object: Value = serde_json::from_str(&line).unwrap();
            if object["type"] == kind {
                return object;
            }
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn end(mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().success()
    }
}

// spec ID-74
#[test]
fn a_second_device_is_linked_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = stage(dir.path());
    stage.start("Ann").unwrap();
    let mut laptop = Joining::start(&mut stage, "laptop", &[]);
    let offer = laptop.wait("link_offer")["offer"].as_str().unwrap().to_owned();
    laptop.say("hello?");
    assert_eq!(laptop.wait("error")["code"], 9);
    let mark = stage.mark();
    stage.command("Ann", &format!("/link {offer}")).unwrap();
    let code = stage.wait_line("Ann", mark, "the digits", |line| line["type"] == "link_code").unwrap();
    assert_eq!(laptop.wait("link_code")["code"], code["code"]);
    assert_eq!(code["code"].as_str().unwrap().len(), 7);
    laptop.say("/confirm-link");
    assert_eq!(laptop.wait("reply")["command"], "confirm-link");
    stage.command("Ann", "/confirm-link").unwrap();
    let linked = stage.wait_line("Ann", mark, "the device", |line| line["type"] == "device_linked").unwrap();
    let hello = laptop.wait("hello");
    assert_eq!((&hello["name"], &hello["new"]), (&Value::from("Ann"), &Value::from(true)));
    assert_eq!(hello["device"], linked["device"]);
    laptop.wait("caught_up");
    laptop.say("/devices");
    let of_laptop = laptop.wait("reply")["devices"].as_array().unwrap().clone();
    let of_ann = stage.command("Ann", "/devices").unwrap()["devices"].as_array().unwrap().clone();
    let ids = |devices: &[Value]| devices.iter().map(|device| device["device"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&of_laptop), ids(&of_ann));
    assert_eq!(of_ann.len(), 2);
    assert_eq!((&of_ann[0]["this"], &of_ann[0]["primary"]), (&Value::from(true), &Value::from(true)));
    assert_eq!((&of_laptop[0]["this"], &of_laptop[1]["primary"]), (&Value::from(false), &Value::from(false)));

    let mark = stage.mark();
    let id = linked["device"].as_str().unwrap();
    assert!(stage.command("Ann", "/remove-device #ffffffffff").is_err());
    stage.command("Ann", &format!("/remove-device #{}", &id[..10])).unwrap();
    stage
        .wait_line("Ann", mark, "the removal", |line| line["type"] == "device_removed" && line["device"] == id)
        .unwrap();
    assert_eq!(stage.command("Ann", "/devices").unwrap()["devices"].as_array().unwrap().len(), 1);
    assert!(laptop.end());
    stage.close();
}

// OS-03, spec HIST-01
#[test]
fn a_linked_device_gets_what_was_said_before_when_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = stage(dir.path());
    for who in ["Ann", "Bob"] {
        stage.start(who).unwrap();
    }
    introduce(&mut stage, "Ann", "Bob");
    for number in 0..3 {
        say(&mut stage, "Ann", "Bob", &format!("question {number}"), &["Bob"]);
        say(&mut stage, "Bob", "Ann", &format!("answer {number}"), &["Ann"]);
    }
    let mut laptop = Joining::start(&mut stage, "laptop", &[]);
    let offer = laptop.wait("link_offer")["offer"].as_str().unwrap().to_owned();
    let mark = stage.mark();
    stage.command("Ann", &format!("/link {offer}")).unwrap();
    laptop.wait("link_code");
    laptop.say("/confirm-link");
    stage.wait_line("Ann", mark, "the digits", |line| line["type"] == "link_code").unwrap();
    stage.command("Ann", "/confirm-link").unwrap();
    let linked = stage.wait_line("Ann", mark, "the device", |line| line["type"] == "device_linked").unwrap();
    let id = linked["device"].as_str().unwrap().to_owned();
    laptop.wait("ready");

    assert!(stage.command("Ann", "/send-history #ffffffffff").is_err());
    assert!(stage.command("Ann", &format!("/cancel-history #{}", &id[..10])).is_err());
    stage.command("Ann", &format!("/send-history #{}", &id[..10])).unwrap();
    let sent = |line: &Value| line["type"] == "history_sent" && line["device"] == *id;
    assert_eq!(stage.wait_line("Ann", mark, "the history", sent).unwrap()["count"], 6);
    let progress = laptop.wait("history_progress");
    assert_eq!(progress["total"], 6);
    let complete = laptop.wait("history_complete");
    assert_eq!((&complete["count"], &complete["device"]), (&Value::from(6), &progress["device"]));
    laptop.say("/to Bob");
    assert_eq!(laptop.wait("reply")["name"], "Bob");
    laptop.say("/history");
    assert_eq!(texts(&laptop.wait("reply")), texts(&stage.history("Ann", "Bob").unwrap()));
    assert!(laptop.end());
    stage.close();
}

#[test]
fn a_link_that_is_cancelled_leaves_no_account() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = stage(dir.path());
    stage.start("Ann").unwrap();
    let mut laptop = Joining::start(&mut stage, "laptop", &[]);
    let offer = laptop.wait("link_offer")["offer"].as_str().unwrap().to_owned();
    let mark = stage.mark();
    stage.command("Ann", &format!("/link {offer}")).unwrap();
    laptop.wait("link_code");
    laptop.say("/cancel-link");
    stage
        .wait_line("Ann", mark, "the end", |line| line["type"] == "link_ended" && line["reason"] == "declined")
        .unwrap();
    assert!(laptop.end());
    assert_eq!(stage.command("Ann", "/devices").unwrap()["devices"].as_array().unwrap().len(), 1);
    // The home is as empty as before: another try is a new device.
    let mut again = Joining::start(&mut stage, "laptop", &[]);
    assert_ne!(again.wait("link_offer")["offer"].as_str().unwrap(), offer);
    assert!(again.end());
    // A home with an account joins no other.
    stage.stop("Ann");
    let relay = stage.proxy("Ann").unwrap().url();
    let refused = Command::new(PROGRAM)
        .args(["chat", "--link", "--relay", &relay, "--home"])
        .arg(stage.home("Ann"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("already"), "{refused:?}");
    stage.close();
}

#[test]
fn a_group_of_three_grows_shrinks_and_survives_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = stage(dir.path());
    for who in ["Ann", "Bob", "Cyd"] {
        stage.start(who).unwrap();
    }
    introduce(&mut stage, "Ann", "Bob");
    introduce(&mut stage, "Ann", "Cyd");
    let mark = stage.mark();
    let group = stage.command("Ann", "/group Tea Bob").unwrap()["conversation"].clone();
    let in_group = |kind: &'static str| {
        let group = group.clone();
        move |line: &Value| line["type"] == kind && line["conversation"] == group
    };
    stage.wait_line("Bob", mark, "the group", in_group("ready")).unwrap();
    say(&mut stage, "Ann", "Tea", "before Cyd", &["Ann", "Bob"]);

    let mark = stage.mark();
    stage.command_in("Ann", "Tea", "/invite-to Tea Cyd").unwrap();
    stage.wait_line("Cyd", mark, "the group", in_group("ready")).unwrap();
    stage.wait_line("Bob", mark, "the change", in_group("group_changed")).unwrap();
    let three = ["Ann", "Bob", "Cyd"];
    for who in three {
        say(&mut stage, who, "Tea", &format!("{who} among three"), &three);
    }
    let mark = stage.mark();
    stage.command_in("Ann", "Tea", "/rename Cocoa").unwrap();
    for who in ["Bob", "Cyd"] {
        stage.wait_line(who, mark, "the name", |line| line["new_name"] == "Cocoa").unwrap();
    }

    for who in three {
        stage.stop(who);
    }
    stage.kill_relay();
    stage.start_relay().unwrap();
    for who in three {
        stage.start(who).unwrap();
    }
    for who in three {
        say(&mut stage, who, "Cocoa", &format!("{who} is back"), &three);
    }
    let mark = stage.mark();
    stage.command_in("Ann", "Cocoa", "/kick Cyd").unwrap();
    stage.wait_line("Cyd", mark, "the end", in_group("removed")).unwrap();
    stage.wait_line("Bob", mark, "the change", in_group("group_changed")).unwrap();
    say(&mut stage, "Bob", "Cocoa", "after Cyd", &["Ann", "Bob"]);
    let refused = stage.command_in("Cyd", "Cocoa", "let me in");
    assert!(refused.is_err(), "who was removed cannot send");

    let all = |who: &str, stage: &mut Stage| -> BTreeSet<String> {
        texts(&stage.history(who, "Cocoa").unwrap()).into_iter().collect()
    };
    let (ann, bob, cyd) = (all("Ann", &mut stage), all("Bob", &mut stage), all("Cyd", &mut stage));
    assert_eq!(ann.len(), 8);
    assert_eq!(ann, bob);
    let only_others: Vec<&String> = ann.difference(&cyd).collect();
    assert_eq!(only_others, ["after Cyd", "before Cyd"]);

    let mark = stage.mark();
    stage.command_in("Bob", "Cocoa", "/leave").unwrap();
    stage.wait_line("Bob", mark, "the end", |line| line["type"] == "removed" && line["left"] == true).unwrap();
    stage.wait_line("Ann", mark, "the change", in_group("group_changed")).unwrap();
    assert!(stage.ledger.table().is_sound(), "{:?}", stage.ledger.table());
    stage.close();
}

#[test]
fn who_is_away_gets_everything_later_and_the_sender_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = stage(dir.path());
    stage.start("Bob").unwrap();
    let invitation = stage.command("Bob", "/invite").unwrap()["invitation"].as_str().unwrap().to_owned();
    stage.stop("Bob");
    stage.start("Ann").unwrap();
    stage.command("Ann", &format!("/add {invitation}")).unwrap();
    let mark = stage.mark();
    for number in 0..5 {
        say(&mut stage, "Ann", "Bob", &format!("number {number}"), &["Bob"]);
    }
    stage.wait_line("Ann", mark, "sent", |line| line["type"] == "sent" && line["place"] == 5).unwrap();
    assert_eq!(status(&stage.history("Ann", "Bob").unwrap(), "number 0"), "sent");
    let mark = stage.mark();
    stage.start("Bob").unwrap();
    stage.settle().unwrap();
    let through = |line: &Value| line["type"] == "delivered" && line["by"] == "Bob";
    stage.wait_line("Ann", mark, "delivered", through).unwrap();
    let is_delivered = |stage: &mut Stage| status(&stage.history("Ann", "Bob").unwrap(), "number 4") == "delivered";
    assert!(is_delivered(&mut stage));
    assert!(stage.ledger.table().is_sound());
    stage.close();
}

#[test]
fn what_is_misused_is_an_error_that_helps_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = stage(dir.path());
    stage.start("Ann").unwrap();
    let own = stage.command("Ann", "/invite").unwrap()["invitation"].as_str().unwrap().to_owned();
    let broken = own.replace("undertone1a", "undertone1b");
    for line in [
        "nobody hears this".to_owned(),
        "/nonsense".to_owned(),
        "/to Nobody".to_owned(),
        "/add nothing".to_owned(),
        format!("/add {own}"),
        format!("/add {broken}"),
        "/kick Nobody".to_owned(),
        "/react 1 👍".to_owned(),
        "/safety Nobody".to_owned(),
        "/group \"\"".to_owned(),
    ] {
        assert!(stage.command("Ann", &line).is_err(), "{line}");
    }
    assert_eq!(stage.command("Ann", "/list").unwrap()["conversations"], serde_json::json!([]));
    stage.close();
}

fn talk(home: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(PROGRAM)
        .args(["chat", "--relay", "ws://127.0.0.1:9/v1/ws", "--home"])
        .arg(home)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A process that refuses to start closes its input at once.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn a_person_without_a_relay_has_an_identity_an_invitation_and_a_history() {
    let dir = tempfile::tempdir().unwrap();
    let (ann, bob) = (dir.path().join("ann"), dir.path().join("bob"));
    let output = talk(&bob, &["--name", "Bob"], "/invite\n");
    let text = String::from_utf8(output.stdout).unwrap();
    let invitation = text.lines().find(|line| line.trim().starts_with("undertone1")).unwrap().trim().to_owned();
    let output = talk(&ann, &["--name", "Ann"], &format!("/add {invitation}\nhello from afar\n/me\n/help\n/what\n"));
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in ["Hello Ann", "→ Bob", "account ", "/invite-to", "no command /what", "1 of your messages"] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
    let text = String::from_utf8(talk(&ann, &[], "/history\n/list\n/quit\nnever read\n").stdout).unwrap();
    assert!(text.contains("Ann: hello from afar  (not sent yet)"), "{text}");
    assert!(text.contains("(1 not sent yet)") && !text.contains("never read"), "{text}");
}

#[test]
fn what_stands_behind_the_end_of_a_long_line_is_no_command() {
    let dir = tempfile::tempdir().unwrap();
    let input = format!("{}/quit\n/me\n", "z".repeat(1 << 17));
    let output = talk(dir.path(), &["--name", "Ann", "--json"], &input);
    let text = String::from_utf8(output.stdout).unwrap();
    let answers = text.lines().filter(|line| line.contains("\"error\"") || line.contains("\"reply\""));
    assert_eq!(answers.count(), 2, "one for each line: {text}");
}

#[test]
fn an_identity_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let output = talk(&home, &[], "");
    assert_eq!(output.status.code(), Some(1), "the first start needs a name");
    let account = |output: Output| {
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find(|line| line.contains("account ")).map(str::to_owned)
    };
    let first = account(talk(&home, &["--name", "Ann"], "/me\n")).unwrap();
    assert_eq!(account(talk(&home, &["--name", "Somebody"], "/me\n")), Some(first.clone()), "the name changes nothing");
    let key = std::fs::read(home.join("store.key")).unwrap();
    std::fs::remove_file(home.join("store.key")).unwrap();
    let output = talk(&home, &["--name", "Ann"], "/me\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("its key"), "it says what is missing");
    std::fs::write(home.join("store.key"), key).unwrap();
    let mut permissions = std::fs::metadata(home.join("store.key")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(home.join("store.key"), permissions).unwrap();
    assert_eq!(account(talk(&home, &[], "/me\n")), Some(first));
}
