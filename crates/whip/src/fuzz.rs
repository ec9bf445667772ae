//! Entry point for fuzzing: takes any bytes as what clients send in the bodies of their requests, and panics when something that
//! must hold does not.

use std::time::{Duration, Instant};

use base::model::{Participant, Permissions};
use base::{Identity, ParticipantId};
use contract::media::{Fingerprint, WorkerInfo};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::Protocol;
use crate::session::{Choice, Offer, Session};

/// The bytes as an offer to publish and to play, as a fragment of a PATCH, and as a choice of layers. A part behind a zero byte is
/// the fragment or choice for the session that the part before it has made.
pub fn body(now: Instant, bytes: &[u8]) {
    let (offer, more) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, bytes),
    };
    let (offer, more) = (String::from_utf8_lossy(offer), String::from_utf8_lossy(more));
    for protocol in [Protocol::Whip, Protocol::Whep] {
        let Ok(offer) = Offer::read(protocol, &offer, true) else { continue };
        let rng = StdRng::seed_from_u64(1);
        let mut session =
            Session::new(protocol, offer, &somebody(), worker(), now + Duration::from_secs(60), rng);
        session.begin();
        let _ = session.take_requests();
        let etag = session.etag().to_owned();
        if let Ok(fragment) = sdp::parse_fragment(&more) {
            let _ = session.patch(Some(&etag), fragment.clone());
            let _ = session.patch(Some("*"), fragment);
        }
        if let Ok(choice) = serde_json::from_str::<Choice>(&more) {
            let _ = session.choose(choice);
        }
        assert!(sdp::parse(&session.answer()).is_ok(), "our answer can be read");
        let _ = (session.news(), session.take_requests());
    }
    let _ = sdp::parse_fragment(&offer);
}

fn worker() -> WorkerInfo {
    WorkerInfo {
        index: 0,
        candidates: vec![([192, 0, 2, 7], 7_882).into()],
        fingerprint: Fingerprint([7; 32]),
    }
}

fn somebody() -> Participant {
    let permissions = Permissions { publish: true, subscribe: true, ..Permissions::default() };
    Participant { permissions, ..Participant::new(ParticipantId(1), Identity::new("ada")) }
}
