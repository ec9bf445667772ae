//! One peer connection as signalling sees it: credentials and the numbering of descriptions.

use base::PeerId;
use contract::media::{ChannelSpec, DtlsRole, Fingerprint, IceCredentials, WorkerInfo};
use contract::session::Request;
use rand::Rng;
use rand::rngs::StdRng;
use sdp::{Description, Document, Ice, OutSection, Role, Setup, Transport};

/// A connection of the participant.
#[derive(Debug)]
pub(crate) struct Connection {
    pub peer: PeerId,
    local: Ice,
    remote: Option<(Ice, [u8; 32])>,
    /// We start the DTLS handshake: the other side waits for it, whichever of us offered.
    active: bool,
    session_id: u64,
    version: u64,
}

impl Connection {
    pub fn new(rng: &mut StdRng) -> Self {
        Self {
            peer: PeerId(rng.random()),
            local: Ice::from_random(rng.random()),
            remote: None,
            active: false,
            session_id: rng.random(),
            version: 0,
        }
    }

    /// The request that makes the worker answer this connection's ICE checks.
    pub fn add(&self, channels: Vec<ChannelSpec>, primary: bool) -> Request {
        Request::AddPeer { peer: self.peer, local: credentials(&self.local), channels, primary }
    }

    /// Our own restart of ICE (RFC 8445 section 9): new credentials, which go into our next offer. The old ones hold until
    /// the client has nominated with the new ones.
    pub fn restart(&mut self, rng: &mut StdRng) -> Request {
        self.local = Ice::from_random(rng.random());
        Request::RestartIce { peer: self.peer, local: credentials(&self.local) }
    }

    /// Takes the other side's transport from its description. New ICE credentials are a restart, to which we answer
    /// with new ones of our own when it was the other side that offered.
    pub fn take_remote(
        &mut self,
        description: &Description,
        offered: bool,
        rng: &mut StdRng,
        requests: &mut Vec<Request>,
    ) -> Result<(), sdp::Error> {
        let remote = description.remote()?;
        if self.remote.as_ref() == Some(&remote) {
            return Ok(());
        }
        if self.remote.is_some() && offered {
            requests.push(self.restart(rng));
        }
        // The client for microcontrollers says so in offers too. Everything else lets us wait for the handshake.
        let setup = description.transport().and_then(|section| section.setup);
        self.active = setup == Some(Setup::Passive);
        let role = if self.active { DtlsRole::Client } else { DtlsRole::Server };
        requests.push(Request::SetRemote {
            peer: self.peer,
            remote: credentials(&remote.0),
            fingerprint: Fingerprint(remote.1),
            role,
        });
        self.remote = Some(remote);
        Ok(())
    }

    /// Writes our next description of this connection.
    pub fn write(
        &mut self,
        role: Role,
        allow_mixed: bool,
        worker: &WorkerInfo,
        sections: Vec<OutSection>,
    ) -> String {
        self.version += 1;
        let role = if role == Role::Answer && self.active { Role::ActiveAnswer } else { role };
        let document = Document {
            role,
            session_id: self.session_id,
            version: self.version,
            extmap_allow_mixed: allow_mixed,
            transport: Transport {
                ice: self.local.clone(),
                fingerprint: worker.fingerprint.0,
                candidates: worker.candidates.clone(),
            },
            sections,
        };
        document.write()
    }
}

fn credentials(ice: &Ice) -> IceCredentials {
    IceCredentials { ufrag: ice.ufrag.clone(), password: ice.password.clone() }
}
