//! `/agent` and AgentDispatchService.

use std::time::Duration;

use base::agents::Dispatch;
use base::events::{EventId, Happening, RoomEvent};
use base::model::{LeaveReason, ParticipantKind};
use contract::session::AdminRequest;
use futures_util::StreamExt as _;
use livekit_protocol as proto;
use livekit_protocol::server_message::Message as Told;
use livekit_protocol::worker_message::Message as Said;
use prost::Message as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as Frame;

use super::support::{Client, NOW, Server, mint, room};

fn agent_token() -> String {
    let video = auth::VideoGrants { agent: true, ..Default::default() };
    mint(auth::Claims { video: Some(video), ..Default::default() })
}

fn register(agent_name: &str) -> proto::RegisterWorkerRequest {
    proto::RegisterWorkerRequest {
        agent_name: agent_name.to_owned(),
        version: "1".to_owned(),
        ..Default::default()
    }
}

/// A worker's end of its socket.
struct Worker(Client);

impl Worker {
    async fn connect(server: &Server) -> Self {
        Self(server.connect(&format!("/agent?access_token={}", agent_token())).await)
    }

    async fn registered(server: &Server, agent_name: &str) -> Self {
        let mut worker = Self::connect(server).await;
        worker.say(Said::Register(register(agent_name))).await;
        assert!(matches!(worker.told().await, Ok(Told::Register(_))));
        worker
    }

    async fn say(&mut self, message: Said) {
        let message = proto::WorkerMessage { message: Some(message) };
        self.0.send(Frame::Binary(message.encode_to_vec().into())).await;
    }

    /// The next message; `Err`: code and reason with which the server closes.
    async fn told(&mut self) -> Result<Told, (u16, String)> {
        loop {
            let frame = tokio::time::timeout(Duration::from_secs(10), self.0.socket.next()).await;
            match frame.expect("something within 10 s").expect("no end without a word").expect("a frame") {
                Frame::Binary(bytes) => {
                    let message = proto::ServerMessage::decode(bytes.as_ref()).expect("a server message");
                    return Ok(message.message.expect("a message"));
                }
                Frame::Close(close) => {
                    let close = close.expect("a close frame");
                    return Err((close.code.into(), close.reason.to_string()));
                }
                _ => {}
            }
        }
    }

    /// The job that it is offered.
    async fn offered(&mut self) -> proto::Job {
        match self.told().await {
            Ok(Told::Availability(offer)) => offer.job.expect("a job"),
            other => panic!("{other:?}"),
        }
    }

    async fn take(&mut self, job: &proto::Job, identity: &str) -> proto::JobAssignment {
        let answer = proto::AvailabilityResponse {
            job_id: job.id.clone(),
            available: true,
            participant_identity: identity.to_owned(),
            participant_attributes: [("color".to_owned(), "blue".to_owned())].into(),
            ..Default::default()
        };
        self.say(Said::Availability(answer)).await;
        match self.told().await {
            Ok(Told::Assignment(assignment)) => assignment,
            other => panic!("{other:?}"),
        }
    }
}

fn happened(server: &Server, name: &str, what: Happening) {
    let id = EventId { source: 5, number: 1 };
    server.events.tell(RoomEvent { id, at: NOW, room: room(name, 0), what });
}

fn start(server: &Server, name: &str) {
    happened(server, name, Happening::RoomStarted { agents: Vec::new() });
}

async fn call(server: &Server, method: &str, body: Value) -> (u16, Value) {
    let video = auth::VideoGrants { room_admin: true, room: "lobby".to_owned(), ..Default::default() };
    let token = mint(auth::Claims { video: Some(video), ..Default::default() });
    call_with(server, &token, method, body).await
}

async fn call_with(server: &Server, token: &str, method: &str, body: Value) -> (u16, Value) {
    let head = format!(
        "POST /twirp/livekit.AgentDispatchService/{method} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json"
    );
    let (status, _, text) = server.http(&head, body.to_string().as_bytes()).await;
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
}

#[tokio::test]
async fn a_worker_gets_the_job_of_a_room_and_a_token_for_it() {
    let server = Server::start().await;
    let mut worker = Worker::connect(&server).await;
    worker.say(Said::Ping(proto::WorkerPing { timestamp: 7 })).await;
    let Ok(Told::Pong(pong)) = worker.told().await else { panic!("no pong") };
    assert_eq!((pong.last_timestamp, pong.timestamp), (7, NOW.0 as i64));
    let allowed = proto::ParticipantPermission {
        can_publish: true,
        can_subscribe: false,
        hidden: true,
        ..Default::default()
    };
    let request = proto::RegisterWorkerRequest { allowed_permissions: Some(allowed), ..register("") };
    worker.say(Said::Register(request)).await;
    let Ok(Told::Register(registered)) = worker.told().await else { panic!("not registered") };
    assert!(registered.worker_id.starts_with("AW_"));
    assert_eq!(registered.server_info.map(|info| info.agent_protocol), Some(1));
    start(&server, "lobby");
    let job = worker.offered().await;
    assert!(job.id.starts_with("AJ_") && job.dispatch_id.starts_with("AD_"), "{job:?}");
    assert_eq!(job.room.as_ref().map(|room| room.name.as_str()), Some("lobby"));
    let assignment = worker.take(&job, "agent-1").await;
    assert_eq!(assignment.job.map(|job| job.state.expect("a state").status), Some(1));
    let claims = auth::verify(&auth::ApiKeys::development(), &assignment.token, NOW).expect("a token").claims;
    let (identity, name) = claims.check_join().expect("it lets in");
    assert_eq!((identity.as_str(), name.as_str()), ("agent-1", "lobby"));
    assert_eq!(claims.participant_kind(), ParticipantKind::Agent);
    let permissions = claims.permissions();
    assert!(permissions.publish && !permissions.subscribe && permissions.hidden && permissions.agent);
    assert!(!permissions.publish_data && !permissions.recorder);
    assert_eq!(claims.attributes.get("lk.agent_name").map(String::as_str), Some(""));
    assert_eq!(claims.attributes.get("color").map(String::as_str), Some("blue"));
    happened(&server, "lobby", Happening::RoomFinished(LeaveReason::RoomDeleted));
    let Ok(Told::Termination(end)) = worker.told().await else { panic!("not ended") };
    assert_eq!(end.job_id, job.id);
    server.stop_agents().await;
    let told: Vec<_> = std::iter::from_fn(|| server.told.try_recv().ok()).collect();
    let hooks: Vec<(&str, Value)> = told.iter().map(|event| webhook(event)).collect();
    let names: Vec<&str> = hooks.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["room_started", "agent_job_started", "room_finished", "agent_job_ended"]);
    assert_eq!(hooks[1].1["job"]["id"], job.id);
    assert_eq!(hooks[1].1["job"]["state"]["participantIdentity"], "agent-1");
    assert_eq!(hooks[3].1["job"]["state"]["status"], "JS_SUCCESS");
    assert_eq!(hooks[3].1["room"]["name"], "lobby");
}

fn webhook(event: &RoomEvent) -> (&'static str, Value) {
    let written = livekit::write_event(event);
    (written.event, serde_json::from_slice(&written.body).expect("JSON"))
}

#[tokio::test]
async fn without_the_grant_there_is_no_socket() {
    let server = Server::start().await;
    let refused = [String::new(), mint(auth::Claims::join("ann", "lobby")), "no.token.atall".to_owned()];
    for token in refused {
        let (status, text) =
            server.try_connect(&format!("/agent?access_token={token}")).await.err().expect("it is refused");
        assert_eq!(status, 401, "{text}");
    }
    let (status, ..) = server.get(&format!("/agent?access_token={}", agent_token())).await;
    assert_eq!(status, 404, "no upgrade");
    assert!(server.try_connect(&format!("//agent?access_token={}", agent_token())).await.is_ok());
}

#[tokio::test]
async fn a_worker_may_speak_json() {
    let server = Server::start().await;
    let mut worker = Worker::connect(&server).await;
    worker.0.send(Frame::Text(r#"{"register":{"agentName":"waiter","type":"JT_ROOM"}}"#.into())).await;
    let text = loop {
        match worker.0.socket.next().await {
            Some(Ok(Frame::Text(text))) => break text,
            Some(Ok(Frame::Ping(_))) => {}
            other => panic!("{other:?}"),
        }
    };
    let told: Value = serde_json::from_str(text.as_str()).expect("JSON");
    assert!(told["register"]["workerId"].as_str().is_some_and(|id| id.starts_with("AW_")), "{told}");
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_why_and_its_job_goes_to_another() {
    let server = Server::start().await;
    let status = || Said::UpdateWorker(proto::UpdateWorkerStatus::default());
    let mut early = Worker::connect(&server).await;
    early.say(status()).await;
    assert_eq!(early.told().await.err(), Some((1008, "the first message must be the registration".into())));
    for request in [
        proto::RegisterWorkerRequest { r#type: 9, ..register("") },
        register(&"x".repeat(257)),
        proto::RegisterWorkerRequest { deployment: "a_b".into(), ..register("") },
    ] {
        let mut worker = Worker::connect(&server).await;
        worker.say(Said::Register(request)).await;
        assert_eq!(worker.told().await.expect_err("it is refused").0, 1008);
    }
    let mut first = Worker::registered(&server, "").await;
    let mut second = Worker::registered(&server, "").await;
    start(&server, "lobby");
    let job = first.offered().await;
    first.0.send(Frame::Binary(vec![0xff; 32].into())).await;
    assert_eq!(first.told().await.err(), Some((1008, "a message could not be read".into())));
    assert_eq!(second.offered().await.id, job.id);
    let nameless = proto::AvailabilityResponse { job_id: job.id, available: true, ..Default::default() };
    second.say(Said::Availability(nameless)).await;
    assert_eq!(second.told().await.err(), Some((1008, "an agent must have an identity".into())));
}

#[tokio::test]
async fn nonsense_about_jobs_harms_nobody() {
    let server = Server::start().await;
    let mut worker = Worker::registered(&server, "").await;
    for job_id in ["", "AJ_", "AJ_0000000000000", "AD_0000000000000", "\u{1F600}"] {
        let job_id = job_id.to_owned();
        let answer = proto::AvailabilityResponse { job_id: job_id.clone(), ..Default::default() };
        worker.say(Said::Availability(answer)).await;
        let update = proto::UpdateJobStatus { job_id: job_id.clone(), status: 77, ..Default::default() };
        worker.say(Said::UpdateJob(update)).await;
        worker.say(Said::MigrateJob(proto::MigrateJobRequest { job_ids: vec![job_id; 50] })).await;
    }
    worker.say(Said::Register(register("again"))).await;
    worker.say(Said::SimulateJob(proto::SimulateJobRequest::default())).await;
    worker.0.send(Frame::Binary(Vec::new().into())).await;
    let wild = proto::UpdateWorkerStatus { load: f32::INFINITY, status: Some(99), ..Default::default() };
    worker.say(Said::UpdateWorker(wild)).await;
    let calm = proto::UpdateWorkerStatus { load: -1.0, status: Some(0), ..Default::default() };
    worker.say(Said::UpdateWorker(calm)).await;
    start(&server, "lobby");
    let job = worker.offered().await;
    assert_eq!(job.agent_name, "", "it registered once");
}

#[tokio::test]
async fn a_server_that_stops_sends_its_workers_away_and_takes_no_more() {
    let server = Server::start().await;
    let mut worker = Worker::registered(&server, "").await;
    server.stop_agents().await;
    assert_eq!(worker.told().await.expect_err("it is closed").0, 1001);
    drop(worker);
    server.sessions.ended().await;
    let mut late = Worker::connect(&server).await;
    late.say(Said::Register(register(""))).await;
    assert_eq!(late.told().await.expect_err("it is refused").0, 1008);
}

#[tokio::test]
async fn a_dispatch_is_made_listed_and_taken_back() {
    let server = Server::start().await;
    let mut worker = Worker::registered(&server, "waiter").await;
    let body = json!({
        "room": "lobby", "agentName": "waiter", "metadata": "m", "attributes": { "someKey": "v" },
        "restartPolicy": "JRP_NEVER",
    });
    let (status, made) = call(&server, "CreateDispatch", body).await;
    assert_eq!(
        (status, &made["agent_name"], &made["restart_policy"]),
        (200, &"waiter".into(), &"JRP_NEVER".into())
    );
    let asked = server.asked.recv().await.expect("something");
    assert!(matches!(asked, AdminRequest::CreateRoom { room, .. } if room.as_str() == "lobby"));
    start(&server, "lobby");
    let job = worker.offered().await;
    assert_eq!((job.metadata.as_str(), job.attributes["someKey"].as_str()), ("m", "v"));
    assert_eq!(Some(job.dispatch_id.as_str()), made["id"].as_str());
    worker.take(&job, "agent").await;
    let (_, list) = call(&server, "ListDispatch", json!({ "room": "lobby", "dispatchId": made["id"] })).await;
    let listed = &list["agent_dispatches"][0];
    assert_eq!(listed["state"]["jobs"][0]["state"]["status"], "JS_RUNNING", "{list}");
    assert_eq!(listed["state"]["jobs"][0]["state"]["participant_identity"], "agent");
    let (_, all) = call(&server, "ListDispatch", json!({ "room": "lobby" })).await;
    assert_eq!(all["agent_dispatches"].as_array().map(Vec::len), Some(2), "and the one of every room");
    let (_, none) = call(&server, "ListDispatch", json!({ "room": "lobby", "dispatchId": "AD_x" })).await;
    assert_eq!(none, json!({ "agent_dispatches": [] }));
    let (status, gone) =
        call(&server, "DeleteDispatch", json!({ "room": "lobby", "dispatchId": made["id"] })).await;
    assert_eq!((status, &gone["id"]), (200, &made["id"]));
    let Ok(Told::Termination(end)) = worker.told().await else { panic!("not ended") };
    assert_eq!(end.job_id, job.id);
    for id in [made["id"].clone(), "AD_".into(), "x".into()] {
        let (status, error) =
            call(&server, "DeleteDispatch", json!({ "room": "lobby", "dispatchId": id })).await;
        assert_eq!((status, &error["code"]), (404, &"not_found".into()));
    }
}

#[tokio::test]
async fn dispatches_are_made_by_those_who_administer_the_room_alone() {
    let server = Server::start().await;
    let join = mint(auth::Claims::join("ann", "lobby"));
    let video = auth::VideoGrants { room_create: true, room_list: true, agent: true, ..Default::default() };
    let others = mint(auth::Claims { video: Some(video), ..Default::default() });
    for method in ["CreateDispatch", "DeleteDispatch", "ListDispatch"] {
        for token in [&join, &others] {
            let (status, error) = call_with(&server, token, method, json!({ "room": "lobby" })).await;
            assert_eq!((status, &error["code"]), (401, &"unauthenticated".into()), "{method}");
        }
        let (status, _) = call(&server, method, json!({ "room": "elsewhere" })).await;
        assert_eq!(status, 401, "{method}");
    }
    assert_eq!(call(&server, "Nothing", json!({})).await.0, 404);
    for (field, value) in
        [("agentName", "x".repeat(257)), ("deployment", "a b".into()), ("metadata", "x".repeat(65_537))]
    {
        let body = json!({ "room": "lobby", field: value });
        assert_eq!(call(&server, "CreateDispatch", body).await.0, 400, "{field}");
    }
}

#[tokio::test]
async fn a_room_that_may_not_be_made_gets_no_dispatch() {
    let server = Server::with(livekit::Config { auto_create: false, ..Default::default() }).await;
    let video = auth::VideoGrants { room_admin: true, room: "nowhere".to_owned(), ..Default::default() };
    let token = mint(auth::Claims { video: Some(video), ..Default::default() });
    let (status, error) = call_with(&server, &token, "CreateDispatch", json!({ "room": "nowhere" })).await;
    assert_eq!((status, &error["code"]), (404, &"not_found".into()));
    assert_eq!(call(&server, "CreateDispatch", json!({ "room": "lobby" })).await.0, 200);
}

#[tokio::test]
async fn a_room_and_a_join_order_agents() {
    let server = Server::start().await;
    let claims = auth::Claims {
        room_config: Some(json!({ "agents": [{ "agentName": "waiter", "metadata": "m" }] })),
        ..auth::Claims::join("ann", "lobby")
    };
    let _client = server.connect(&format!("/rtc?access_token={}&protocol=16", mint(claims))).await;
    let seat = server.joins.recv().await.expect("a join");
    let wanted = Dispatch { agent: "waiter".to_owned(), metadata: "m".to_owned(), ..Dispatch::default() };
    assert_eq!(seat.join.options.agents, [wanted]);
}
