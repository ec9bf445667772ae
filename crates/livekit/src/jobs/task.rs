//! The task that owns [`Agents`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use agents::{Agents, Decision, Now, Registration};
use base::agents::Job;
use base::events::{EventId, Happening, RoomEvent};
use base::{AgentWorkerId, Identity, RoomName};
use contract::events::{Follower, RoomEvents};
use contract::session::AdminRequest;
use livekit_protocol as proto;
use livekit_protocol::server_message::Message;
use tokio::sync::mpsc;

use super::{Registered, Request, Said, translate};
use crate::config::State;
use crate::ids;
use crate::metrics::Metrics;
use crate::wire::until;

/// Messages that wait for one worker: several for each of the offers that it can have open, and the ends of many jobs at once.
/// A worker that is further behind is sent away.
const BEHIND: usize = 1_024;

pub(super) struct Task {
    state: State,
    agents: Agents,
    lines: BTreeMap<AgentWorkerId, Line>,
    teller: Teller,
    stopping: bool,
}

/// Numbers what happens to jobs.
struct Teller {
    source: u64,
    told: u64,
    events: RoomEvents,
}

/// The way to a worker, and what its agents' tokens are made from.
struct Line {
    told: mpsc::Sender<Message>,
    registration: Registration,
}

impl Task {
    pub fn new(state: &State, events: RoomEvents) -> Self {
        let agents = Agents::new(Box::new(rand::random));
        let teller = Teller { source: rand::random(), told: 0, events };
        Self { state: state.clone(), agents, lines: BTreeMap::new(), teller, stopping: false }
    }

    /// Runs until rooms are over and nobody can ask any more.
    pub async fn run(mut self, events: Follower, mut requests: mpsc::Receiver<Request>) {
        let mut followed = true;
        loop {
            let due = self.agents.poll_timeout();
            tokio::select! {
                // What happened before a request is known to its answer.
                biased;
                event = events.recv(), if followed => match event {
                    Ok(event) => self.agents.happened(self.now(), &event),
                    Err(_) => followed = false,
                },
                request = requests.recv() => match request {
                    Some(request) => self.request(request),
                    None => return,
                },
                () = until(due) => self.agents.handle_timeout(self.now()),
            }
            self.perform();
            self.count();
        }
    }

    fn now(&self) -> Now {
        Now { at: Instant::now(), wall: self.state.now() }
    }

    fn request(&mut self, request: Request) {
        let now = self.now();
        // Whoever asks may have given up.
        match request {
            Request::Register(registration, reply) => {
                if let Err(Some(registered)) = reply.send(self.register(now, registration)) {
                    self.lose(now, registered.id);
                }
            }
            Request::Say(worker, said) => self.hear(now, worker, said),
            Request::Lost(worker) => self.lose(now, worker),
            Request::Dispatch(room, order, reply) => {
                let _ = reply.send(self.agents.dispatch(now, &room, order));
            }
            Request::Withdraw(room, id, reply) => {
                let _ = reply.send(self.agents.withdraw(now, &room, id));
            }
            Request::List(room, only, reply) => {
                let _ = reply.send(self.agents.list(&room, only));
            }
            Request::Stop(done) => {
                self.stopping = true;
                self.lines.clear();
                let _ = done.send(());
            }
        }
    }

    fn register(&mut self, now: Now, registration: Registration) -> Option<Registered> {
        if self.stopping {
            return None;
        }
        let id = self.agents.register(now, registration.clone()).ok()?;
        let (line, told) = mpsc::channel(BEHIND);
        self.lines.insert(id, Line { told: line, registration });
        Some(Registered { id, told })
    }

    fn hear(&mut self, now: Now, worker: AgentWorkerId, said: Said) {
        match said {
            Said::Answer(job, answer) => self.agents.answer(now, worker, job, answer),
            Said::Report(load, available) => self.agents.report(now, worker, load, available),
            Said::Update(job, status, error) => self.agents.update(now, worker, job, status, error),
            Said::Resume(jobs) => self.agents.resume(now, worker, &jobs),
        }
    }

    fn lose(&mut self, now: Now, worker: AgentWorkerId) {
        self.lines.remove(&worker);
        self.agents.lost(now, worker);
    }

    fn perform(&mut self) {
        while let Some(decision) = self.agents.poll_decision() {
            match decision {
                Decision::Ask { worker, job, resuming } => {
                    let job = Some(translate::job(&job));
                    let request = proto::AvailabilityRequest { job, resuming };
                    self.tell(worker, Message::Availability(request));
                }
                Decision::Assign { worker, job, guest } => {
                    let Some(line) = self.lines.get(&worker) else { continue };
                    let token = translate::token(&self.state, &line.registration, &job, &guest);
                    tracing::info!(
                        room = job.room.name.as_str(),
                        agent = job.order.agent,
                        job = %job.id,
                        %worker,
                        "job given to a worker"
                    );
                    let job = Some(translate::job(&job));
                    self.tell(worker, Message::Assignment(proto::JobAssignment { job, url: None, token }));
                }
                Decision::Terminate { worker, job } => {
                    let job_id = ids::job(job);
                    self.tell(worker, Message::Termination(proto::JobTermination { job_id }));
                }
                Decision::Remove { room, agent } => self.remove(room, agent),
                Decision::Started(job) => self.report(Arc::clone(&job), Happening::AgentJobStarted(job)),
                Decision::Ended(job) => {
                    tracing::info!(job = %job.id, status = ?job.status, error = job.error, "job ended");
                    self.report(Arc::clone(&job), Happening::AgentJobEnded(job));
                }
            }
        }
    }

    /// Tells whoever follows what happens.
    fn report(&mut self, job: Arc<Job>, what: Happening) {
        self.teller.told += 1;
        let id = EventId { source: self.teller.source, number: self.teller.told };
        self.teller.events.tell(RoomEvent { id, at: self.state.now(), room: job.room.clone(), what });
    }

    /// A worker that does not read, or has gone, is lost: its socket sees the end of its line.
    fn tell(&mut self, worker: AgentWorkerId, message: Message) {
        let Some(line) = self.lines.get(&worker) else { return };
        if line.told.try_send(message).is_err() {
            let now = self.now();
            self.lose(now, worker);
        }
    }

    fn remove(&self, room: RoomName, identity: Identity) {
        let control = self.state.control.clone();
        tokio::spawn(async move {
            let revoke_before_s = 0;
            let remove = |reply| AdminRequest::RemoveParticipant { room, identity, revoke_before_s, reply };
            // It is not there any more, or the server stops: both is well.
            let _ = control.admin(remove).await;
        });
    }

    fn count(&self) {
        let (tally, metrics): (_, &Arc<Metrics>) = (self.agents.tally(), &self.state.metrics);
        let values = [
            (&metrics.agent_workers, self.lines.len() as u64),
            (&metrics.agent_jobs_running, self.agents.running() as u64),
            (&metrics.agent_jobs_assigned, tally.assigned),
            (&metrics.agent_jobs_refused, tally.refused),
            (&metrics.agent_jobs_unanswered, tally.unanswered),
            (&metrics.agent_jobs_handed_on, tally.handed_on),
            (&metrics.agent_jobs_succeeded, tally.succeeded),
            (&metrics.agent_jobs_failed, tally.failed),
            (&metrics.agent_jobs_out_of_place, tally.out_of_place),
        ];
        values.into_iter().for_each(|(counter, value)| counter.store(value, Relaxed));
    }
}
