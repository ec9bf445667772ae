//! What has to hold, judged by the oracle alone.

use std::sync::Arc;

use messaging::event::{Content, Event};
use messaging::place::{EventId, Lineage, Place, Region};

use super::{State, message, region};

/// The holes among events: of which log, up to where.
fn holes(events: &[Arc<Event>]) -> Vec<(Region, Place)> {
    let hole = |event: &Arc<Event>| match event.content {
        Content::Hole { region, upto, .. } => Some((region, upto)),
        _ => None,
    };
    events.iter().filter_map(hole).collect()
}

/// Somebody has just received the last of their events: everything before it, or a hole for it, came earlier; and it came once.
pub(super) fn received(state: &State, person: usize) -> Result<(), String> {
    let received = &state.people[person].received;
    let Some((last, earlier)) = received.split_last() else { return Ok(()) };
    if earlier.iter().any(|event| event.id == last.id) {
        return Err(format!("{} came twice", last.id));
    }
    let Some(message_here) = message(last) else { return Ok(()) };
    for (cause, seen) in &state.before[&message_here] {
        let here = earlier.iter().any(|event| message(event) == Some(*cause));
        // What the sender had received; of an own message, whatever became of it.
        let copies = if seen.is_empty() { state.ids.get(cause) } else { Some(seen) };
        let covered =
            || copies.is_some_and(|ids| ids.iter().all(|id| is_covered(&state.lineage, earlier, *id)));
        if !here && !covered() {
            return Err(format!("message {message_here} came before message {cause}, which was its cause"));
        }
    }
    Ok(())
}

fn is_covered(lineage: &Lineage, earlier: &[Arc<Event>], id: EventId) -> bool {
    holes(earlier).iter().any(|(of, upto)| *of == id.region && lineage.covers(id.region, *upto, id.place))
}

/// After an entry reached a log: no two events have one id, the chain of a log does not fork.
pub(super) fn log(state: &State, index: usize) -> Result<(), String> {
    let mut last: Option<Place> = None;
    for event in state.logs[index].iter().flatten() {
        if event.prev != last {
            return Err(format!("{} follows {:?}, and the log has {last:?}: a fork", event.id, event.prev));
        }
        last = Some(event.id.place);
    }
    for (one, ids) in &state.ids {
        let shared = state.ids.iter().find(|(other, theirs)| *other > one && !ids.is_disjoint(theirs));
        if let Some((other, _)) = shared {
            return Err(format!("messages {one} and {other} have the same id"));
        }
    }
    Ok(())
}

/// What was acknowledged or delivered is in a log, unless logs may lose.
pub(super) fn lasts(state: &State, may_lose: bool) -> Result<(), String> {
    let there =
        |wanted: u8| state.logs.iter().flatten().flatten().any(|event| message(event) == Some(wanted));
    match state.lasting.iter().find(|wanted| !may_lose && !there(**wanted)) {
        Some(gone) => Err(format!("message {gone} was acknowledged or delivered and is in no log")),
        None => Ok(()),
    }
}

/// Nothing can happen any more: everybody has everything that can reach them, and nobody waits.
pub(super) fn at_rest(state: &State) -> Result<(), String> {
    for (index, person) in state.people.iter().enumerate() {
        if person.asked || person.again {
            return Err(format!("person {index} waits for an answer for ever"));
        }
        for (log, entries) in state.logs.iter().enumerate() {
            for event in entries.iter().flatten().filter(|event| state.reaches(log, event.id, person.region))
            {
                if !person.received.iter().any(|received| received.id == event.id) {
                    return Err(format!("person {index} never receives {}, of {}", event.id, region(log)));
                }
            }
        }
    }
    Ok(())
}
