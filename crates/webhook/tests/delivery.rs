//! Webhooks against a real HTTP server that is down, slow, or out of order.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auth::{ApiKeys, Claims, VideoGrants};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use backplane::{EmbeddedQueue, Limits};
use base::agents::{Group, Job, JobKind};
use base::events::{EventId, Happening, RoomEvent};
use base::model::{LeaveReason, Participant, ParticipantState, RoomInfo};
use base::{DispatchId, Identity, JobId, ParticipantId, RoomId, RoomName, UnixMillis};
use base64::Engine as _;
use contract::events::{RoomEvents, Written};
use serde_json::Value;
use store::simulated::{Faults, SimulatedDisk};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use webhook::{Client, Config, Endpoint, Retry, Sent, Signer, Webhooks};

const PATIENCE: Duration = Duration::from_secs(20);
const RETRY: Retry = Retry {
    first: Duration::from_millis(5),
    longest: Duration::from_millis(40),
    give_up_after: Duration::from_secs(24 * 3_600),
    least_attempts: 3,
};

/// What the receiver does with an event.
type Answer = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

#[derive(Clone, Copy)]
enum Reply {
    Status(u16),
    /// Not within the client's patience.
    Never,
}

#[derive(Clone)]
struct Application {
    taken: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<Vec<(String, Bytes)>>>,
    answer: Answer,
}

impl Application {
    fn new(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self { taken: Arc::default(), asked: Arc::default(), answer: Arc::new(answer) }
    }

    fn good() -> Self {
        Self::new(|_| Reply::Status(200))
    }

    async fn listen(&self) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("it is bound"));
        (url, self.serve(listener))
    }

    fn serve(&self, listener: TcpListener) -> JoinHandle<()> {
        let routes = Router::new().route("/hook", post(receive)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") })
    }

    /// Ids that were taken, in order, repetitions left out.
    fn taken(&self) -> Vec<String> {
        let mut seen = Vec::new();
        for id in self.taken.lock().expect("no panic").iter() {
            if !seen.contains(id) {
                seen.push(id.clone());
            }
        }
        seen
    }

    async fn until_taken(&self, count: usize) {
        let all = async {
            while self.taken().len() < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, all).await;
        assert!(outcome.is_ok(), "{} of {count} events arrived", self.taken().len());
    }
}

/// Checks the signature as the server SDKs do.
async fn receive(State(application): State<Application>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/webhook+json");
    let token = headers["authorization"].to_str().expect("text");
    let now = now();
    let verified = auth::verify(&ApiKeys::development(), token, now).expect("signed with our key");
    let hash = ring::digest::digest(&ring::digest::SHA256, &body);
    assert_eq!(verified.claims.sha256, base64::engine::general_purpose::STANDARD.encode(hash));
    assert_eq!(verified.claims.exp, Some(now.0 / 1_000 + 300));
    let event: Value = serde_json::from_slice(&body).expect("JSON");
    let id = event["id"].as_str().expect("an id").to_owned();
    application.asked.lock().expect("no panic").push((id.clone(), body));
    match (application.answer)(&id) {
        Reply::Never => std::future::pending().await,
        Reply::Status(status) => {
            if status == 200 {
                application.taken.lock().expect("no panic").push(id);
            }
            StatusCode::from_u16(status).expect("a status")
        }
    }
}

fn now() -> UnixMillis {
    UnixMillis(1_700_000_000_000)
}

fn write(event: &RoomEvent) -> Written {
    let id = format!("{}.{}", event.room.name, event.id.number);
    let body = format!("{{\"id\":\"{id}\",\"event\":\"room_started\"}}").into_bytes();
    Written { id, event: "room_started", body }
}

fn restamp(body: &[u8], at: UnixMillis) -> Vec<u8> {
    let text = String::from_utf8(body.to_vec()).expect("text");
    text.replace("}", &format!(",\"again\":{}}}", at.0)).into_bytes()
}

fn ann() -> Arc<Participant> {
    let ann = Participant::new(ParticipantId(70), Identity::new("ann"));
    Arc::new(Participant { state: ParticipantState::Active, version: 0, ..ann })
}

fn job(id: u64) -> Arc<Job> {
    let group = Group {
        agent: String::new(),
        deployment: String::new(),
        namespace: String::new(),
        kind: JobKind::Room,
    };
    Arc::new(Job::new(JobId(id), DispatchId(1), Arc::default(), group, room("a")))
}

fn event(room: &str, number: u64) -> RoomEvent {
    happened(room, number, Happening::RoomFinished(LeaveReason::RoomClosed))
}

fn happened(name: &str, number: u64, what: Happening) -> RoomEvent {
    let id = EventId { source: 1, number };
    RoomEvent { id, at: UnixMillis(now().0 - 3_600_000), room: room(name), what }
}

fn room(name: &str) -> RoomInfo {
    RoomInfo {
        id: RoomId(1),
        name: RoomName::new(name),
        metadata: String::new(),
        empty_timeout_s: 0,
        departure_timeout_s: 0,
        max_participants: 0,
        created_at: UnixMillis(0),
        participants: 0,
        publishers: 0,
        recording: false,
    }
}

fn config(retry: Retry) -> Config {
    let signer = Signer::new(auth::DEVELOPMENT_KEY, auth::DEVELOPMENT_SECRET);
    Config { signer, retry, timeout: Duration::from_millis(400), write, restamp, now }
}

struct Hooks {
    events: RoomEvents,
    running: Webhooks<EmbeddedQueue>,
}

impl Hooks {
    async fn start(directory: &Path, url: &str, retry: Retry) -> Self {
        let open =
            |name: &str| EmbeddedQueue::open(&directory.join(name), Limits::default()).expect("it opens");
        Self::over(open("pending"), open("dead"), url, retry).await
    }

    async fn over(pending: EmbeddedQueue, dead: EmbeddedQueue, url: &str, retry: Retry) -> Self {
        let mut events = RoomEvents::default();
        let endpoint = Endpoint { url: url.to_owned(), pending, dead, events: events.follow() };
        let client = Client::new().expect("a client");
        let running = webhook::start(&config(retry), &client, vec![endpoint]).await.expect("it starts");
        Self { events, running }
    }

    fn tell(&self, room: &str, numbers: impl IntoIterator<Item = u64>) {
        numbers.into_iter().for_each(|number| self.events.tell(event(room, number)));
    }

    fn count(&self, name: &str, label: &str) -> u64 {
        let mut sum = 0;
        self.running.metrics().for_each(|this, labels, value| {
            let is_it = this == name && (label.is_empty() || labels.iter().any(|(_, value)| *value == label));
            sum += if is_it { value } else { 0 };
        });
        sum
    }

    async fn until_counted(&self, name: &str, label: &str, value: u64) {
        let counted = async {
            while self.count(name, label) != value {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, counted).await;
        assert!(outcome.is_ok(), "{name} {label} is {}, not {value}", self.count(name, label));
    }
}

/// `room.1`, `room.2`, …
fn ids(room: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("{room}.{number}")).collect()
}

fn of_room(all: &[String], room: &str) -> Vec<String> {
    all.iter().filter(|id| id.starts_with(&format!("{room}."))).cloned().collect()
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// An address at which nobody listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!("http://{}/hook", listener.local_addr().expect("it is bound"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_signed_and_in_the_order_of_their_room() {
    let (application, directory) = (Application::good(), directory());
    let (url, _server) = application.listen().await;
    let hooks = Hooks::start(directory.path(), &url, RETRY).await;
    for number in 1..=50 {
        ["a", "b", "c"].into_iter().for_each(|room| hooks.tell(room, [number]));
    }
    application.until_taken(150).await;
    for room in ["a", "b", "c"] {
        assert_eq!(of_room(&application.taken(), room), ids(room, 1..=50));
    }
    hooks.until_counted("stoa_webhooks_pending", "", 0).await;
    assert_eq!(hooks.count("stoa_webhooks_total", "delivered"), 150);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_down_for_a_while_misses_nothing() {
    let (application, directory) = (Application::good(), directory());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let hooks = Hooks::start(directory.path(), &format!("http://{address}/hook"), RETRY).await;
    hooks.tell("a", 1..=20);
    hooks.tell("b", 1..=20);
    hooks.until_counted("stoa_webhooks_total", "queued", 40).await;
    while hooks.count("stoa_webhook_attempts_failed_total", "connection") < 6 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let listener = TcpListener::bind(address).await.expect("still free");
    let _server = application.serve(listener);
    application.until_taken(40).await;
    for room in ["a", "b"] {
        assert_eq!(of_room(&application.taken(), room), ids(room, 1..=20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_sent_again_as_it_was_and_holds_back_its_own_room_alone() {
    let refusals = Mutex::new(6);
    let application = Application::new(move |id| {
        let mut left = refusals.lock().expect("no panic");
        if id == "a.2" && *left > 0 {
            *left -= 1;
            return Reply::Status([500, 503, 404, 302, 429, 401][*left]);
        }
        Reply::Status(200)
    });
    let directory = directory();
    let (url, _server) = application.listen().await;
    let hooks = Hooks::start(directory.path(), &url, RETRY).await;
    hooks.tell("a", 1..=4);
    hooks.tell("b", 1..=4);
    application.until_taken(8).await;
    let taken = application.taken();
    assert_eq!(of_room(&taken, "a"), ids("a", 1..=4));
    assert!(
        taken.iter().position(|id| id == "b.4") < taken.iter().position(|id| id == "a.2"),
        "room b did not wait: {taken:?}"
    );
    let asked = application.asked.lock().expect("no panic").clone();
    let attempts: Vec<&Bytes> = asked.iter().filter(|(id, _)| id == "a.2").map(|(_, body)| body).collect();
    assert_eq!(attempts.len(), 7);
    assert!(attempts.windows(2).all(|pair| pair[0] == pair[1]), "the same bytes every time");
    assert_eq!(hooks.count("stoa_webhook_attempts_failed_total", "status"), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_comes_is_a_failure_and_delays_no_other_room() {
    let first = Mutex::new(true);
    let application = Application::new(move |id| {
        let is_first = id == "a.1" && std::mem::take(&mut *first.lock().expect("no panic"));
        if is_first { Reply::Never } else { Reply::Status(200) }
    });
    let directory = directory();
    let (url, _server) = application.listen().await;
    let hooks = Hooks::start(directory.path(), &url, RETRY).await;
    hooks.tell("a", 1..=2);
    hooks.tell("b", 1..=10);
    application.until_taken(12).await;
    let taken = application.taken();
    assert_eq!(taken[10..], ids("a", 1..=2), "{taken:?}");
    assert_eq!(hooks.count("stoa_webhook_attempts_failed_total", "timeout"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_delivered_when_the_server_stops_is_delivered_by_the_next_one_before_newer_events() {
    let (application, directory) = (Application::good(), directory());
    let hooks = Hooks::start(directory.path(), &nowhere().await, RETRY).await;
    hooks.tell("a", 1..=30);
    // Not a moment is left to the intake: stopping waits for it.
    hooks.running.stop().await;
    let (url, _server) = application.listen().await;
    let hooks = Hooks::start(directory.path(), &url, RETRY).await;
    hooks.tell("a", 31..=40);
    application.until_taken(40).await;
    assert_eq!(application.taken(), ids("a", 1..=40));
    hooks.until_counted("stoa_webhooks_pending", "", 0).await;
    hooks.running.stop().await;
    let hooks = Hooks::start(directory.path(), &url, RETRY).await;
    assert_eq!(hooks.count("stoa_webhooks_pending", ""), 0, "what is delivered is not sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_begun_when_the_process_died_is_told_to_have_ended_before_anything_new_begins() {
    let (application, directory) = (Application::good(), directory());
    let (url, _server) = application.listen().await;
    let hooks = Hooks::start(directory.path(), &url, RETRY).await;
    let tell = |hooks: &Hooks, number, what| hooks.events.tell(happened("a", number, what));
    tell(&hooks, 1, Happening::RoomStarted { agents: Vec::new() });
    tell(&hooks, 2, Happening::ParticipantJoined(ann()));
    application.until_taken(2).await;
    let admin = Administrator::new(&hooks).await;
    hooks.until_counted("stoa_webhooks_pending", "", 0).await;
    assert_eq!(admin.get("dead").await[0]["pending"], 0, "ends that have not come are not events that wait");
    // As if it had died: the room has not ended.
    hooks.running.stop().await;
    let hooks = Hooks::start(directory.path(), &url, RETRY).await;
    tell(&hooks, 1_000, Happening::RoomStarted { agents: Vec::new() });
    application.until_taken(5).await;
    let finished = format!("a.{}", u64::MAX);
    assert_eq!(application.taken(), ["a.1", "a.2", "a.70", &finished, "a.1000"]);
    let asked = application.asked.lock().expect("no panic").clone();
    let again: Vec<bool> =
        asked.iter().map(|(_, body)| String::from_utf8_lossy(body).contains("again")).collect();
    assert_eq!(again, [false, false, true, true, false], "they have the time of the new start");
    tell(&hooks, 1_001, Happening::RoomFinished(LeaveReason::RoomClosed));
    application.until_taken(6).await;
    hooks.running.stop().await;
    let hooks = Hooks::start(directory.path(), &url, RETRY).await;
    tell(&hooks, 2_000, Happening::ConnectionAborted(ann()));
    application.until_taken(7).await;
    assert_eq!(application.taken().last().map(String::as_str), Some("a.2000"), "what has ended ends once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_agents_that_ran_when_the_process_died_are_told_to_have_ended() {
    let (application, directory) = (Application::good(), directory());
    let (url, _server) = application.listen().await;
    let hooks = Hooks::start(directory.path(), &url, RETRY).await;
    let tell = |hooks: &Hooks, number, what| hooks.events.tell(happened("a", number, what));
    tell(&hooks, 1, Happening::AgentJobStarted(job(71)));
    tell(&hooks, 2, Happening::AgentJobStarted(job(72)));
    tell(&hooks, 3, Happening::AgentJobEnded(job(71)));
    application.until_taken(3).await;
    hooks.running.stop().await;
    let hooks = Hooks::start(directory.path(), &url, RETRY).await;
    application.until_taken(4).await;
    tell(&hooks, 4, Happening::ConnectionAborted(ann()));
    application.until_taken(5).await;
    assert_eq!(application.taken(), ["a.1", "a.2", "a.3", "a.72", "a.4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_took_for_a_day_is_a_dead_letter_that_can_be_read_and_replayed() {
    let is_good = Arc::new(Mutex::new(false));
    let application = {
        let is_good = Arc::clone(&is_good);
        Application::new(move |id| {
            Reply::Status(if id == "a.3" || *is_good.lock().expect("no panic") { 200 } else { 500 })
        })
    };
    let directory = directory();
    let (url, _server) = application.listen().await;
    // Events are an hour old.
    let retry = Retry { give_up_after: Duration::from_secs(3_600), ..RETRY };
    let hooks = Hooks::start(directory.path(), &url, retry).await;
    hooks.tell("a", 1..=3);
    application.until_taken(1).await;
    hooks.until_counted("stoa_webhooks_dead_letters", "", 2).await;
    let asked = application.asked.lock().expect("no panic").len();
    assert_eq!(asked, 2 * RETRY.least_attempts as usize + 1);
    let admin = Administrator::new(&hooks).await;
    let listed = admin.get("dead").await;
    assert_eq!((&listed[0]["url"], &listed[0]["total"]), (&Value::from(url), &Value::from(2)));
    let letter = &listed[0]["dead"][0];
    assert_eq!((&letter["id"], &letter["room"]), (&Value::from("a.1"), &Value::from("a")));
    assert_eq!((&letter["error"], &letter["attempts"]), (&Value::from("HTTP status 500"), &Value::from(3)));
    assert_eq!(letter["body"]["event"], "room_started");

    *is_good.lock().expect("no panic") = true;
    assert_eq!(admin.replay("{\"ids\":[\"a.2\"]}").await["replayed"], 1);
    application.until_taken(2).await;
    assert_eq!(admin.replay("{}").await["replayed"], 1);
    application.until_taken(3).await;
    assert_eq!(application.taken(), ["a.3", "a.2", "a.1"]);
    assert_eq!(admin.get("dead").await[0]["total"], 0);
    assert_eq!(hooks.count("stoa_webhooks_dead_letters", ""), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_for_the_applications_server_alone() {
    let directory = directory();
    let hooks = Hooks::start(directory.path(), &nowhere().await, RETRY).await;
    let admin = Administrator::new(&hooks).await;
    let video = |video| Claims { video: Some(video), ..Claims::default() };
    let lists = VideoGrants { room_list: true, ..VideoGrants::default() };
    for (claims, expected) in [(Claims::join("ann", "a"), 403), (video(lists), 403)] {
        for path in ["dead", "replay"] {
            assert_eq!(admin.status(path, &bearer(claims.clone())).await, expected, "{path}");
        }
    }
    assert_eq!(admin.status("dead", "Bearer nonsense").await, 401);
    assert_eq!(admin.status("replay", "").await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_fails_events_wait_and_none_is_lost() {
    let application = Application::good();
    let (url, _server) = application.listen().await;
    let (disk, dead) = (SimulatedDisk::default(), SimulatedDisk::default());
    let queue =
        |disk: &SimulatedDisk| EmbeddedQueue::over(disk.clone(), Limits::default()).expect("it opens");
    let hooks = Hooks::over(queue(&disk), queue(&dead), &url, RETRY).await;
    disk.set_faults(Faults { syncs_fail: true, ..Faults::default() });
    hooks.tell("a", 1..=10);
    while hooks.count("stoa_webhook_disk_failures_total", "") == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(application.taken().is_empty(), "nothing is sent that is not on the disk");
    disk.set_faults(Faults::default());
    application.until_taken(10).await;
    assert_eq!(application.taken(), ids("a", 1..=10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_drops_the_newest_and_counts_them() {
    let directory = directory();
    let limits = Limits { total_bytes: 5_000, ..Limits::default() };
    let open = |name: &str| EmbeddedQueue::open(&directory.path().join(name), limits).expect("it opens");
    let hooks = Hooks::over(open("pending"), open("dead"), &nowhere().await, RETRY).await;
    hooks.tell("a", 1..=100);
    hooks.until_counted("stoa_webhooks_total", "queue_full", 100 - hooks_that_fit(&hooks).await).await;
    let fit = hooks.count("stoa_webhooks_total", "queued");
    assert!(fit > 10 && fit < 60, "{fit}");
    hooks.running.stop().await;
    let application = Application::good();
    let (url, _server) = application.listen().await;
    let _hooks = Hooks::over(open("pending"), open("dead"), &url, RETRY).await;
    application.until_taken(fit as usize).await;
    assert_eq!(application.taken(), ids("a", 1..=fit), "what was taken is whole from the beginning");
}

async fn hooks_that_fit(hooks: &Hooks) -> u64 {
    let settled = async {
        while hooks.count("stoa_webhooks_total", "queued") + hooks.count("stoa_webhooks_total", "queue_full")
            < 100
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("every event is queued or counted");
    hooks.count("stoa_webhooks_total", "queued")
}

/// Whoever reads and replays dead letters.
struct Administrator {
    base: String,
    client: Client,
}

impl Administrator {
    async fn new(hooks: &Hooks) -> Self {
        let admin = hooks.running.admin(ApiKeys::development(), now).expect("there is a receiver");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}/webhooks", listener.local_addr().expect("it is bound"));
        tokio::spawn(async move { axum::serve(listener, webhook::router(admin)).await.expect("it serves") });
        Self { base, client: Client::new().expect("a client") }
    }

    async fn get(&self, path: &str) -> Value {
        let sent = self.client.get(&format!("{}/{path}", self.base), &administrator(), PATIENCE).await;
        answer(sent)
    }

    async fn replay(&self, body: &str) -> Value {
        let (url, body) = (format!("{}/replay", self.base), Bytes::copy_from_slice(body.as_bytes()));
        answer(self.client.post(&url, &administrator(), "application/json", body, PATIENCE).await)
    }

    async fn status(&self, path: &str, authorization: &str) -> u16 {
        let url = format!("{}/{path}", self.base);
        let sent = match path {
            "dead" => self.client.get(&url, authorization, PATIENCE).await,
            _ => {
                let body = Bytes::from_static(b"{}");
                self.client.post(&url, authorization, "application/json", body, PATIENCE).await
            }
        };
        match sent {
            Sent::Answered(status, _) => status,
            other => panic!("{other:?}"),
        }
    }
}

fn answer(sent: Sent) -> Value {
    match sent {
        Sent::Answered(200, body) => serde_json::from_slice(&body).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

fn administrator() -> String {
    let video = VideoGrants { room_create: true, room_list: true, ..VideoGrants::default() };
    bearer(Claims { video: Some(video), ..Claims::default() })
}

fn bearer(claims: Claims) -> String {
    let claims = claims.valid_for(now(), Duration::from_secs(60));
    format!("Bearer {}", auth::mint(auth::DEVELOPMENT_KEY, auth::DEVELOPMENT_SECRET, &claims))
}
