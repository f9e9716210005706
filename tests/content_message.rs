//! Messages, states and typing: the MIMI examples, what a message does, its text, its bounds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use undertone::content::message::{TEXT_MARKDOWN, TEXT_PLAIN, TOPIC_LEN_MAX};
use undertone::content::{
    Body, CONTENT_LEN_MAX, Content, ContentError, Disposition, Expiry, External, Intent, MessageId, MessageStatus,
    Part, Salt, ScanError, Semantics, Status, StatusList, TopicId, Typing, TypingCounter, TypingState, Value,
};
use undertone::conversation::ConversationId;
use undertone::identity::AccountId;

const TARGET: MessageId = MessageId::from_bytes([1; 32]);

// spec ENV-58, spec ENV-61
#[test]
fn the_mimi_examples_decode_and_encode_to_the_same_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/mimi-content");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("skipped: {} is missing", folder.display());
        return;
    };
    let mut count = 0;
    for path in files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|ext| ext == "cbor"))
    {
        let bytes = std::fs::read(&path).unwrap();
        // The implied header of the examples is no content: it begins with an id where a salt stands.
        if path.file_stem().unwrap() == "implied-original" {
            assert_eq!(Content::decode(&bytes), field("salt"));
            continue;
        }
        let content = Content::decode(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(content.encode().as_deref(), Ok(&bytes[..]), "{}", path.display());
        assert!(!content.accessible_text().trim().is_empty(), "{}", path.display());
        count += 1;
    }
    assert_eq!(count, 14);
}

// spec ENV-58, spec ENV-62, spec ENV-63
#[test]
fn what_the_mimi_examples_do_is_understood() {
    // Example "reaction" of draft-ietf-mimi-content, without its extensions.
    let heart = hex(
        "8750d37bc0e6a8b4f04e9e6382375f587bf6f640f65820017ce54837404c3696e0c747b985cb172716d0ed0a3d249ca63ace7d82a096f4a0850260017818746578742f706c61696e3b636861727365743d7574662d3843e29da4",
    );
    let content = Content::decode(&heart).unwrap();
    assert!(matches!(content.intent(), Intent::Reaction { grapheme: "\u{2764}", .. }));
    assert_eq!(content.encode(), Ok(heart));
}

#[test]
fn what_we_send_is_what_we_meant() {
    let mut rng = rng();
    let text = Content::text("Hi", &mut rng).unwrap();
    assert_eq!((text.intent(), text.plain_text()), (Intent::Message, Some("Hi")));
    let edited = Content::markdown("*Hi*", &mut rng).unwrap().editing(TARGET).replying_to(TARGET);
    assert_eq!((edited.intent(), edited.plain_text()), (Intent::Edit { target: TARGET }, Some("*Hi*")));
    let deleted = Content::delete(TARGET, &mut rng);
    assert_eq!((deleted.intent(), deleted.plain_text()), (Intent::Delete { target: TARGET }, None));
    let reaction = Content::reaction(TARGET, "👍🏽", &mut rng).unwrap();
    assert_eq!(reaction.intent(), Intent::Reaction { target: TARGET, grapheme: "👍🏽" });
    let taken_back = Content::unreact(TARGET, MessageId::from_bytes([2; 32]), &mut rng);
    assert_eq!(taken_back.intent(), Intent::Unreact { target: TARGET });
    for content in [text, edited, deleted, reaction, taken_back] {
        assert_eq!(Content::decode(&content.encode().unwrap()), Ok(content));
    }
}

#[test]
fn equal_texts_have_different_bytes() {
    let mut rng = rng();
    let mut encoded = || Content::text("Hi", &mut rng).unwrap().encode().unwrap();
    assert_ne!(encoded(), encoded());
}

// spec ENV-57
#[test]
fn a_message_is_named_by_conversation_sender_and_received_bytes() {
    let (conversation, sender) = (ConversationId::from_bytes([1; 32]), AccountId::from_bytes([2; 32]));
    let id = MessageId::of(&conversation, &sender, b"bytes");
    let expected =
        undertone::crypto::label::hash(undertone::crypto::label::MESSAGE_ID, &[&[1; 32], &[2; 32], b"bytes"]);
    assert_eq!(id, MessageId::from_bytes(expected));
    assert_ne!(id, MessageId::of(&ConversationId::from_bytes([3; 32]), &sender, b"bytes"));
    assert_ne!(id, MessageId::of(&conversation, &AccountId::from_bytes([3; 32]), b"bytes"));
    assert_ne!(id, MessageId::of(&conversation, &sender, b"other"));
}

// Row EN-09, spec ENV-58
#[test]
fn what_a_later_release_knows_survives_unchanged() {
    let unknown =
        Body::Unknown { cardinality: 9, fields: vec![Value::Tag(60_000, Box::new(Value::Null)), Value::Bool(true)] };
    let later = Part { disposition: Disposition::from_u64(77), language: "de".into(), body: unknown };
    let known = Part::single(Disposition::RENDER, TEXT_PLAIN, b"fallback".to_vec());
    let semantics = Semantics::from_u64(55);
    let part = Part {
        disposition: Disposition::RENDER,
        language: String::new(),
        body: Body::Multi { semantics, parts: vec![later, known] },
    };
    let extensions = vec![
        (Value::integer(0x0a0a), Value::Array(vec![Value::Map(vec![])])),
        (Value::integer(-1), Value::Tag(2, Box::new(Value::Bytes(vec![1])))),
        (Value::Text("vendor".into()), Value::Text("x".into())),
    ];
    let content = Content { extensions, ..Content::of_part(part, &mut rng()) };
    let bytes = content.encode().unwrap();
    let decoded = Content::decode(&bytes).unwrap();
    assert_eq!((decoded.encode(), decoded.accessible_text()), (Ok(bytes), "fallback".to_owned()));
}

// spec ENV-59
#[test]
fn arrays_and_fields_of_another_shape_are_refused() {
    let fields = || -> [Value; 7] {
        let bytes = Content::text("Hi", &mut rng()).unwrap().encode().unwrap();
        let value = Value::decode(&bytes, undertone::content::scanner::CONTENT_DEPTH_MAX).unwrap();
        let Value::Array(fields) = value else { unreachable!() };
        fields.try_into().unwrap()
    };
    let with = |index: usize, value: Value| {
        let mut fields = fields();
        fields[index] = value;
        Content::decode(&Value::Array(fields.to_vec()).encode())
    };
    assert_eq!(Content::decode(&Value::Array(fields()[..6].to_vec()).encode()), field("content"));
    assert_eq!(Content::decode(&Value::Array([&fields()[..], &[Value::Null]].concat()).encode()), field("content"));
    assert_eq!(Content::decode(&[0]), field("content"));
    assert_eq!(with(0, Value::Bytes(vec![0; 15])), field("salt"));
    assert_eq!(with(0, Value::Null), field("salt"));
    for len in [0, 31, 33] {
        assert_eq!(with(1, Value::Bytes(vec![0; len])), field("replaces"));
        assert_eq!(with(4, Value::Bytes(vec![0; len])), field("in reply to"));
    }
    assert_eq!(with(2, Value::Null), field("topic id"));
    assert_eq!(with(2, Value::Bytes(vec![0; TOPIC_LEN_MAX + 1])), field("topic id"));
    let expires = |seconds| Value::Array(vec![Value::Bool(true), Value::Unsigned(seconds)]);
    assert!(with(3, expires(u32::MAX.into())).is_ok());
    for value in [Value::Unsigned(1), Value::Array(vec![]), expires(1 << 32)] {
        assert_eq!(with(3, value), field("expires"));
    }
    assert_eq!(with(5, Value::Array(vec![])), field("extensions"));
    assert_eq!(with(5, Value::Map(vec![(Value::Null, Value::Null)])), field("extensions"));
    let (one, empty) = (Value::Unsigned(1), Value::Text(String::new()));
    let parts = [
        Value::Null,
        Value::Array(vec![]),
        Value::Array(vec![one.clone(), empty.clone()]),
        Value::Array(vec![empty.clone(), empty.clone(), Value::Unsigned(0)]),
        Value::Array(vec![one.clone(), one.clone(), Value::Unsigned(0)]),
        Value::Array(vec![one.clone(), empty.clone(), Value::Unsigned(0), Value::Null]),
        Value::Array(vec![one.clone(), empty.clone(), one.clone(), empty.clone(), empty.clone()]),
        Value::Array(vec![one.clone(), empty.clone(), Value::Unsigned(2), empty.clone()]),
        Value::Array(vec![one.clone(), empty.clone(), Value::Unsigned(3), one.clone(), one.clone()]),
        Value::Array(vec![one, empty, Value::integer(-1)]),
    ];
    for part in parts {
        assert_eq!(with(6, part.clone()), field("part"), "{part:?}");
    }
}

// spec ENV-60, A-FL-05
#[test]
fn parts_are_bounded_in_number_and_depth() {
    let leaf = || Part::single(Disposition::RENDER, TEXT_PLAIN, b"x".to_vec());
    let multi = |parts| Part {
        disposition: Disposition::RENDER,
        language: String::new(),
        body: Body::Multi { semantics: Semantics::PROCESS_ALL, parts },
    };
    let encode = |part| Content::of_part(part, &mut rng()).encode().map(|_| ());
    assert_eq!(encode(multi((0..63).map(|_| leaf()).collect())), Ok(()));
    assert_eq!(encode(multi((0..64).map(|_| leaf()).collect())), Err(ContentError::TooManyParts));
    let deep = |levels: usize| (1..levels).fold(leaf(), |part, _| multi(vec![part]));
    assert_eq!(encode(deep(4)), Ok(()));
    assert_eq!(encode(deep(5)), Err(ContentError::Scan(ScanError::Depth)));
}

// spec ENV-50, spec ENV-64
#[test]
fn texts_are_neither_blank_nor_too_long() {
    for text in ["", " ", "\n\t"] {
        assert_eq!(Content::text(text, &mut rng()), field("part"));
    }
    assert_eq!(Content::text(&"x".repeat(CONTENT_LEN_MAX), &mut rng()), Err(ContentError::TooLong));
    assert!(Content::text(&"x".repeat(CONTENT_LEN_MAX - 100), &mut rng()).is_ok());
}

// spec ENV-62
#[test]
fn a_reaction_is_one_grapheme() {
    for grapheme in ["a", "❤", "❤️", "👍🏽", "👨‍👩‍👧‍👦", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🇩🇪", "é", "각"]
    {
        let reaction = Content::reaction(TARGET, grapheme, &mut rng()).unwrap();
        assert_eq!(reaction.intent(), Intent::Reaction { target: TARGET, grapheme });
    }
    let marks = "a".to_owned() + &"\u{301}".repeat(1 << 19);
    for other in ["", " ", "\n", "ab", "👍👍", "🇩🇪🇫🇷", "\0", &marks] {
        assert_eq!(Content::reaction(TARGET, other, &mut rng()), Err(ContentError::NotOneGrapheme));
    }
    // What another implementation sends instead is a message, and counts for nothing.
    let part = Part::single(Disposition::REACTION, TEXT_PLAIN, b"two words".to_vec());
    let words = Content::of_part(part, &mut rng()).replying_to(TARGET);
    assert_eq!(words.intent(), Intent::Message);
    let alone = Content { in_reply_to: None, ..Content::reaction(TARGET, "a", &mut rng()).unwrap() };
    assert_eq!(alone.intent(), Intent::Message);
}

// spec ENV-61, spec ENV-65
#[test]
fn every_message_has_a_text() {
    let single = |content_type: &str, content: &[u8]| Part::single(Disposition::RENDER, content_type, content.to_vec());
    let multi = |semantics, parts| Part {
        disposition: Disposition::RENDER,
        language: String::new(),
        body: Body::Multi { semantics, parts },
    };
    let external = |description: &str, filename: &str, content_type: &str| Part {
        body: Body::External(External {
            content_type: content_type.into(),
            url: "https://example.com".into(),
            expires_s: 0,
            size: 0,
            encryption: 0,
            key: vec![],
            nonce: vec![],
            aad: vec![],
            hashing: 0,
            hash: vec![],
            description: description.into(),
            filename: filename.into(),
        }),
        ..Part::null(Disposition::ATTACHMENT)
    };
    let fallback = "Message that this version cannot show";
    let cases = [
        (single(TEXT_PLAIN, b"plain"), "plain"),
        (single(TEXT_MARKDOWN, b"*mark*"), "*mark*"),
        (single("text/html;charset=utf-8", b"<p>Hi <b>you</b></p>"), "Hi you"),
        (single(TEXT_PLAIN, b"\xff"), fallback),
        (single(TEXT_PLAIN, b"  "), fallback),
        (single("text/html", b"<img>"), fallback),
        (single("application/x", b"x"), fallback),
        (external("what it is", "a.png", "image/png"), "what it is"),
        (external("", "a.png", "image/png"), "a.png"),
        (external("", "", "image/png"), "image/png"),
        (external("", "", ""), fallback),
        (multi(Semantics::CHOOSE_ONE, vec![single("text/html", b"<i>h</i>"), single(TEXT_PLAIN, b"p")]), "p"),
        (multi(Semantics::CHOOSE_ONE, vec![single("application/x", b""), external("d", "", "")]), "d"),
        (multi(Semantics::PROCESS_ALL, vec![single(TEXT_PLAIN, b"a"), single(TEXT_PLAIN, b"b")]), "a\nb"),
        (multi(Semantics::PROCESS_ALL, vec![]), fallback),
        (Part::null(Disposition::RENDER), "Empty message"),
    ];
    for (part, text) in cases {
        assert_eq!(Content::of_part(part, &mut rng()).accessible_text(), text);
    }
    assert_eq!(Content::delete(TARGET, &mut rng()).accessible_text(), "Message deleted");
    assert_eq!(Content::unreact(TARGET, TARGET, &mut rng()).accessible_text(), "Reaction removed");
}

// spec ENV-66, spec ENV-67
#[test]
fn a_status_list_is_bounded_and_keeps_unknown_states() {
    let status = |number| MessageStatus { message: TARGET, status: Status::from_u64(number) };
    let list = StatusList::new(vec![status(2), status(0x82), status(9_999)]).unwrap();
    assert_eq!(
        list.encode(),
        hex(&format!("83825820{id}02825820{id}188282 5820{id}19270f", id = "01".repeat(32)).replace(' ', ""))
    );
    assert_eq!(StatusList::decode(&list.encode()), Ok(list));
    let refused = |result: Result<StatusList, ContentError>| {
        assert_eq!(result, Err(ContentError::Field { field: "status list" }));
    };
    refused(StatusList::new(vec![]));
    refused(StatusList::new(vec![status(1); 257]));
    assert!(StatusList::new(vec![status(1); 256]).is_ok());
    for bytes in ["80", "00", "8100", "8180", "81824001", "818258200101"] {
        assert!(StatusList::decode(&hex(bytes)).is_err(), "{bytes}");
    }
    let many = Value::Array(vec![Value::Array(vec![Value::Bytes(vec![1; 32]), Value::Unsigned(1)]); 257]);
    refused(StatusList::decode(&many.encode()));
}

// spec ENV-69
#[test]
fn typing_passes_over_unknown_fields_and_drops_unknown_states() {
    let typing = Typing {
        state: TypingState::Recording,
        counter: TypingCounter::from_u64(300),
        topic: Some(TopicId::new(vec![7]).unwrap()),
    };
    assert_eq!(typing.encode(), hex("a301020219012c034107"));
    assert_eq!(Typing::decode(&typing.encode()), Ok(typing.clone()));
    let bare = Typing { topic: None, ..typing };
    assert_eq!(Typing::decode(&bare.encode()), Ok(bare.clone()));
    assert_eq!(Typing::decode(&hex("a301020219012c190a0af6")), Ok(bare));
    for (bytes, name) in [
        ("a201040201", "state"),
        ("a10201", "state"),
        ("80", "state"),
        ("a10101", "counter"),
        ("a3010102010300", "topic id"),
    ] {
        assert_eq!(Typing::decode(&hex(bytes)), Err(ContentError::Field { field: name }), "{bytes}");
    }
}

proptest! {
    // spec ENV-58
    #[test]
    fn messages_round_trip(content in arb_content()) {
        let bytes = content.encode().unwrap();
        let decoded = Content::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.encode(), Ok(bytes));
        prop_assert!(!decoded.accessible_text().trim().is_empty());
        let _ = decoded.intent();
    }

    #[test]
    fn damaged_messages_never_panic(content in arb_content(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = content.encode().unwrap();
        let at = at.index(bytes.len());
        prop_assert!(Content::decode(&bytes[..at]).is_err());
        bytes[at] = byte;
        if let Ok(content) = Content::decode(&bytes) {
            prop_assert_eq!(content.encode(), Ok(bytes.clone()));
            prop_assert!(!content.accessible_text().trim().is_empty());
        }
        let _ = (StatusList::decode(&bytes), Typing::decode(&bytes));
        bytes.push(0);
        prop_assert!(Content::decode(&bytes).is_err());
    }
}

fn arb_content() -> impl Strategy<Value = Content> {
    let body = prop_oneof![
        Just(Body::Null),
        (".{0,20}", prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(content_type, content)| Body::Single { content_type, content }),
        ".{1,20}".prop_map(|text| Body::Single { content_type: TEXT_PLAIN.into(), content: text.into_bytes() }),
        (4..99u64, any::<u64>())
            .prop_map(|(cardinality, field)| Body::Unknown { cardinality, fields: vec![Value::Unsigned(field)] }),
    ];
    let part = (0..10u64, body).prop_map(|(disposition, body)| Part {
        disposition: Disposition::from_u64(disposition),
        language: "en".into(),
        body,
    });
    let parts = prop_oneof![
        part.clone(),
        (0..4u64, prop::collection::vec(part, 0..5)).prop_map(|(semantics, parts)| Part {
            disposition: Disposition::RENDER,
            language: String::new(),
            body: Body::Multi { semantics: Semantics::from_u64(semantics), parts },
        })
    ];
    let id = || prop::option::of(any::<[u8; 32]>().prop_map(MessageId::from_bytes));
    let expires = prop::option::of(prop_oneof![
        any::<u32>().prop_map(|seconds| Expiry::AfterReading { seconds }),
        any::<u32>().prop_map(|unix_s| Expiry::At { unix_s }),
    ]);
    let extensions = prop::collection::btree_map(any::<i32>(), ".{0,9}", 0..5).prop_map(|pairs| {
        pairs.into_iter().map(|(key, text)| (Value::integer(key.into()), Value::Text(text))).collect::<Vec<_>>()
    });
    (any::<[u8; 16]>(), id(), expires, id(), extensions, parts).prop_map(
        |(salt, replaces, expires, in_reply_to, extensions, part)| Content {
            salt: Salt::from_bytes(salt),
            replaces,
            topic: TopicId::default(),
            expires,
            in_reply_to,
            extensions,
            part,
        },
    )
}

fn field(field: &'static str) -> Result<Content, ContentError> {
    Err(ContentError::Field { field })
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}
