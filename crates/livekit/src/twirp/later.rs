//! LiveKit's other services. Their methods are known, and their grants checked as where they are served; what they would do is
//! not there yet, which callers are told.

use auth::{Claims, Denied};

use super::Error;

type Check = fn(&Claims) -> Result<(), Denied>;
type Methods = &'static [(&'static str, Check)];

const EGRESS: Methods = &[
    ("StartEgress", Claims::check_record),
    ("StartRoomCompositeEgress", Claims::check_record),
    ("StartWebEgress", Claims::check_record),
    ("StartParticipantEgress", Claims::check_record),
    ("StartTrackCompositeEgress", Claims::check_record),
    ("StartTrackEgress", Claims::check_record),
    ("UpdateLayout", Claims::check_record),
    ("UpdateStream", Claims::check_record),
    ("ListEgress", Claims::check_record),
    ("StopEgress", Claims::check_record),
];

const INGRESS: Methods = &[
    ("CreateIngress", Claims::check_ingress),
    ("UpdateIngress", Claims::check_ingress),
    ("ListIngress", Claims::check_ingress),
    ("DeleteIngress", Claims::check_ingress),
];

const SIP: Methods = &[
    ("CreateSIPTrunk", Claims::check_sip_admin),
    ("ListSIPTrunk", Claims::check_sip_admin),
    ("CreateSIPInboundTrunk", Claims::check_sip_admin),
    ("CreateSIPOutboundTrunk", Claims::check_sip_admin),
    ("UpdateSIPInboundTrunk", Claims::check_sip_admin),
    ("UpdateSIPOutboundTrunk", Claims::check_sip_admin),
    ("GetSIPInboundTrunk", Claims::check_sip_admin),
    ("GetSIPOutboundTrunk", Claims::check_sip_admin),
    ("ListSIPInboundTrunk", Claims::check_sip_admin),
    ("ListSIPOutboundTrunk", Claims::check_sip_admin),
    ("DeleteSIPTrunk", Claims::check_sip_admin),
    ("CreateSIPDispatchRule", Claims::check_sip_admin),
    ("UpdateSIPDispatchRule", Claims::check_sip_admin),
    ("ListSIPDispatchRule", Claims::check_sip_admin),
    ("DeleteSIPDispatchRule", Claims::check_sip_admin),
    ("CreateSIPParticipant", Claims::check_sip_call),
    ("TransferSIPParticipant", Claims::check_sip_call),
];

/// Services of which not even the grants are known here.
const OTHERS: &[&str] = &["AgentSimulation", "CloudAgent", "Connector", "PhoneNumberService"];

/// The answer to a call of `livekit.SERVICE/METHOD`, any service but those that are served.
pub(super) fn refuse(service: &str, method: &str, claims: &Claims) -> Error {
    let methods = match service {
        "Egress" => EGRESS,
        "Ingress" => INGRESS,
        "SIP" => SIP,
        other if OTHERS.contains(&other) => {
            return Error::unimplemented(format!("livekit.{service} is not served by this server"));
        }
        _ => return Error::new("bad_route", 404, format!("there is no service livekit.{service}")),
    };
    match methods.iter().find(|(name, _)| *name == method) {
        None => Error::new("bad_route", 404, format!("{service} has no method {method}")),
        Some((_, check)) => match check(claims) {
            Err(denied) => Error::denied(denied),
            Ok(()) => Error::unimplemented(format!("{service}/{method} is not served by this server yet")),
        },
    }
}
