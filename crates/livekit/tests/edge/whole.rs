//! The adapter with the real control plane and rooms behind it, on a real listener. Only media is made up: its worker swallows
//! what it is told.

use std::net::SocketAddr;
use std::sync::Arc;

use base::RoomName;
use base::model::Participant;
use contract::events::RoomEvents;
use contract::media::{Fingerprint, WorkerHandle, WorkerInfo};
use contract::session::{AdminRequest, ControlHandle};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message as Told;

use super::support::{Client, NOW, mint, open, wrapped};

pub const ROOM: &str = "lobby";
const PUBLISHING: &str = include_str!("../../../sdp/tests/offers/chromium_v0_publish.sdp");

/// A server whose rooms are real.
pub struct Whole {
    pub address: SocketAddr,
    pub metrics: Arc<livekit::Metrics>,
    control: ControlHandle,
    /// What the worker says; held so that it does not end.
    _media: async_channel::Sender<contract::media::Event>,
}

impl Whole {
    pub async fn start() -> Self {
        let (commands, queue) = async_channel::bounded(10_000);
        tokio::spawn(async move { while queue.recv().await.is_ok() {} });
        let info = WorkerInfo {
            index: 0,
            candidates: vec!["192.0.2.7:7882".parse().expect("an address")],
            fingerprint: Fingerprint([7; 32]),
        };
        let worker = WorkerHandle::new(info, commands, Arc::new(|| {}));
        let (media, events) = async_channel::bounded(16);
        let config = control::Config::default();
        let (control, _) = control::spawn(config, vec![worker], events, RoomEvents::default());
        let keys = auth::ApiKeys::development();
        let state = livekit::State::new(control.clone(), keys, || NOW, livekit::Config::default());
        let metrics = state.metrics.clone();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, livekit::router(state)).await });
        Self { address, metrics, control, _media: media }
    }

    /// A client on two connections, as far as its first message.
    pub async fn enter(&self, identity: &str, claims: impl FnOnce(&mut auth::Claims)) -> Person {
        let mut own = auth::Claims::join(identity, ROOM);
        claims(&mut own);
        let path = format!("/rtc?access_token={}&sdk=go&protocol=17&version=2.0.0", mint(own));
        Person::first(open(self.address, &path).await.expect("the upgrade succeeds")).await
    }

    /// A client on one connection that subscribes to everything, with or without an offer in its join.
    pub async fn enter_on_one(&self, identity: &str, offer: Option<proto::SessionDescription>) -> Person {
        let request = proto::JoinRequest {
            client_info: Some(proto::ClientInfo { protocol: 17, ..Default::default() }),
            connection_settings: Some(proto::ConnectionSettings {
                auto_subscribe: true,
                ..Default::default()
            }),
            publisher_offer: offer,
            ..Default::default()
        };
        self.enter_with(identity, "/rtc/v1", &request).await
    }

    pub async fn enter_with(&self, identity: &str, path: &str, request: &proto::JoinRequest) -> Person {
        let token = mint(auth::Claims::join(identity, ROOM));
        let path = format!("{path}?access_token={token}&join_request={}", wrapped(request, true));
        Person::first(open(self.address, &path).await.expect("the upgrade succeeds")).await
    }

    pub async fn participants(&self) -> Vec<Arc<Participant>> {
        let list = |reply| AdminRequest::ListParticipants { room: RoomName::new(ROOM), reply };
        self.control.admin(list).await.expect("control answers")
    }
}

/// Somebody in the room.
pub struct Person {
    pub client: Client,
    pub join: proto::JoinResponse,
    marks: u64,
}

impl Person {
    /// As far as its first message, which must be the join.
    async fn first(mut client: Client) -> Self {
        let Some(Told::Join(join)) = client.told().await else { panic!("the first message is not a join") };
        Self { client, join, marks: 0 }
    }

    pub fn sid(&self) -> String {
        self.join.participant.as_ref().expect("every join has it").sid.clone()
    }

    /// Publishes a microphone; returns its id.
    pub async fn publish(&mut self) -> String {
        let offer = sdp::parse(PUBLISHING).expect("a recorded offer");
        let section = offer.sections.iter().find_map(|section| section.msid.as_ref()).expect("it publishes");
        let request = proto::AddTrackRequest { cid: section.track.clone(), ..Default::default() };
        self.client.ask(Ask::AddTrack(request)).await;
        let published = self.client.until(|told| match told {
            Told::TrackPublished(published) => published.track,
            _ => None,
        });
        let sid = published.await.sid;
        self.client.ask(Ask::Offer(offer_of(PUBLISHING))).await;
        sid
    }

    /// Everything it is told up to here: what it asked before has been handled by its session and by the room. `false`: and
    /// then its socket was closed.
    pub async fn told_so_far(&mut self) -> (Vec<Told>, bool) {
        self.marks += 1;
        // A track that nobody has: the room says so, after everything else.
        let mark = format!("TR_{}", base::TrackId(u64::MAX - self.marks));
        let update = proto::UpdateSubscription {
            track_sids: vec![mark.clone()],
            subscribe: true,
            ..Default::default()
        };
        // The server may have closed already.
        self.client.try_ask(Ask::Subscription(update)).await;
        let mut told = Vec::new();
        loop {
            match self.client.told().await {
                Some(Told::SubscriptionResponse(response)) if response.track_sid == mark => {
                    return (told, true);
                }
                Some(message) => told.push(message),
                None => return (told, false),
            }
        }
    }
}

pub fn offer_of(sdp: &str) -> proto::SessionDescription {
    proto::SessionDescription { r#type: "offer".to_owned(), sdp: sdp.to_owned(), id: 1, ..Default::default() }
}
