//! Remote procedure calls that the server API makes to participants: messages on their channel for reliable data, answered there.

use contract::session::RpcFailure;
use livekit_protocol as proto;
use livekit_protocol::data_packet::Value;
use livekit_protocol::rpc_response::Value as Outcome;
use prost::Message as _;

/// The version of calls whose payloads are in the packets themselves.
const VERSION: u32 = 1;
/// Longest result, in bytes; as in LiveKit's clients.
const MAX_RESULT: usize = 15 * 1024;
/// LiveKit's code for a result that cannot be taken.
const RESPONSE_TOO_LARGE: u32 = 1_504;

/// A call: its id, and the message. `random` names it.
pub(crate) fn call(random: u128, method: String, payload: String, timeout_ms: u32) -> (String, Vec<u8>) {
    let id = format!("{random:032x}");
    let request = proto::RpcRequest {
        id: id.clone(),
        method,
        payload,
        response_timeout_ms: timeout_ms,
        version: VERSION,
        ..proto::RpcRequest::default()
    };
    let packet = proto::DataPacket {
        participant_identity: caller(&id),
        value: Some(Value::RpcRequest(request)),
        ..proto::DataPacket::default()
    };
    (id, packet.encode_to_vec())
}

/// The id of the server's call that this message answers, and the outcome. `None` for every other message.
pub(crate) fn answer(packet: &mut proto::DataPacket) -> Option<(String, Result<String, RpcFailure>)> {
    let Some(Value::RpcResponse(response)) = &mut packet.value else { return None };
    if packet.destination_identities != [caller(&response.request_id)] {
        return None;
    }
    let id = std::mem::take(&mut response.request_id);
    let outcome = match response.value.take() {
        Some(Outcome::Payload(payload)) if payload.len() <= MAX_RESULT => Ok(payload),
        Some(Outcome::Error(error)) => {
            Err(RpcFailure::Error { code: error.code, message: error.message, data: error.data })
        }
        None => Ok(String::new()),
        // Too large, or in a form that this version does not have.
        Some(Outcome::Payload(_) | Outcome::CompressedPayload(_)) => Err(RpcFailure::Error {
            code: RESPONSE_TOO_LARGE,
            message: "the result is too large".to_owned(),
            data: String::new(),
        }),
    };
    Some((id, outcome))
}

/// Whom the participant sees calling, and sends its answer to. Some clients take no calls from nobody. Nobody else has this
/// name, since the id is random; so an answer to a participant is never taken for one to the server.
fn caller(id: &str) -> String {
    format!("server-{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(to: &str, id: &str, value: Outcome) -> proto::DataPacket {
        let response = proto::RpcResponse { request_id: id.to_owned(), value: Some(value) };
        proto::DataPacket {
            destination_identities: vec![to.to_owned()],
            value: Some(Value::RpcResponse(response)),
            ..proto::DataPacket::default()
        }
    }

    #[test]
    fn an_answer_is_the_servers_only_if_it_goes_to_the_caller_of_this_very_call() {
        let (id, bytes) = call(7, "greet".to_owned(), "hi".to_owned(), 1_000);
        let packet = proto::DataPacket::decode(bytes.as_slice()).expect("a packet");
        let caller = packet.participant_identity;
        let value = || Outcome::Payload("result".to_owned());
        assert_eq!(answer(&mut response(&caller, &id, value())), Some((id.clone(), Ok("result".to_owned()))));
        assert_eq!(answer(&mut response("bob", &id, value())), None, "between participants");
        assert_eq!(answer(&mut response(&caller, "another", value())), None);
        assert_eq!(answer(&mut proto::DataPacket::default()), None);
    }

    #[test]
    fn errors_and_results_that_cannot_be_taken_are_failures() {
        let (id, caller) = ("1".to_owned(), caller("1"));
        let error = proto::RpcError { code: 7, message: "no".to_owned(), data: "d".to_owned() };
        let failure = RpcFailure::Error { code: 7, message: "no".to_owned(), data: "d".to_owned() };
        let (_, outcome) = answer(&mut response(&caller, &id, Outcome::Error(error))).expect("an answer");
        assert_eq!(outcome, Err(failure));
        for value in [Outcome::CompressedPayload(vec![1]), Outcome::Payload("x".repeat(MAX_RESULT + 1))] {
            let (_, outcome) = answer(&mut response(&caller, &id, value)).expect("an answer");
            assert!(matches!(outcome, Err(RpcFailure::Error { code: RESPONSE_TOO_LARGE, .. })));
        }
    }
}
