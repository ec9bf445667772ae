//! What can happen, and what comes of it.

use std::sync::Arc;

use base::UnixMillis;
use messaging::causal::{Causal, Hold};
use messaging::clock::Hlc;
use messaging::event::{Content, Event};
use messaging::place::{Cursor, EventId, Mark, Place, Vector};

use super::{
    Action, Broken, Delivery, Failure, Flight, Owner, State, channel, check, message, region, sender,
};

/// Everything that can happen in a state.
pub(super) fn actions(model: &Delivery, state: &State) -> Vec<Action> {
    let mut all = Vec::new();
    for index in 0..model.shape.people {
        person_actions(model, state, index, &mut all);
    }
    for index in 0..model.shape.regions {
        region_actions(model, state, index, &mut all);
    }
    if state.cut.is_some() && !state.gone {
        all.push(Action::Heal);
    }
    all
}

fn person_actions(model: &Delivery, state: &State, person: usize, all: &mut Vec<Action>) {
    let who = &state.people[person];
    let owner = &state.owners[who.region];
    let may_send = who.again || state.sent < model.shape.messages;
    if !who.asked && may_send && owner.serving && owner.flight.is_none() && owner.waiting.is_none() {
        all.push(Action::Send { person });
    }
    if next_for(state, person).is_some() {
        all.push(Action::Deliver { person });
    }
    if state.moves > 0 && !who.asked && !who.again {
        let others = (0..model.shape.regions).filter(|region| *region != who.region);
        all.extend(others.map(|region| Action::Move { person, region }));
    }
}

fn region_actions(model: &Delivery, state: &State, index: usize, all: &mut Vec<Action>) {
    let owner = &state.owners[index];
    if owner.flight.is_some() {
        all.extend([Action::Commit { region: index }, Action::CommitUnheard { region: index }]);
    }
    if state.strays[index].is_some() {
        all.push(Action::Stray { region: index });
    }
    if let Some((_, _, wanted)) = &owner.waiting
        && owner.flight.is_none()
        && unsatisfied(state, index, wanted)
            .iter()
            .any(|(other, place)| is_late(state, *other, *place, index))
    {
        all.push(Action::Hole { region: index });
    }
    for log in 0..model.shape.regions {
        if log != index && next_to_apply(state, index, log).is_some() {
            all.push(Action::Apply { owner: index, log });
        }
        let carried = (0..state.logs[log].len()).filter(|entry| is_news(state, index, log, *entry));
        all.extend(carried.map(|entry| Action::Carry { node: index, log, entry }));
    }
    if state.failed {
        return;
    }
    let length = state.logs[index].len();
    match model.shape.failure {
        Failure::None => {}
        Failure::Owner => all.extend((0..=length).map(|view| Action::Replace { region: index, view })),
        Failure::Cut => all.extend([false, true].map(|lost| Action::Cut { region: index, lost })),
        Failure::Loss => all.extend((0..length).map(|keep| Action::Lose { region: index, keep })),
    }
}

/// Is this entry of `log` unknown to the node?
fn is_news(state: &State, node: usize, log: usize, entry: usize) -> bool {
    let Some(event) = &state.logs[log][entry] else { return false };
    let causal = &state.nodes[node].causal;
    state.reaches(log, event.id, node)
        && !causal.applied().covers(&state.lineage, event.id)
        && !causal.holds(event.id)
}

/// The next entry of another log that an owner has not applied, if it can reach it.
fn next_to_apply(state: &State, owner: usize, log: usize) -> Option<Arc<Event>> {
    let causal = &state.owners[owner].causal;
    let known = |event: &Event| causal.applied().covers(&state.lineage, event.id) || causal.holds(event.id);
    let next = state.logs[log].iter().flatten().find(|event| !known(event))?;
    state.reaches(log, next.id, owner).then(|| Arc::clone(next))
}

/// The next event of the node that a person's stream does not cover.
fn next_for(state: &State, person: usize) -> Option<Arc<Event>> {
    let who = &state.people[person];
    let unknown = |event: &&Arc<Event>| {
        !who.causal.applied().covers(&state.lineage, event.id) && !who.causal.holds(event.id)
    };
    state.nodes[who.region].delivered.iter().find(unknown).cloned()
}

fn unsatisfied(state: &State, owner: usize, wanted: &Vector) -> Vec<(usize, Place)> {
    let missing = |(index, place): &(usize, Place)| {
        !state.owners[owner].causal.satisfies(&state.lineage, region(*index), *place)
    };
    let all = (0..state.logs.len()).filter(|index| *index != owner);
    all.filter_map(|index| Some((index, wanted.place(region(index))?))).filter(missing).collect()
}

/// Does a place of another region not come, for the time being or ever? Only then does the owner wait long enough for a hole.
fn is_late(state: &State, other: usize, place: Place, at: usize) -> bool {
    let head = Place { epoch: state.epochs[other], n: state.logs[other].len() as u64 };
    !state.connected(other, at) || !state.lineage.covers(region(other), head, place)
}

/// What comes of an action, or what it violates.
pub(super) fn step(model: &Delivery, before: &State, action: &Action) -> Result<State, String> {
    let mut state = before.clone();
    match *action {
        Action::Send { person } => send(model, &mut state, person)?,
        Action::Commit { region } => commit(model, &mut state, region, true)?,
        Action::CommitUnheard { region } => commit(model, &mut state, region, false)?,
        Action::Stray { region } => stray(model, &mut state, region)?,
        Action::Apply { owner, log } => apply(model, &mut state, owner, log)?,
        Action::Carry { node, log, entry } => carry(model, &mut state, node, log, entry),
        Action::Deliver { person } => deliver(&mut state, person)?,
        Action::Move { person, region } => relocate(model, &mut state, person, region),
        Action::Hole { region } => declare(model, &mut state, region)?,
        Action::Replace { region, view } => replace(model, &mut state, region, view)?,
        Action::Cut { region, lost } => (state.cut, state.gone, state.failed) = (Some(region), lost, true),
        Action::Heal => state.cut = None,
        Action::Lose { region, keep } => lose(model, &mut state, region, keep),
    }
    check::lasts(&state, model.shape.failure == Failure::Loss)?;
    Ok(state)
}

fn send(model: &Delivery, state: &mut State, person: usize) -> Result<(), String> {
    let number = if state.people[person].again { state.people[person].last } else { state.sent + 1 };
    state.sent = state.sent.max(number);
    let who = &mut state.people[person];
    (who.asked, who.again, who.last) = (true, false, number);
    state.before.entry(number).or_insert_with(|| who.knows.clone());
    who.knows.entry(number).or_default();
    let mut seen = who.seen.clone();
    seen.join(who.causal.applied());
    let at = who.region;
    if let Some(id) = known_as(state, at, number) {
        acknowledge(state, person, number, id);
        return Ok(());
    }
    // The content says which message it is, so that a send which waits is known.
    let content = Content::Custom { name: number.to_string().into(), body: Arc::from(&b""[..]) };
    if model.broken == Broken::ForgetSeen {
        seen = Vector::default();
    }
    state.owners[at].waiting = Some((person, content, seen));
    propose(model, state, at)
}

/// The event that an owner knows this message as: it is not appended again.
fn known_as(state: &State, at: usize, number: u8) -> Option<EventId> {
    let applied = state.owners[at].causal.applied();
    let ids = state.ids.get(&number)?;
    ids.iter().find(|id| applied.covers(&state.lineage, **id)).copied()
}

/// Appends what waits, if what it waits for is here.
fn propose(model: &Delivery, state: &mut State, at: usize) -> Result<(), String> {
    let Some((person, content, seen)) = state.owners[at].waiting.clone() else { return Ok(()) };
    let ahead = model.broken == Broken::AppendAhead;
    if state.owners[at].flight.is_some() || (!ahead && !unsatisfied(state, at, &seen).is_empty()) {
        return Ok(());
    }
    state.owners[at].waiting = None;
    let number = number_of(&content);
    let mut events = lost_holes(state, at);
    let mut depends = state.owners[at].causal.depends(region(at));
    if ahead {
        depends.join(&seen);
        depends.remove(region(at));
    }
    let event = draft(state, at, events.len(), depends, content, Some((person, number)));
    events.push(event);
    launch(model, state, at, events, Some(person))
}

fn number_of(content: &Content) -> u8 {
    match content {
        Content::Custom { name, .. } => name.parse().expect("a message of the model is its number"),
        _ => 0,
    }
}

/// What a new epoch's first event stands behind.
fn lost_holes(state: &State, at: usize) -> Vec<Arc<Event>> {
    let (name, now) = (region(at), state.epochs[at]);
    let causal = &state.owners[at].causal;
    let waiting =
        causal.unmet_dependencies(&state.lineage).filter(|(of, _)| *of == name).map(|(_, place)| place.epoch);
    let from =
        causal.applied().place(name).map(|place| place.epoch).into_iter().chain(waiting).min().unwrap_or(1);
    let mut holes = Vec::new();
    for epoch in from..now {
        let upto = Place { epoch, n: u64::MAX };
        if !causal.satisfies(&state.lineage, name, upto) {
            let content = Content::Hole { region: name, known: causal.applied().place(name), upto };
            holes.push(draft(state, at, holes.len(), causal.depends(name), content, None));
        }
    }
    holes
}

/// An event behind the `ahead` others of its append.
fn draft(
    state: &State,
    at: usize,
    ahead: usize,
    depends: Vector,
    content: Content,
    from: Option<(usize, u8)>,
) -> Arc<Event> {
    let owner = &state.owners[at];
    let place = state.place(at, owner.view + ahead);
    let prev = if ahead > 0 {
        Some(state.place(at, owner.view + ahead - 1))
    } else {
        owner.causal.applied().place(region(at))
    };
    let id = EventId { region: region(at), place };
    Arc::new(Event {
        id,
        channel: channel(),
        prev,
        depends,
        clock: Hlc::next(UnixMillis(0), owner.causal.clock()),
        count: 0,
        from: from.map(|(person, number)| sender(person, number)),
        read: Vector::default(),
        after: Vec::new(),
        content,
    })
}

fn launch(
    model: &Delivery,
    state: &mut State,
    at: usize,
    events: Vec<Arc<Event>>,
    sender: Option<usize>,
) -> Result<(), String> {
    let expected = state.owners[at].view;
    if model.broken == Broken::DeliverBeforeCommit {
        for event in &events {
            state.nodes[at].causal.offer(&state.lineage, Arc::clone(event));
        }
        drain_node(state, at);
    }
    let entries = events.into_iter().map(Some).collect();
    state.owners[at].flight = Some(Flight { expected, entries, sender });
    Ok(())
}

/// Appends, if the log is as expected.
fn append(model: &Delivery, state: &mut State, at: usize, flight: &Flight) -> Result<bool, String> {
    if state.logs[at].len() != flight.expected && model.broken != Broken::NoCompare {
        return Ok(false);
    }
    for event in flight.entries.iter().flatten() {
        if let Some(number) = message(event) {
            state.ids.entry(number).or_default().insert(event.id);
        }
    }
    state.logs[at].extend(flight.entries.iter().cloned());
    check::log(state, at)?;
    Ok(true)
}

fn commit(model: &Delivery, state: &mut State, at: usize, heard: bool) -> Result<(), String> {
    let Some(flight) = state.owners[at].flight.clone() else { return Ok(()) };
    let is_there = state.logs[at].get(flight.expected..flight.expected + flight.entries.len())
        == Some(&flight.entries[..]);
    let committed = is_there || append(model, state, at, &flight)?;
    if !heard && committed {
        // The owner asks again later, and finds its own entries.
        return Ok(());
    }
    let owner = &mut state.owners[at];
    owner.flight = None;
    if !committed {
        // Deposed: another owner begins, which has read everything.
        return takeover(model, state, at, usize::MAX);
    }
    owner.view += flight.entries.len();
    for event in flight.entries.iter().flatten() {
        owner.causal.append(&state.lineage, event);
    }
    owner.serving = true;
    if let Some(person) = flight.sender {
        let sent = flight.entries.iter().flatten().filter_map(|event| Some((message(event)?, event.id)));
        sent.for_each(|(number, id)| acknowledge(state, person, number, id));
    }
    drain_owner(model, state, at)
}

fn acknowledge(state: &mut State, person: usize, number: u8, id: EventId) {
    let who = &mut state.people[person];
    who.asked = false;
    who.seen.raise(id.region, Mark { place: id.place, count: 0 });
    state.lasting.insert(number);
}

fn stray(model: &Delivery, state: &mut State, at: usize) -> Result<(), String> {
    let Some(flight) = state.strays[at].take() else { return Ok(()) };
    append(model, state, at, &flight).map(drop)
}

fn apply(model: &Delivery, state: &mut State, at: usize, log: usize) -> Result<(), String> {
    if let Some(event) = next_to_apply(state, at, log) {
        state.owners[at].causal.offer(&state.lineage, event);
    }
    drain_owner(model, state, at)
}

/// Applies what the rule lets go, declares what its own log lost and others depend on, and decides again on what waits.
fn drain_owner(model: &Delivery, state: &mut State, at: usize) -> Result<(), String> {
    while state.owners[at].causal.next(&state.lineage, |_| Hold::Go).is_some() {}
    let owner = &state.owners[at];
    let lost =
        |(of, place): (messaging::place::Region, Place)| of == region(at) && place.epoch < state.epochs[at];
    if owner.serving && owner.flight.is_none() && owner.causal.unmet_dependencies(&state.lineage).any(lost) {
        let holes = lost_holes(state, at);
        return launch(model, state, at, holes, None);
    }
    begin(model, state, at)?;
    propose(model, state, at)
}

fn carry(model: &Delivery, state: &mut State, node: usize, log: usize, entry: usize) {
    let Some(event) = state.logs[log][entry].clone() else { return };
    if model.broken == Broken::SkipGap
        && state.nodes[node].causal.applied().place(event.id.region) != event.prev
    {
        let mut cursor = state.nodes[node].causal.cursor();
        if let Some(place) = event.prev {
            cursor.at.set(event.id.region, Mark { place, count: 0 });
        }
        state.nodes[node].causal = state.resume(&cursor).unwrap_or_default();
    }
    state.nodes[node].causal.offer(&state.lineage, event);
    drain_node(state, node);
}

fn drain_node(state: &mut State, node: usize) {
    while let Some(delivery) = state.nodes[node].causal.next(&state.lineage, |_| Hold::Go) {
        state.nodes[node].delivered.push(delivery.event);
    }
}

fn deliver(state: &mut State, person: usize) -> Result<(), String> {
    if let Some(event) = next_for(state, person) {
        state.people[person].causal.offer(&state.lineage, event);
    }
    while let Some(delivery) = state.people[person].causal.next(&state.lineage, |_| Hold::Go) {
        let (number, id) = (message(&delivery.event), delivery.event.id);
        let who = &mut state.people[person];
        who.received.push(delivery.event);
        check::received(state, person)?;
        if let Some(number) = number {
            state.people[person].knows.entry(number).or_default().insert(id);
            state.lasting.insert(number);
        }
    }
    Ok(())
}

fn relocate(model: &Delivery, state: &mut State, person: usize, to: usize) {
    state.moves -= 1;
    let who = &mut state.people[person];
    who.region = to;
    let mut cursor = who.causal.cursor();
    who.seen.join(&cursor.at);
    if model.broken == Broken::TokenAsCursor {
        cursor.at.join(&who.seen.clone());
    }
    reconnect(state, person, &cursor);
}

/// A stream goes on from its cursor, or anew.
fn reconnect(state: &mut State, person: usize, cursor: &Cursor) {
    let resumed = state.resume(cursor);
    let who = &mut state.people[person];
    if resumed.is_none() {
        who.received.clear();
    }
    who.causal = resumed.unwrap_or_default();
}

fn declare(model: &Delivery, state: &mut State, at: usize) -> Result<(), String> {
    let Some((_, _, wanted)) = state.owners[at].waiting.clone() else { return Ok(()) };
    let mut holes: Vec<Arc<Event>> = Vec::new();
    for (missing, upto) in unsatisfied(state, at, &wanted) {
        let causal = &state.owners[at].causal;
        let content =
            Content::Hole { region: region(missing), known: causal.applied().place(region(missing)), upto };
        holes.push(draft(state, at, holes.len(), causal.depends(region(at)), content, None));
    }
    launch(model, state, at, holes, None)
}

fn replace(model: &Delivery, state: &mut State, at: usize, view: usize) -> Result<(), String> {
    state.failed = true;
    let old = std::mem::take(&mut state.owners[at]);
    state.strays[at] = old.flight.map(|flight| Flight { sender: None, ..flight });
    takeover(model, state, at, view)
}

/// Nobody answers whoever had asked: they ask again.
fn interrupt(state: &mut State, region: usize) {
    for person in state.people.iter_mut().filter(|person| person.region == region && person.asked) {
        (person.asked, person.again) = (false, true);
    }
}

/// A new owner that has read `view` entries.
fn takeover(model: &Delivery, state: &mut State, at: usize, view: usize) -> Result<(), String> {
    let view = view.min(state.logs[at].len());
    let mut causal = Causal::default();
    for event in state.logs[at][..view].iter().flatten() {
        causal.offer(&state.lineage, Arc::clone(event));
    }
    state.owners[at] = Owner { causal, view, ..Owner::default() };
    interrupt(state, at);
    drain_owner(model, state, at)
}

/// A new owner that has applied what its log depends on commits a barrier.
fn begin(model: &Delivery, state: &mut State, at: usize) -> Result<(), String> {
    let owner = &mut state.owners[at];
    if owner.serving || owner.flight.is_some() || owner.causal.waits_in(region(at)) {
        return Ok(());
    }
    if model.broken == Broken::NoBarrier {
        owner.serving = true;
        let view = owner.view;
        let unread = state.logs[at][view..].iter().flatten().filter_map(|event| message(event));
        return match unread.into_iter().find(|number| state.lasting.contains(number)) {
            Some(number) => Err(format!(
                "an owner serves without message {number}, which was acknowledged or delivered before"
            )),
            None => Ok(()),
        };
    }
    owner.flight = Some(Flight { expected: owner.view, entries: vec![None], sender: None });
    Ok(())
}

fn lose(model: &Delivery, state: &mut State, at: usize, keep: usize) {
    state.failed = true;
    let follows = Place { epoch: state.epochs[at], n: keep as u64 };
    state.logs[at].truncate(keep);
    if model.broken != Broken::ReuseEpoch {
        state.epochs[at] += 1;
        state.lineage.follow(region(at), state.epochs[at], follows);
    }
    // Everybody who applied what is gone begins anew, from the logs.
    for index in 0..state.nodes.len() {
        let node = &state.nodes[index];
        if index == at || !is_kept(state, at, &node.causal) {
            state.nodes[index] = Default::default();
        }
        if index != at && !is_kept(state, at, &state.owners[index].causal) {
            let _ = takeover(model, state, index, usize::MAX);
        }
    }
    let _ = takeover(model, state, at, usize::MAX);
    for person in 0..state.people.len() {
        let cursor = state.people[person].causal.cursor();
        state.people[person].seen.join(&cursor.at);
        reconnect(state, person, &cursor);
    }
}

/// Is what was applied of this log still in it?
fn is_kept(state: &State, log: usize, causal: &Causal) -> bool {
    let head = Place { epoch: state.epochs[log], n: state.logs[log].len() as u64 };
    causal.applied().place(region(log)).is_none_or(|place| state.lineage.covers(region(log), head, place))
}
