//! What an event means to the index.

use std::collections::BTreeSet;

use base::ChannelId;
use messaging::event::{Body, CallStage, Change, Content, Entry, Event, Record};
use messaging::partition::State;
use store::index::{Changes, Name};
use store::log::Position;

use crate::keys::{self, Key};

/// Changes with every change of what is noted: an index of another version is made anew.
const VERSION: u32 = 1;

/// Words of one message that it is found by.
const WORDS: usize = 64;
/// Longest word, in bytes; of a longer one the beginning counts.
const WORD: usize = 48;

/// What records and checkpoints mean to the index.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extract;

impl store::index::Extract for Extract {
    fn version(&self) -> u32 {
        VERSION
    }

    fn event(&self, partition: u16, event: &store::log::Event, is_covered: bool, changes: &mut Changes<'_>) {
        // What is no record of ours stops the owner of its partition, who says so.
        if let Ok(Record { entry: Entry::Event { event }, .. }) = Record::read(&event.payload) {
            note(partition, &event, is_covered, changes);
        }
    }

    fn checkpoint(&self, _: u16, _: Position, state: &[u8], changes: &mut Changes<'_>) {
        let Ok(state) = State::restore(state) else { return };
        for (channel, state) in &state.channels {
            for user in state.members().keys() {
                join(changes, user.as_str(), channel);
            }
        }
    }

    fn forget(&self, _: u16, event: &store::log::Event, changes: &mut Changes<'_>) {
        if let Ok(Record { entry: Entry::Event { event }, .. }) = Record::read(&event.payload) {
            forget(&event, changes);
        }
    }
}

/// Notes what a committed event means. The order of calls is that of the log; the latest may be noted twice.
pub(crate) fn note(partition: u16, event: &Event, is_covered: bool, changes: &mut Changes<'_>) {
    let (channel, n) = (&event.channel, event.id.place.n);
    if let Some(name) = Name::new(channel.as_str()) {
        changes.place(name, n);
    }
    if event.content.target().is_none() {
        put(changes, &keys::item(channel, n), &[]);
    }
    match &event.content {
        Content::Created { members, .. } if !is_covered => {
            members.iter().for_each(|(user, _)| join(changes, user.as_str(), channel));
        }
        Content::Member { user, change } if !is_covered => member(changes, user.as_str(), channel, change),
        Content::Message { body, mentions, .. } => {
            note_words(changes, channel, n, body);
            if !mentions.is_empty() {
                put(changes, &keys::effect(partition, n), &[]);
            }
        }
        Content::Edit { target, body } => {
            put(changes, &keys::edit(channel, target.place.n), &n.to_be_bytes());
            note_words(changes, channel, target.place.n, body);
        }
        Content::Delete { target } => put(changes, &keys::delete(channel, target.place.n), &n.to_be_bytes()),
        Content::Reaction { target, emoji, on } => {
            react(changes, event, target.place.n, emoji, *on);
        }
        Content::Call { call, stage } => note_call(changes, partition, event, call, stage),
        _ => {}
    }
}

/// Takes away what was noted of an event that retention removes. What was done to a message goes with the message.
pub(crate) fn forget(event: &Event, changes: &mut Changes<'_>) {
    let (channel, n) = (&event.channel, event.id.place.n);
    if let Some(name) = Name::new(channel.as_str()) {
        changes.displace(name, n);
    }
    match &event.content {
        Content::Message { body, .. } => {
            remove(changes, &keys::edit(channel, n));
            remove(changes, &keys::delete(channel, n));
            words(&text(body)).iter().for_each(|word| remove(changes, &keys::word(channel, word, n)));
        }
        Content::Edit { target, body } => {
            let n = target.place.n;
            words(&text(body)).iter().for_each(|word| remove(changes, &keys::word(channel, word, n)));
        }
        Content::Reaction { target, emoji, .. } => {
            if let Some(user) = event.user() {
                remove(changes, &keys::reaction(channel, target.place.n, emoji, user));
            }
            remove(changes, &keys::total(channel, target.place.n, emoji));
        }
        _ => {}
    }
    remove(changes, &keys::item(channel, n));
}

fn member(changes: &mut Changes<'_>, user: &str, channel: &ChannelId, change: &Change) {
    match change {
        Change::Joined { .. } => join(changes, user, channel),
        Change::Left | Change::Removed => leave(changes, user, channel),
        Change::Banned { until } if until.0 > 0 => leave(changes, user, channel),
        _ => {}
    }
}

fn note_call(
    changes: &mut Changes<'_>,
    partition: u16,
    event: &Event,
    call: &base::CallId,
    stage: &CallStage,
) {
    let (channel, n) = (&event.channel, event.id.place.n);
    let key = keys::call(partition, channel, call);
    match stage {
        CallStage::Invited { .. } => put(changes, &key, &[n.to_be_bytes(), [0; 8]].concat()),
        CallStage::Accepted => {
            let began = Name::new(&key.0).and_then(|key| changes.get(key).ok().flatten());
            if let Some(began) = began.and_then(|value| value.first_chunk::<8>().copied()) {
                put(changes, &key, &[began, n.to_be_bytes()].concat());
            }
        }
        CallStage::Ended { .. } => remove(changes, &key),
        CallStage::Missed { .. } => put(changes, &keys::effect(partition, n), &[]),
    }
}

/// The total is that of the reactions that stand: both change in one step, so that taking the same events again changes nothing.
fn react(changes: &mut Changes<'_>, event: &Event, target: u64, emoji: &str, on: bool) {
    let Some(user) = event.user() else { return };
    let key = keys::reaction(&event.channel, target, emoji, user);
    let total = keys::total(&event.channel, target, emoji);
    let (Some(name), Some(total_name)) = (Name::new(&key.0), Name::new(&total.0)) else { return };
    // An index that cannot be read is not written to either: the next write says so.
    let (Ok(before), Ok(count)) = (changes.get(name), changes.get(total_name)) else { return };
    let count = count.as_deref().and_then(keys::number).unwrap_or(0);
    match (before.is_some(), on) {
        (false, true) => {
            changes.put(name, &[]);
            changes.put(total_name, &(count + 1).to_be_bytes());
        }
        (true, false) => {
            changes.remove(name);
            match count.saturating_sub(1) {
                0 => changes.remove(total_name),
                left => changes.put(total_name, &left.to_be_bytes()),
            }
        }
        _ => {}
    }
}

fn note_words(changes: &mut Changes<'_>, channel: &ChannelId, n: u64, body: &Body) {
    words(&text(body)).iter().for_each(|word| put(changes, &keys::word(channel, word, n), &[]));
}

fn put(changes: &mut Changes<'_>, key: &Key, value: &[u8]) {
    if let Some(name) = Name::new(&key.0) {
        changes.put(name, value);
    }
}

fn remove(changes: &mut Changes<'_>, key: &Key) {
    if let Some(name) = Name::new(&key.0) {
        changes.remove(name);
    }
}

fn join(changes: &mut Changes<'_>, user: &str, channel: &ChannelId) {
    if let (Some(user), Some(channel)) = (Name::new(user), Name::new(channel.as_str())) {
        changes.join(user, channel, &[]);
    }
}

fn leave(changes: &mut Changes<'_>, user: &str, channel: &ChannelId) {
    if let (Some(user), Some(channel)) = (Name::new(user), Name::new(channel.as_str())) {
        changes.leave(user, channel);
    }
}

/// What a body says to people: `text` of a JSON object, or a JSON string. Other bodies say nothing that is searched.
pub(crate) fn text(body: &[u8]) -> String {
    match serde_json::from_slice(body) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Object(mut map)) => match map.remove("text") {
            Some(serde_json::Value::String(text)) => text,
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// The words of a text, folded to lower case. Scripts without spaces between words are taken letter by letter.
pub(crate) fn words(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut word = String::new();
    for letter in text.chars().flat_map(char::to_lowercase).chain([' ']) {
        let is_alone = ('\u{2e80}'..='\u{d7ff}').contains(&letter) || letter >= '\u{20000}';
        if letter.is_alphanumeric() && !is_alone {
            if word.len() + letter.len_utf8() <= WORD {
                word.push(letter);
            }
            continue;
        }
        if !word.is_empty() {
            words.insert(std::mem::take(&mut word));
        }
        if is_alone && letter.is_alphanumeric() {
            words.insert(letter.to_string());
        }
        if words.len() >= WORDS {
            break;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_and_scripts_without_spaces_are_taken_letter_by_letter() {
        let found: Vec<String> = words("Déjà-vu, DÉJÀ 你好!").into_iter().collect();
        assert_eq!(found, ["déjà", "vu", "你", "好"]);
    }

    #[test]
    fn a_text_is_a_string_or_the_text_of_an_object_and_anything_else_says_nothing() {
        let texts = [r#""hello""#, r#"{"text":"hello","x":1}"#, r#"{"text":1}"#, "[1]", "\u{1}"];
        assert_eq!(texts.map(|body| text(body.as_bytes())), ["hello", "hello", "", "", ""]);
    }

    #[test]
    fn a_text_of_endless_words_is_found_by_a_bounded_number_of_them() {
        let long: String = (0..10_000).map(|n| format!("word{n} ")).collect();
        assert_eq!(words(&long).len(), WORDS);
        assert_eq!(words(&"x".repeat(1_000)).first().map(String::len), Some(WORD));
    }
}
