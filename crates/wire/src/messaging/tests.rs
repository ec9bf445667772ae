//! The frames as `docs/messaging-protocol.md` shows them, in both encodings.

use super::*;

fn body(json: &str) -> Body {
    Body::parse(json.as_bytes()).expect("it is JSON")
}

fn cbor_of(json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    cbor::from_json(json.as_bytes(), &mut out).expect("it is JSON");
    out
}

fn json_of(cbor: &[u8]) -> String {
    let mut out = Vec::new();
    cbor::to_json(cbor, &mut out).expect("it is CBOR");
    String::from_utf8(out).expect("JSON is text")
}

/// Reads a frame of a client in both encodings, and holds what is written against it.
fn request(golden: &str) -> Request {
    let read = Request::read(Encoding::Json, golden.as_bytes()).expect("it is a frame");
    assert_eq!(Request::read(Encoding::Cbor, &cbor_of(golden)), Ok(read.clone()));
    let command = read.command.as_ref().expect("it is a command");
    let mut out = Vec::new();
    Request::write(Encoding::Json, read.id, command, &mut out);
    assert_eq!(String::from_utf8(out).as_deref(), Ok(golden));
    let mut out = Vec::new();
    Request::write(Encoding::Cbor, read.id, command, &mut out);
    assert_eq!(json_of(&out), golden);
    read
}

/// The same for pushes.
fn push(golden: &str) -> Push {
    for encoding in Encoding::ALL {
        let bytes = match encoding {
            Encoding::Json => golden.as_bytes().to_vec(),
            Encoding::Cbor => cbor_of(golden),
        };
        let Ok(Incoming::Push(push)) = Incoming::read(encoding, &bytes) else { panic!("{golden}") };
        let mut out = Vec::new();
        push.write(encoding, &mut out);
        assert_eq!(out, bytes, "{golden}");
    }
    let Ok(Incoming::Push(push)) = Incoming::read(Encoding::Json, golden.as_bytes()) else {
        panic!("{golden}")
    };
    push
}

#[test]
fn every_command_is_written_as_it_is_read() {
    for golden in [
        r#"{"v":1,"id":1,"connect":{"token":"t","device":"phone","resume":[{"channel":"c","cursor":"x","open":false}]}}"#,
        r#"{"v":1,"id":2,"subscribe":{"channel":"c","from":{"last":20},"open":true}}"#,
        r#"{"v":1,"id":2,"subscribe":{"channel":"c","from":"head"}}"#,
        r#"{"v":1,"id":2,"subscribe":{"channel":"c","from":{"cursor":"x"}}}"#,
        r#"{"v":1,"id":3,"unsubscribe":{"channel":"c"}}"#,
        r#"{"v":1,"id":4,"channels":{"page":"p"}}"#,
        r#"{"v":1,"id":5,"send":{"channel":"c","csn":4,"follows":2,"body":{"text":"hi"},"kind":"custom","name":"poll","reply_to":"eu.1.1","thread":"eu.1.1","mentions":["bob"],"everyone":true,"seen":["t"],"after":[["d","t"]]}}"#,
        r#"{"v":1,"id":6,"edit":{"channel":"c","csn":5,"event":"eu.1.1","body":"new"}}"#,
        r#"{"v":1,"id":7,"delete":{"channel":"c","csn":6,"event":"eu.1.1"}}"#,
        r#"{"v":1,"id":8,"react":{"channel":"c","csn":7,"event":"eu.1.1","emoji":"+1","on":true}}"#,
        r#"{"v":1,"id":9,"tell":{"channel":"c","name":"cursor","body":[1,2]}}"#,
        r#"{"v":1,"id":10,"read":{"channel":"c","cursor":"x","upto":"eu.1.1","delivered":"y"}}"#,
        r#"{"v":1,"id":11,"history":{"channel":"c","before":"eu.1.9","limit":20,"seen":["t"]}}"#,
        r#"{"v":1,"id":12,"search":{"channel":"c","query":"words"}}"#,
        r#"{"v":1,"id":13,"members":{"channel":"c"}}"#,
        r#"{"v":1,"id":14,"receipts.detail":{"channel":"c","event":"eu.1.1"}}"#,
        r#"{"v":1,"id":15,"reactions":{"channel":"c","event":"eu.1.1"}}"#,
        r#"{"v":1,"id":16,"typing":{"channel":"c","on":false}}"#,
        r#"{"v":1,"id":17,"presence":{"watch":["bob"]}}"#,
        r#"{"v":1,"id":18,"channel.create":{"channel":"c","kind":"group","settings":{"name":"Team","public":true,"since_join":false,"guests_send":false,"frozen":false,"slow_mode":500,"active_active":false},"members":[{"user":"bob","role":"owner"}]}}"#,
        r#"{"v":1,"id":19,"channel.join":{"channel":"c"}}"#,
        r#"{"v":1,"id":20,"channel.add":{"channel":"c","user":"bob","role":"guest"}}"#,
        r#"{"v":1,"id":21,"channel.moderate":{"channel":"c","user":"bob","mute_until":0}}"#,
        r#"{"v":1,"id":22,"call.invite":{"channel":"c","call":"k","users":["bob"],"media":"video"}}"#,
        r#"{"v":1,"id":9007199254740991,"call.end":{"channel":"c","call":"k"}}"#,
    ] {
        request(golden);
    }
}

#[test]
fn every_push_is_written_as_it_is_read() {
    for golden in [
        r#"{"v":1,"events":{"channel":"c","cursor":"x","items":[{"id":"eu.3.4711","prev":"eu.3.4702","t":"019ab3c4d5e60000","count":17,"from":{"user":"ann","device":"d"},"csn":4,"kind":"message","body":{"text":"hi"},"mentions":["bob"],"late":true}]}}"#,
        r#"{"v":1,"events":{"channel":"c","cursor":"x","items":[{"id":"eu.1.1","t":"0000000000000001","count":0,"kind":"created","channel_kind":"direct","settings":{"public":false,"since_join":false,"guests_send":false,"frozen":false,"slow_mode":0,"active_active":false}},{"id":"eu.1.2","prev":"eu.1.1","t":"0000000000000002","count":0,"kind":"member","user":"bob","change":"banned","until":7},{"id":"eu.1.3","t":"0000000000000003","count":0,"kind":"call","call":"k","stage":"ended","talked":61000}]}}"#,
        r#"{"v":1,"events":{"channel":"c","cursor":"x","items":[{"id":"eu.1.4","t":"0000000000000001","count":0,"kind":"hole","hole":{"region":"us","epoch":1,"known":"1.3","upto":9}},{"id":"eu.1.5","t":"0000000000000001","count":0,"kind":"folded","folded":{"kind":"reactions","totals":[{"event":"eu.1.1","emoji":"+1","count":3,"mine":true}]}},{"id":"eu.1.6","t":"0000000000000001","count":0,"kind":"folded","folded":{"kind":"members","members":600}}]}}"#,
        r#"{"v":1,"touch":{"channel":"c","unread":3,"mentions":1}}"#,
        r#"{"v":1,"receipts":{"channel":"c","marks":[{"user":"bob","read":{"eu":"eu.1.1"}}],"counts":[{"event":"eu.1.1","read":3,"delivered":4,"names":["bob"],"approx":true}]}}"#,
        r#"{"v":1,"typing":{"channel":"c","users":["bob"],"more":2}}"#,
        r#"{"v":1,"presence":{"changes":[{"user":"bob","there":false}]}}"#,
        r#"{"v":1,"told":{"channel":"c","from":{"user":"ann","device":"d"},"name":"x","body":null}}"#,
        r#"{"v":1,"channel":{"channel":"c","state":{"kind":"group","settings":{"public":false,"since_join":false,"guests_send":false,"frozen":false,"slow_mode":0,"active_active":false},"role":"owner","members":2,"tier":"S","unread":0,"mentions":0,"marks":[{"user":"bob","delivered":{"eu":"eu.1.1"}}],"head":"eu.1.9"}}}"#,
        r#"{"v":1,"call":{"channel":"c","call":"k","from":"ann","stage":"ringing","user":"bob","device":"d","room":"r","token":"t"}}"#,
        r#"{"v":1,"reset":{"channel":"c","why":"too_far","cursor":"x"}}"#,
        r#"{"v":1,"removed":{"channel":"c","id":"eu.1.9"}}"#,
        r#"{"v":1,"goaway":{"why":"restart","retry_after":500}}"#,
    ] {
        push(golden);
    }
}

#[test]
fn answers_and_errors_are_read_as_they_are_written() {
    let sent = Okay::Sent(Sent { event: "eu.1.4".to_owned(), token: "t".to_owned() });
    let muted = Error { last: Some(3), ..Error::later(ErrorCode::Muted, "not now", 1_500) };
    for (answer, golden) in [
        (Ok(sent), r#"{"v":1,"id":7,"ok":{"event":"eu.1.4","token":"t"}}"#),
        (Ok(Okay::done()), r#"{"v":1,"id":7,"ok":{}}"#),
        (
            Err(muted),
            r#"{"v":1,"id":7,"error":{"code":"muted","reason":"not now","final":false,"retry_after":1500,"last":3}}"#,
        ),
    ] {
        for encoding in Encoding::ALL {
            let mut out = Vec::new();
            write_answer(encoding, 7, &answer, &mut out);
            let json = if encoding == Encoding::Json {
                String::from_utf8(out.clone()).expect("text")
            } else {
                json_of(&out)
            };
            assert_eq!(json, golden);
            match (Incoming::read(encoding, &out), &answer) {
                (Ok(Incoming::Answer(7, Err(read))), Err(error)) => assert_eq!(read, *error),
                (Ok(Incoming::Answer(7, Ok(raw))), Ok(Okay::Sent(sent))) => {
                    assert_eq!(raw.read().as_ref(), Ok(sent))
                }
                (Ok(Incoming::Answer(7, Ok(raw))), Ok(_)) => assert_eq!(raw.as_str(), "{}"),
                (other, _) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn what_is_absent_may_be_null_and_unknown_keys_are_ignored() {
    let frame = r#" {"id":5, "x":{"y":[1]}, "send":{"body":1,"csn":1,"channel":"c","kind":null,"follows":null,"seen":null,"mentions":null,"everyone":null,"new":true}, "v":null}"#;
    let read = Request::read(Encoding::Json, frame.as_bytes()).expect("it is a frame");
    let Ok(Command::Send(send)) = read.command else { panic!("{read:?}") };
    assert_eq!((send.csn, send.body, send.kind, send.seen.len()), (1, body("1"), SendKind::Message, 0));
}

#[test]
fn a_frame_with_a_command_that_is_none_can_be_answered() {
    let read = |json: &str| Request::read(Encoding::Json, json.as_bytes());
    let unknown = read(r#"{"id":9,"dance":{"deep":[[[]]]}}"#).expect("it has a number");
    assert_eq!((unknown.id, unknown.command), (9, Err(BadCommand::Unknown("dance".to_owned()))));
    for map in [
        r#"{"channel":"c"}"#,
        r#"{"channel":"c","csn":-1,"body":1}"#,
        "7",
        "null",
        r#"{"channel":7,"csn":1,"body":1}"#,
    ] {
        let read = read(&format!(r#"{{"id":9,"send":{map}}}"#)).expect("it has a number");
        assert!(matches!(read.command, Err(BadCommand::Malformed(_))), "{map}");
    }
    let deep = format!(
        r#"{{"id":9,"send":{{"channel":"c","csn":1,"body":{}{}}}}}"#,
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    assert!(matches!(read(&deep).expect("it has a number").command, Err(BadCommand::Malformed(_))));
}

#[test]
fn bytes_that_are_no_frame_are_told_apart_from_newer_ones() {
    for text in [
        "",
        "[]",
        "{}",
        "nonsense",
        "{\"id\":1}",
        r#"{"send":{}}"#,
        r#"{"id":0,"typing":{}}"#,
        r#"{"id":9007199254740992,"typing":{}}"#,
        r#"{"id":1,"typing":{},"members":{}}"#,
        "\u{0}",
        r#"{"id":1,"typing":{}} x"#,
    ] {
        assert_eq!(Request::read(Encoding::Json, text.as_bytes()), Err(NotAFrame::Malformed), "{text}");
        assert_eq!(Request::read(Encoding::Cbor, text.as_bytes()), Err(NotAFrame::Malformed), "{text}");
    }
    let newer = r#"{"v":2,"id":1,"typing":{"channel":"c"}}"#;
    assert_eq!(Request::read(Encoding::Json, newer.as_bytes()), Err(NotAFrame::Version(2)));
    assert_eq!(Request::read(Encoding::Cbor, &cbor_of(newer)), Err(NotAFrame::Version(2)));
    assert!(matches!(Incoming::read(Encoding::Json, br#"{"v":1,"news":{}}"#), Ok(Incoming::Unknown)));
}

#[test]
fn a_byte_string_in_a_body_is_refused() {
    // {"id":1,"tell":{"channel":"c","name":"n","body":h'00'}}
    let mut frame = cbor_of(r#"{"id":1,"tell":{"channel":"c","name":"n","body":"x"}}"#);
    let at = frame.len() - 2;
    frame[at] = 0x41;
    assert_eq!(Request::read(Encoding::Cbor, &frame), Err(NotAFrame::Malformed));
}
