//! What is refused before the upgrade, and how browsers can read it.

use std::cell::Cell;
use std::sync::Once;
use std::sync::atomic::Ordering::Relaxed;

use livekit_protocol as proto;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use super::support::{NOW, Server, mint, token, two, wrapped};

const JOIN_OF_A_BROWSER: &str = include_str!("join_request.txt");

#[tokio::test]
async fn gotcha_05_refusals_of_the_validate_paths_can_be_read_from_any_origin() {
    let server = Server::start().await;
    let good = token("lobby");
    for (path, expected) in [
        ("/rtc/validate".to_owned(), 401),
        ("/rtc/validate?access_token=x".to_owned(), 401),
        (format!("/rtc/validate?access_token={good}"), 200),
        (format!("/rtc/v1/validate?access_token={good}"), 400),
        (format!("/rtc/v1/validate?access_token={good}&join_request={}", JOIN_OF_A_BROWSER.trim()), 200),
        ("/rtc/v1/validate".to_owned(), 401),
    ] {
        let (status, head, body) = server.get(&path).await;
        assert_eq!(status, expected, "{path}: {body}");
        assert!(head.contains("access-control-allow-origin: *"), "{path}");
        assert!(status != 200 || body == "success", "{body}");
    }
}

#[tokio::test]
async fn gotcha_06_only_a_missing_room_is_a_404_with_the_phrase_that_clients_look_for() {
    let config = livekit::Config { auto_create: false, ..Default::default() };
    let server = Server::with(config).await;
    for path in [two("gone"), two("gone").replace("/rtc?", "/rtc/validate?")] {
        let (status, text) = match path.contains("validate") {
            true => {
                let (status, _, text) = server.get(&path).await;
                (status, text)
            }
            false => server.try_connect(&path).await.err().expect("refused"),
        };
        assert_eq!((status, text.as_str()), (404, "requested room does not exist"), "{path}");
    }
    let (status, _, text) = server.get(&two("lobby")).await;
    assert_eq!(status, 404, "not an upgrade");
    assert!(!text.contains("requested room does not exist"));
}

#[tokio::test]
async fn who_has_a_token_is_told_of_servers_elsewhere_if_there_are_any() {
    let region = |name: &str| livekit::Region { name: name.to_owned(), url: format!("wss://{name}.example") };
    let regions = vec![region("near"), region("far")];
    let server = Server::with(livekit::Config { regions, ..Default::default() }).await;
    let ask = async |server: &Server, token: &str| {
        let head = format!("GET /settings/regions HTTP/1.1\r\nAuthorization: Bearer {token}");
        server.http(&head, b"").await
    };
    let (status, head, body) = ask(&server, &token("lobby")).await;
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("max-age="), "{head}");
    let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let url = |at: usize| told["regions"][at]["url"].as_str().map(str::to_owned);
    assert_eq!(
        [url(0), url(1)],
        [Some("wss://near.example".to_owned()), Some("wss://far.example".to_owned())]
    );
    assert_eq!(ask(&server, "garbage").await.0, 401);
    assert_eq!(ask(&Server::start().await, &token("lobby")).await.0, 404);
}

#[tokio::test]
async fn a_failed_upgrade_and_its_validation_refuse_for_the_same_reason() {
    let server = Server::start().await;
    for (room, expected, phrase) in
        [("full", 500, "connection closed by media"), ("busy", 503, "no new participants")]
    {
        let path = two(room);
        let (status, text) = server.try_connect(&path).await.err().expect("refused");
        let (validated, _, validated_text) = server.get(&path.replace("/rtc?", "/rtc/validate?")).await;
        assert_eq!((status, &text), (expected, &validated_text));
        assert_eq!(validated, expected);
        assert!(text.contains(phrase), "{text}");
    }
}

#[tokio::test]
async fn tokens_are_refused_with_the_status_that_clients_expect() {
    let server = Server::start().await;
    let other_key = auth::mint("devkey", "guessed", &auth::Claims::join("ada", "lobby"));
    let expired = {
        let claims = auth::Claims { exp: Some(NOW.0 / 1_000 - 3_600), ..auth::Claims::join("ada", "lobby") };
        auth::mint(auth::DEVELOPMENT_KEY, auth::DEVELOPMENT_SECRET, &claims)
    };
    let cases = [
        (String::new(), 401),
        ("garbage".to_owned(), 401),
        (other_key, 401),
        (expired, 401),
        (mint(auth::Claims { sub: "ada".to_owned(), ..Default::default() }), 401),
        (mint(auth::Claims::join("", "lobby")), 400),
        (mint(auth::Claims::join("ada", "")), 400),
    ];
    for (token, expected) in cases {
        let path = format!("/rtc?access_token={token}&protocol=17");
        let (status, text) = server.try_connect(&path).await.err().expect("refused");
        assert_eq!(status, expected, "{text}");
        assert!(!text.is_empty());
    }
    assert!(server.joins.try_recv().is_err(), "nobody reached the control plane");
}

#[tokio::test]
async fn the_room_config_of_a_token_goes_with_its_join_and_one_that_cannot_be_had_is_refused() {
    let server = Server::start().await;
    let with = |claims: &str| {
        let claims = format!(r#"{{"sub":"ada","video":{{"roomJoin":true,"room":"lobby"}},{claims}}}"#);
        let token = mint(serde_json::from_str(&claims).expect("claims"));
        format!("/rtc?access_token={token}&sdk=go&protocol=15")
    };
    let path = with(r#""roomConfig":{"emptyTimeout":7,"metadata":"m","agents":[{"agentName":"x"}]}"#);
    let Ok(_client) = server.try_connect(&path).await else { panic!("refused") };
    let join = server.joins.recv().await.expect("a join").join;
    assert_eq!((join.options.empty_timeout_s, join.options.metadata.as_str()), (Some(7), "m"));
    assert_eq!(join.options.max_participants, None, "as the server is configured");
    for claims in [r#""roomPreset":"large""#, r#""roomConfig":{"egress":{}}"#, r#""roomConfig":7"#] {
        let (status, text) = server.try_connect(&with(claims)).await.err().expect("refused");
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("the token's room"), "{text}");
    }
}

#[tokio::test]
async fn the_header_wins_over_the_query() {
    let server = Server::start().await;
    let head = format!(
        "GET /rtc/validate?access_token=garbage HTTP/1.1\r\nAuthorization: Bearer {}",
        token("lobby")
    );
    assert_eq!(server.http(&head, b"").await.0, 200);
}

#[tokio::test]
async fn doubled_slashes_mean_the_same() {
    let server = Server::start().await;
    let path = format!("/{}", two("lobby"));
    assert!(path.starts_with("//rtc"));
    assert!(server.try_connect(&path).await.is_ok());
    let (status, ..) = server.get(&path.replace("//rtc?", "//rtc/validate?")).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_join_request_is_read_without_padding_and_in_either_alphabet() {
    let server = Server::start().await;
    // Texts in which the alphabets differ.
    let request = proto::JoinRequest { metadata: "\u{3ff}\u{3fe}~~~???".repeat(9), ..Default::default() };
    let text = wrapped(&request, false);
    assert!(text.contains(['-', '_']), "{text}");
    let standard = text.replace('-', "%2B").replace('_', "%2F");
    for join in [text.trim_end_matches('=').to_owned(), text.replace('=', "%3D"), standard.replace('=', "")] {
        let path = format!("/rtc/v1/validate?access_token={}&join_request={join}", token("lobby"));
        let (status, _, body) = server.get(&path).await;
        assert_eq!((status, body.as_str()), (200, "success"), "{join}");
    }
}

#[tokio::test]
async fn preflights_are_answered_with_what_was_asked_for() {
    let server = Server::start().await;
    let head = "OPTIONS /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nOrigin: https://app.example\r\n\
                Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,x-mine";
    let (status, head, _) = server.http(head, b"").await;
    assert_eq!(status, 204);
    for line in [
        "access-control-allow-origin: https://app.example",
        "access-control-allow-headers: authorization,x-mine",
        "access-control-allow-methods: options, head, get, post, patch, delete",
    ] {
        assert!(head.contains(line), "missing {line} in {head}");
    }
}

#[tokio::test]
async fn a_join_request_that_unpacks_to_more_than_a_megabyte_is_refused() {
    let server = Server::start().await;
    let bomb = proto::JoinRequest { metadata: "a".repeat(2 * 1_048_576), ..Default::default() };
    let text = wrapped(&bomb, true);
    assert!(text.len() < 16_384, "it is a bomb");
    for join in [text, "%25".to_owned(), "AAAA".to_owned()] {
        let path = format!("/rtc/v1?access_token={}&join_request={join}", token("lobby"));
        let (status, reason) = server.try_connect(&path).await.err().expect("refused");
        assert_eq!(status, 400, "{reason}");
    }
}

/// Counts the lines of the log that say "join refused", each test's own: all that a test does happens on its thread.
///
/// It is there for all threads. Were it set for single ones, whether a line is wanted at all would be settled by whichever thread
/// comes by that line first.
struct Refusals;

thread_local! {
    static REFUSALS: Cell<u64> = const { Cell::new(0) };
}

impl Refusals {
    fn listen() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing::subscriber::set_global_default(Self).expect("nobody else listens"));
        REFUSALS.set(0);
    }

    fn heard() -> u64 {
        REFUSALS.get()
    }
}

impl Subscriber for Refusals {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= &tracing::Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Self);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Visit for Refusals {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" && format!("{value:?}") == "join refused" {
            REFUSALS.set(REFUSALS.get() + 1);
        }
    }
}

fn refused_joins(server: &Server) -> [u64; 3] {
    let metrics = &server.metrics;
    [&metrics.joins_refused, &metrics.joins_unauthorized, &metrics.joins_malformed]
        .map(|counter| counter.load(Relaxed))
}

#[tokio::test]
async fn a_refused_join_is_told_by_whoever_refused_it_and_no_one_else() {
    Refusals::listen();
    let server = Server::start().await;
    assert!(server.try_connect(&two("full")).await.is_err());
    assert_eq!(Refusals::heard(), 0, "the control plane has told it");
    assert!(server.try_connect("/rtc?access_token=garbage").await.is_err());
    assert_eq!(Refusals::heard(), 1);
    assert_eq!(refused_joins(&server), [1, 1, 0]);
}

#[tokio::test]
async fn a_refused_validation_is_not_a_refused_join() {
    Refusals::listen();
    let server = Server::start().await;
    let full = two("full").replace("/rtc?", "/rtc/validate?");
    for path in [full.as_str(), "/rtc/validate?access_token=garbage", "/rtc/v1/validate"] {
        assert_ne!(server.get(path).await.0, 200);
    }
    let malformed = format!("/rtc/v1/validate?access_token={}", token("lobby"));
    assert_eq!(server.get(&malformed).await.0, 400);
    assert_eq!((refused_joins(&server), Refusals::heard()), ([0; 3], 0));
}
