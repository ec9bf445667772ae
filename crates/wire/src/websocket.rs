//! The framing of WebSocket (RFC 6455 section 5), for either side of a connection.
//!
//! [`Reader`] takes bytes as they come and gives whole messages. Between messages it holds nothing: an idle connection costs no buffer. What
//! it holds of a message that has not come whole is bounded by the limit on messages. Nothing here is extended (no compression).

use std::fmt;

/// What a frame is (section 5.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opcode {
    /// Goes on with a message.
    Continuation,
    /// Begins a message that is text.
    Text,
    /// Begins a message that is bytes.
    Binary,
    /// Ends the connection.
    Close,
    /// Is to be answered.
    Ping,
    /// Answers.
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        self.bits() & 8 != 0
    }
}

/// Which side reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Reads masked frames, and no others (section 5.1).
    Server,
    /// Reads frames that are not masked, and no others.
    Client,
}

/// Something that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// A whole message of text.
    Text(&'a str),
    /// A whole message of bytes.
    Binary(&'a [u8]),
    /// To be answered with the same bytes.
    Ping(&'a [u8]),
    /// An answer.
    Pong(&'a [u8]),
    /// The other side ends the connection: its code, if it gave one.
    Close(Option<u16>),
}

/// Why the connection cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It breaks the protocol.
    Protocol,
    /// A message is longer than the limit.
    TooLarge,
    /// A text is not UTF-8.
    NotUtf8,
}

impl Fault {
    /// The code to close with (section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocol => "the frames are not those of a WebSocket",
            Self::NotUtf8 => "a text is not UTF-8",
            Self::TooLarge => "a message is too long",
        })
    }
}

/// Most bytes before a payload.
pub const MAX_HEADER: usize = 14;

/// Most bytes of a control frame's payload (section 5.5).
pub const MAX_CONTROL: usize = 125;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Header {
    fin: bool,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    /// Bytes of the header.
    len: usize,
    payload: usize,
}

impl Header {
    /// `None`: it has not come whole.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Fault> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let opcode = Opcode::of(first & 15).filter(|_| first & 0x70 == 0).ok_or(Fault::Protocol)?;
        let (fin, masked) = (first & 0x80 != 0, second & 0x80 != 0);
        let (extra, payload) = match second & 0x7f {
            126 => (2, rest.first_chunk().map(|bytes| u64::from(u16::from_be_bytes(*bytes)))),
            127 => (8, rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))),
            short => (0, Some(u64::from(short))),
        };
        if opcode.is_control() && (!fin || extra > 0) {
            return Err(Fault::Protocol);
        }
        let Some(payload) = payload else { return Ok(None) };
        // The shortest form is a must, and the highest bit is none of a length.
        if (extra == 2 && payload < 126) || (extra == 8 && (payload <= 0xffff || payload >> 63 != 0)) {
            return Err(Fault::Protocol);
        }
        let payload = usize::try_from(payload).map_err(|_| Fault::TooLarge)?;
        let (mask, len) = match (masked, rest[extra..].first_chunk()) {
            (false, _) => (None, 2 + extra),
            (true, Some(mask)) => (Some(*mask), 6 + extra),
            (true, None) => return Ok(None),
        };
        Ok(Some(Self { fin, opcode, mask, len, payload }))
    }
}

/// Takes the mask off, or puts it on (section 5.3).
pub fn mask(key: [u8; 4], bytes: &mut [u8]) {
    let word = u32::from_ne_bytes(key);
    let mut words = bytes.chunks_exact_mut(4);
    for chunk in &mut words {
        let value = u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]) ^ word;
        chunk.copy_from_slice(&value.to_ne_bytes());
    }
    words.into_remainder().iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
}

/// What of a connection's bytes has not become a message yet.
#[derive(Debug)]
pub struct Reader {
    side: Side,
    limit: u32,
    /// Nothing, between messages.
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    /// A frame that has not come whole.
    frame: Vec<u8>,
    /// The frames of a message that has not come whole; `true`: it is text.
    message: Option<(bool, Vec<u8>)>,
}

impl Reader {
    /// For messages of at most `limit` bytes.
    pub fn new(side: Side, limit: u32) -> Self {
        Self { side, limit, partial: None }
    }

    /// Takes what came, in the order in which it came, and gives what is whole to `on`. False from there ends it.
    ///
    /// # Errors
    /// [`Fault`]: nothing is to be read from the connection any more.
    pub fn read(&mut self, input: &mut [u8], mut on: impl FnMut(Message<'_>) -> bool) -> Result<(), Fault> {
        let mut partial = self.partial.take().unwrap_or_default();
        if partial.frame.is_empty() {
            let used = self.frames(&mut partial.message, input, &mut on)?;
            partial.frame.extend_from_slice(&input[used..]);
        } else {
            let mut frame = std::mem::take(&mut partial.frame);
            frame.extend_from_slice(input);
            let used = self.frames(&mut partial.message, &mut frame, &mut on)?;
            frame.drain(..used);
            partial.frame = frame;
        }
        if !partial.frame.is_empty() || partial.message.is_some() {
            self.partial = Some(partial);
        }
        Ok(())
    }

    /// Does it hold nothing?
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Handles whole frames; gives how many bytes they took.
    fn frames(
        &self,
        message: &mut Option<(bool, Vec<u8>)>,
        bytes: &mut [u8],
        on: &mut impl FnMut(Message<'_>) -> bool,
    ) -> Result<usize, Fault> {
        let mut at = 0;
        while let Some(header) = Header::parse(&bytes[at..])? {
            self.check(&header, message.as_ref())?;
            let start = at + header.len;
            let Some(payload) = bytes.get_mut(start..start + header.payload) else { break };
            if let Some(key) = header.mask {
                mask(key, payload);
            }
            at = start + header.payload;
            if !deliver(&header, message, payload, on)? {
                return Ok(bytes.len());
            }
        }
        Ok(at)
    }

    fn check(&self, header: &Header, message: Option<&(bool, Vec<u8>)>) -> Result<(), Fault> {
        if header.mask.is_some() != (self.side == Side::Server) {
            return Err(Fault::Protocol);
        }
        let goes_on = header.opcode == Opcode::Continuation;
        if !header.opcode.is_control() && goes_on != message.is_some() {
            return Err(Fault::Protocol);
        }
        let before = if header.opcode.is_control() { 0 } else { message.map_or(0, |(_, bytes)| bytes.len()) };
        let whole = before.saturating_add(header.payload);
        if whole > self.limit as usize && !header.opcode.is_control() { Err(Fault::TooLarge) } else { Ok(()) }
    }
}

fn deliver(
    header: &Header,
    message: &mut Option<(bool, Vec<u8>)>,
    payload: &[u8],
    on: &mut impl FnMut(Message<'_>) -> bool,
) -> Result<bool, Fault> {
    let whole = |text: bool, bytes: &[u8], on: &mut dyn FnMut(Message<'_>) -> bool| {
        Ok(match text {
            true => on(Message::Text(std::str::from_utf8(bytes).map_err(|_| Fault::NotUtf8)?)),
            false => on(Message::Binary(bytes)),
        })
    };
    match header.opcode {
        Opcode::Ping => Ok(on(Message::Ping(payload))),
        Opcode::Pong => Ok(on(Message::Pong(payload))),
        Opcode::Close => {
            on(Message::Close(close_code(payload)?));
            Ok(false)
        }
        opcode if header.fin && message.is_none() => whole(opcode == Opcode::Text, payload, on),
        opcode => {
            let (text, bytes) = message.get_or_insert_with(|| (opcode == Opcode::Text, Vec::new()));
            bytes.extend_from_slice(payload);
            if !header.fin {
                return Ok(true);
            }
            let (text, bytes) = (*text, std::mem::take(bytes));
            *message = None;
            whole(text, &bytes, on)
        }
    }
}

/// The code of a close frame (section 5.5.1): none, or one that may stand in a frame, before a reason in UTF-8.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Fault> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Fault::Protocol) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Fault::Protocol);
    }
    std::str::from_utf8(reason).map(|_| Some(code)).map_err(|_| Fault::NotUtf8)
}

/// Appends the header of a frame that is not masked, of a whole message or a control frame.
pub fn header(opcode: Opcode, payload: usize, out: &mut Vec<u8>) {
    head(opcode, payload, 0, out);
}

/// Appends a masked frame, as clients send them.
pub fn masked(opcode: Opcode, key: [u8; 4], payload: &[u8], out: &mut Vec<u8>) {
    head(opcode, payload.len(), 0x80, out);
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    mask(key, &mut out[start..]);
}

fn head(opcode: Opcode, payload: usize, masked: u8, out: &mut Vec<u8>) {
    out.push(0x80 | opcode.bits());
    match payload {
        0..=125 => out.push(masked | payload as u8),
        126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// Appends the close frame of a server. The reason is cut to what fits.
pub fn close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let fits = (0..=MAX_CONTROL - 2).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    let reason = &reason[..fits.min(reason.len())];
    header(Opcode::Close, 2 + reason.len(), out);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        masked(Opcode::Text, [1, 2, 3, 4], payload, &mut out);
        out[0] = first;
        out
    }

    fn read(reader: &mut Reader, bytes: &[u8]) -> Result<Vec<String>, Fault> {
        let mut got = Vec::new();
        reader.read(&mut bytes.to_vec(), |message| {
            got.push(match message {
                Message::Text(text) => format!("text {text}"),
                Message::Binary(bytes) => format!("bytes {bytes:?}"),
                Message::Ping(bytes) => format!("ping {bytes:?}"),
                Message::Pong(bytes) => format!("pong {bytes:?}"),
                Message::Close(code) => format!("close {code:?}"),
            });
            true
        })?;
        Ok(got)
    }

    fn server(limit: u32) -> Reader {
        Reader::new(Side::Server, limit)
    }

    #[test]
    fn messages_come_whole_however_the_bytes_are_cut() {
        let long = "ä".repeat(40_000);
        let mut bytes = frame(0x81, b"hello");
        bytes.extend(frame(0x01, &long.as_bytes()[..70_001]));
        bytes.extend(frame(0x89, b"now"));
        bytes.extend(frame(0x80, &long.as_bytes()[70_001..]));
        bytes.extend(frame(0x82, &[7; 200]));
        let expected = [
            "text hello".to_owned(),
            "ping [110, 111, 119]".to_owned(),
            format!("text {long}"),
            format!("bytes {:?}", [7; 200]),
        ];
        for cut in [1, 7, 4_096, bytes.len()] {
            let mut reader = server(100_000);
            let got: Vec<String> =
                bytes.chunks(cut).flat_map(|part| read(&mut reader, part).expect("it is good")).collect();
            assert_eq!(got, expected, "in parts of {cut}");
            assert!(reader.is_idle(), "nothing is held between messages");
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_a_fault() {
        let unmasked = [0x81, 1, b'x'].to_vec();
        let mut long_form = vec![0x81, 0xfe, 0, 5, 1, 2, 3, 4];
        long_form.extend([0; 5]);
        for (bytes, fault) in [
            (unmasked, Fault::Protocol),
            (long_form, Fault::Protocol),
            (frame(0x91, b"x"), Fault::Protocol),
            (frame(0x83, b"x"), Fault::Protocol),
            (frame(0x80, b"x"), Fault::Protocol),
            (frame(0x09, b"x"), Fault::Protocol),
            (frame(0x89, &[0; 126]), Fault::Protocol),
            ([frame(0x01, b"x"), frame(0x81, b"y")].concat(), Fault::Protocol),
            (frame(0x81, &[0xff]), Fault::NotUtf8),
            ([frame(0x01, &[0xc3]), frame(0x80, &[0x28])].concat(), Fault::NotUtf8),
            (frame(0x88, &[3]), Fault::Protocol),
            (frame(0x88, &1005u16.to_be_bytes()), Fault::Protocol),
            (frame(0x88, &[3, 0xe8, 0xff]), Fault::NotUtf8),
            (frame(0x82, &[0; 1_001]), Fault::TooLarge),
            ([frame(0x02, &[0; 600]), frame(0x80, &[0; 600])].concat(), Fault::TooLarge),
            (vec![0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4], Fault::TooLarge),
            (vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4], Fault::Protocol),
        ] {
            assert_eq!(read(&mut server(1_000), &bytes), Err(fault), "{:x?}", &bytes[..bytes.len().min(16)]);
        }
        assert_eq!(read(&mut Reader::new(Side::Client, 1_000), &frame(0x81, b"x")), Err(Fault::Protocol));
    }

    #[test]
    fn nothing_is_read_after_a_close() {
        let bytes = [frame(0x88, &4_500u16.to_be_bytes()), frame(0x81, b"more")].concat();
        assert_eq!(read(&mut server(1_000), &bytes), Ok(vec!["close Some(4500)".to_owned()]));
        assert_eq!(read(&mut server(1_000), &frame(0x88, b"")), Ok(vec!["close None".to_owned()]));
    }

    #[test]
    fn a_servers_frames_are_read_by_a_client() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let mut bytes = Vec::new();
            header(Opcode::Binary, length, &mut bytes);
            bytes.extend(vec![9; length]);
            let got = read(&mut Reader::new(Side::Client, 70_000), &bytes);
            assert_eq!(got, Ok(vec![format!("bytes {:?}", vec![9; length])]));
        }
        let mut bytes = Vec::new();
        close(4_001, &"ü".repeat(100), &mut bytes);
        assert!(bytes.len() <= 2 + MAX_CONTROL);
        assert_eq!(
            read(&mut Reader::new(Side::Client, 1_000), &bytes),
            Ok(vec!["close Some(4001)".to_owned()])
        );
    }

    #[test]
    fn a_claimed_length_holds_no_memory() {
        let mut reader = server(1 << 20);
        read(&mut reader, &[0x82, 0xff, 0, 0, 0, 0, 0, 0x0f, 0, 0, 1, 2, 3, 4]).expect("it may come yet");
        let held = reader.partial.as_ref().map(|partial| partial.frame.capacity());
        assert!(held.is_some_and(|bytes| bytes < 100), "{held:?}");
    }
}
