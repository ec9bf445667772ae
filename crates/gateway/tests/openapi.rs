//! The OpenAPI document of the HTTP twin is made from the types of the protocol, and committed; this holds them equal.

use std::path::PathBuf;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use wire::messaging as protocol;

const WRITE: &str = "UPDATE_OPENAPI=1 cargo test -p gateway --test openapi";

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    serde_json::to_value(generator.subschema_for::<T>()).expect("a schema is JSON")
}

fn path<C: JsonSchema, A: JsonSchema>(
    generator: &mut SchemaGenerator,
    paths: &mut Map<String, Value>,
    command: &str,
    summary: &str,
) {
    let body = json!({"required": true, "content": {"application/json": {"schema": schema::<C>(generator)}}});
    let okay = json!({"description": "The `ok` of the answer.", "content": {"application/json": {"schema": schema::<A>(generator)}}});
    let error = json!({"description": "Why not.", "content": {"application/json": {"schema": schema::<protocol::Error>(generator)}}});
    let operation = json!({
        "operationId": command,
        "summary": summary,
        "requestBody": body,
        "responses": {"200": okay, "default": error},
    });
    paths.insert(format!("/m/v1/{command}"), json!({"post": operation}));
}

macro_rules! paths {
    ($generator:ident, $paths:ident, $($command:literal: $ask:ident => $answer:ident, $summary:literal;)*) => {
        $(path::<protocol::$ask, protocol::$answer>(&mut $generator, &mut $paths, $command, $summary);)*
    };
}

fn document() -> Value {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let mut paths = Map::new();
    paths! { generator, paths,
        "channels": Channels => ChannelList, "Lists one's channels, those that changed last first.";
        "send": Send => Sent, "Sends a message, or an event of the application.";
        "edit": Edit => Sent, "A message says something else.";
        "delete": Delete => Sent, "A message says nothing any more.";
        "react": React => Sent, "Gives a reaction, or takes it back.";
        "tell": Tell => Changed, "Tells who is there something that is kept nowhere.";
        "read": Read => Marked, "Moves one's marks.";
        "history": History => Page, "A page of what is displayed.";
        "search": Search => Found, "Looks for words in one's channels.";
        "members": Members => MemberList, "Lists who is in a channel.";
        "receipts.detail": ReceiptsDetail => Readers, "Lists who read a message.";
        "reactions": Reactions => ReactionList, "Lists who reacted to a message.";
        "typing": Typing => Changed, "One is typing, or is not.";
        "channel.create": ChannelCreate => Changed, "Makes a channel.";
        "channel.update": ChannelUpdate => Changed, "Sets a channel up differently.";
        "channel.join": OfChannel => Changed, "Comes into a public channel, or one that one is invited to.";
        "channel.leave": OfChannel => Changed, "Leaves a channel.";
        "channel.invite": ChannelMember => Changed, "Invites somebody.";
        "channel.add": ChannelMember => Changed, "Takes somebody in.";
        "channel.remove": ChannelMember => Changed, "Sends somebody out.";
        "channel.moderate": ChannelModerate => Changed, "Mutes or bans somebody, or gives another role.";
        "call.invite": CallInvite => CallState, "Rings people.";
        "call.accept": OfCall => CallState, "Answers a call.";
        "call.decline": OfCall => CallState, "Declines a call.";
        "call.cancel": OfCall => CallState, "Gives up ringing.";
        "call.end": OfCall => CallState, "Ends a call.";
    }
    let components = generator.take_definitions(true);
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Stoa: messaging over HTTP",
            "version": "1",
            "description": "Every command of the messaging protocol as a request. A server's token (grant messaging.server) acts for \
                anybody: it puts as_user and as_device into the map. docs/messaging-protocol.md says what everything means.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    })
}

#[test]
fn the_committed_document_is_what_the_types_say() {
    let mut text = serde_json::to_string_pretty(&document()).expect("it is JSON");
    text.push('\n');
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi-messaging.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&file, &text).expect("it is written");
    }
    let committed = std::fs::read_to_string(&file).expect("it is committed");
    assert!(committed == text, "docs/openapi-messaging.json lags behind the types; write it with: {WRITE}");
}

#[test]
fn every_command_that_needs_no_connection_has_a_path() {
    let document = document();
    let paths = document["paths"].as_object().expect("a map");
    for name in protocol::Command::NAMES {
        let connected = ["connect", "subscribe", "unsubscribe", "presence"].contains(name);
        assert_eq!(paths.contains_key(&format!("/m/v1/{name}")), !connected, "{name}");
    }
}
