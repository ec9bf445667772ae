//! Offers of the client and our answers: what it publishes, and on one connection also what it receives.

use std::time::Instant;

use base::model::LeaveReason;
use base::{CodecKind, MediaKind, TrackId};
use contract::session::Request;
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message;
use sdp::{
    Accepted, CodecLine, Description, Direction, OutBody, OutSection, Policy, Role, Section, SectionKind,
    choose,
};

use crate::metrics::count;

use super::Session;
use super::downlinks::{MAX_SLOTS, Slot, Streams};
use super::uploads::{MAX_TRACKS, Match, UpSection};

/// Largest data-channel message that we take, as told in SDP.
pub(super) const MAX_MESSAGE_SIZE: u64 = 65_536;

impl Session {
    /// Answers an offer, at once: no AddTrack, no subscription and no packet is waited for.
    pub(super) fn take_offer(&mut self, offer: proto::SessionDescription, now: Instant) {
        let description = match sdp::parse(&offer.sdp) {
            Ok(description) => description,
            Err(error) => return self.refuse_description(&error),
        };
        let requests = &mut self.effects.requests;
        if let Err(error) = self.publisher.take_remote(&description, true, &mut self.rng, requests) {
            return self.refuse_description(&error);
        }
        let asked = self.asked_at.take().is_some() && self.has_offered;
        self.has_offered = true;
        let waiting = self.downlinks.waiting().count();
        let uplinks = self.uplink_sections(&description);
        for track in self.uploads.take_sections(uplinks) {
            self.unpublished(track, now);
        }
        if self.params.single {
            self.downlinks.take_offered(offered_slots(&description, &self.downlink_policy()));
            self.refuse_unknown_codecs();
            self.downlinks.assign();
            self.downlinks.tell_draining();
            self.ask_for_backups();
        }
        self.match_tracks(now);
        let sections = description.sections.iter().map(|section| self.answer_section(section)).collect();
        let allow_mixed = description.extmap_allow_mixed;
        let sdp = self.publisher.write(Role::Answer, allow_mixed, &self.worker, sections);
        let mid_to_track_id = self.downlink_mids();
        let answer =
            proto::SessionDescription { r#type: "answer".to_owned(), sdp, id: offer.id, mid_to_track_id };
        self.frame(Message::Answer(answer));
        count(&self.metrics().offers_answered);
        if self.params.single {
            self.downlinks.drained();
            self.downlinks.begin_streams(now);
            let stuck = asked && self.downlinks.waiting().count() >= waiting;
            self.after_answer(stuck, now);
        }
    }

    /// A new offer is needed for what did not fit into this one. A client that was asked and did not make room is asked
    /// again later, lest it and we run in circles.
    fn after_answer(&mut self, stuck: bool, now: Instant) {
        if !self.downlinks.need_description() {
            return;
        }
        if stuck {
            self.asked_at = Some(now);
        } else {
            self.negotiate_soon(now);
        }
    }

    /// Two connections: the mapping belongs to our offers, and an empty one in an answer must not replace it.
    fn downlink_mids(&self) -> std::collections::HashMap<String, String> {
        if self.params.single { self.downlinks.mid_to_track_id() } else { Default::default() }
    }

    /// One connection: makes the client offer again, with as many more sections as are missing. Zeros are a request too.
    pub(super) fn ask_for_offer(&mut self, now: Instant) {
        if self.asked_at.is_some() || !self.downlinks.need_description() {
            return;
        }
        let (num_audios, num_videos) = self.downlinks.shortage();
        self.asked_at = Some(now);
        let requirement = proto::MediaSectionsRequirement { num_audios, num_videos };
        self.frame(Message::MediaSectionsRequirement(requirement));
    }

    pub(super) fn refuse_description(&mut self, error: &sdp::Error) {
        count(&self.metrics().descriptions_refused);
        self.expel(LeaveReason::MediaFailure, &error.to_string());
    }

    fn uplink_sections(&self, description: &Description) -> Vec<UpSection> {
        let sending =
            description.sections.iter().filter(|section| section.is_live() && section.direction.sends());
        let uplink = |section: &Section| {
            let kind = section.media_kind()?;
            let msid = section.msid.as_ref().map(|msid| msid.track.clone()).unwrap_or_default();
            let red = self.state.config.red
                && kind == MediaKind::Audio
                && self.uploads.wants_red(&msid, section.mid);
            let prefer =
                if red { Some(CodecKind::Red) } else { self.uploads.wanted_codec(kind, &msid, section.mid) };
            let policy = Policy { prefer, red };
            let accepted = self.uploads.accept(choose(section, &policy));
            (!accepted.codecs.is_empty()).then(|| UpSection {
                mid: section.mid,
                kind,
                accepted,
                rids: section.layers(),
                ssrcs: section.ssrcs.clone(),
                msid,
                track: None,
            })
        };
        sending.filter_map(uplink).take(MAX_TRACKS).collect()
    }

    /// Finds the sections of tracks and announces those that are found.
    pub(super) fn match_tracks(&mut self, now: Instant) {
        for found in self.uploads.match_up(now) {
            self.request(match found {
                Match::Track { track, mid, codec, simulcast, sdp_cid } => {
                    Request::TrackNegotiated { track, mid, codec, simulcast, sdp_cid }
                }
                Match::Backup { track, stream } => Request::BackupNegotiated { track, stream },
            });
        }
        self.set_publisher_sections();
    }

    /// An own track is not sent any more.
    fn unpublished(&mut self, track: TrackId, now: Instant) {
        self.request(Request::Unpublish { track });
        self.publish_queued(now);
    }

    fn answer_section(&self, section: &Section) -> OutSection {
        let body = match section.kind {
            _ if !section.is_live() => OutBody::rejected(section),
            SectionKind::Data => OutBody::Data { max_message_size: MAX_MESSAGE_SIZE },
            _ => self.answer_media(section).unwrap_or_else(|| OutBody::rejected(section)),
        };
        OutSection { mid: section.mid, body }
    }

    /// What receivers are sent is up to them: RED goes to those who know it, and is unwrapped for the others.
    pub(super) fn downlink_policy(&self) -> Policy {
        Policy { prefer: None, red: self.state.config.red }
    }

    /// `None`: nothing in it is acceptable.
    fn answer_media(&self, section: &Section) -> Option<OutBody> {
        let kind = section.media_kind()?;
        let uplink = self.uploads.section(section.mid);
        let slot = self.downlinks.slots.iter().find(|slot| slot.mid == section.mid && self.params.single);
        let downlink = slot.and_then(|slot| Some((slot, self.downlinks.in_slot(slot)?)));
        let accepted = match (uplink, slot.and_then(|slot| slot.accepted.as_ref())) {
            (Some(uplink), _) => uplink.accepted.clone(),
            (None, Some(accepted)) => accepted.clone(),
            (None, None) => choose(section, &self.downlink_policy()),
        };
        if accepted.codecs.is_empty() {
            return None;
        }
        let rtx = accepted.has_rtx();
        Some(OutBody::Media {
            kind,
            direction: Direction::of(downlink.is_some(), uplink.is_some()),
            codecs: self.answer_codecs(accepted),
            extensions: accepted_extensions(section, uplink, slot),
            rids: uplink.map(|uplink| uplink.rids.clone()).unwrap_or_default(),
            downlink: downlink.map(|(slot, known)| known.written(self.streams(slot), rtx)),
        })
    }

    /// Opus parameters depend on the connection, not on the section: browsers refuse a bundle in which one payload type
    /// has several meanings.
    fn answer_codecs(&self, accepted: Accepted) -> Vec<CodecLine> {
        let mut lines = accepted.lines;
        let opus = |line: &CodecLine| sdp::codec_kind(line) == Some(CodecKind::Opus);
        for line in lines.iter_mut().filter(|line| opus(line)) {
            if !self.uploads.any_without_dtx() {
                add_parameter(line, "usedtx", "1");
            }
            if self.uploads.any_stereo() {
                add_parameter(line, "stereo", "1");
                add_parameter(line, "maxaveragebitrate", "510000");
            }
        }
        lines
    }

    /// Browsers find tracks by mid on one connection, and by the section's own id while it is new; a section that is used
    /// again keeps its first id in the browser, so that the stream has to name the track.
    pub(super) fn streams(&self, slot: &Slot) -> Streams {
        let client = &self.params.client;
        let by_mid = self.params.single;
        let by_id = !slot.reused && !client.may_be_firefox();
        if client.is_browser() && (by_mid || by_id) { Streams::Grouped } else { Streams::PerTrack }
    }
}

/// Sections in which the client receives.
fn offered_slots(description: &Description, policy: &Policy) -> Vec<Slot> {
    let receiving =
        description.sections.iter().filter(|section| section.is_live() && section.direction.receives());
    let slot = |section: &Section| {
        let accepted = choose(section, policy);
        Some(Slot::new(section.mid, section.media_kind()?, Some(accepted)))
    };
    receiving.filter_map(slot).take(MAX_SLOTS).collect()
}

fn accepted_extensions(
    section: &Section,
    uplink: Option<&UpSection>,
    slot: Option<&Slot>,
) -> Vec<sdp::ExtensionLine> {
    match (uplink, slot.and_then(|slot| slot.accepted.as_ref())) {
        (Some(uplink), _) => uplink.accepted.extensions.clone(),
        (None, Some(accepted)) => accepted.extensions.clone(),
        (None, None) => choose(section, &Policy::default()).extensions,
    }
}

pub(super) fn add_parameter(line: &mut CodecLine, name: &str, value: &str) {
    if line.parameter(name).is_some() {
        return;
    }
    if !line.fmtp.is_empty() {
        line.fmtp.push(';');
    }
    line.fmtp.push_str(&format!("{name}={value}"));
}
