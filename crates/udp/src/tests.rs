//! Everything over real sockets of the loopback device.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::batch::Run;
use crate::{Batch, Options, Poller, Slab, Socket};

fn bind(address: &str) -> Socket {
    Socket::bind(address.parse().unwrap(), &Options::default()).unwrap()
}

/// Receives `count` datagrams: bytes, source, local address.
fn receive(socket: &Socket, count: usize) -> Vec<(Vec<u8>, SocketAddr, Option<IpAddr>)> {
    let poller = Poller::new().unwrap();
    let mut slab = Slab::new();
    let mut all = Vec::new();
    while all.len() < count {
        let ready = poller.wait(socket, Some(Duration::from_secs(5))).unwrap();
        assert!(ready.readable, "{} of {count} datagrams arrived", all.len());
        socket.receive(&mut slab).unwrap();
        for index in 0..slab.len() {
            let datagram = slab.get(index).unwrap();
            all.push((datagram.bytes.to_vec(), datagram.source, datagram.local));
        }
    }
    all
}

fn payload(index: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at + index * 7) as u8).collect()
}

#[test]
fn a_run_of_equal_sizes_is_one_message_and_arrives_whole() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (mut from, to) = (bind(address), bind(address));
        let mut batch = Batch::with_capacity(65_536);
        let sizes = [1_100, 1_100, 1_100, 700, 1_200, 1_200];
        for (index, len) in sizes.into_iter().enumerate() {
            batch.push(to.local_addr(), None, &payload(index, len));
        }
        from.send(&batch);
        assert_eq!((from.sent().messages, from.sent().coalesced, from.sent().datagrams), (2, 2, 6));
        assert_eq!(from.sent().bytes, 6_400);
        let got = receive(&to, 6);
        for (index, (bytes, source, _)) in got.iter().enumerate() {
            assert_eq!(*bytes, payload(index, sizes[index]), "datagram {index}");
            assert_eq!(*source, from.local_addr());
        }
    }
}

#[test]
fn a_receiver_that_knows_nothing_of_coalescing_gets_single_datagrams() {
    let mut from = bind("127.0.0.1:0");
    let to = UdpSocket::bind("127.0.0.1:0").unwrap();
    to.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut batch = Batch::default();
    for index in 0..10 {
        batch.push(to.local_addr().unwrap(), None, &payload(index, 1_100));
    }
    from.send(&batch);
    assert_eq!(from.sent().messages, 1);
    for index in 0..10 {
        let mut buffer = [0; 2_000];
        let (len, _) = to.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..len], payload(index, 1_100));
    }
}

#[test]
fn many_messages_to_many_destinations_each_reach_their_own() {
    let mut from = bind("127.0.0.1:0");
    let receivers: Vec<Socket> = (0..80).map(|_| bind("127.0.0.1:0")).collect();
    let mut batch = Batch::default();
    for (index, receiver) in receivers.iter().enumerate() {
        for _ in 0..3 {
            batch.push(receiver.local_addr(), None, &payload(index, 200));
        }
    }
    from.send(&batch);
    assert_eq!(from.sent().messages, 80);
    for (index, receiver) in receivers.iter().enumerate() {
        assert!(receive(receiver, 3).iter().all(|(bytes, ..)| *bytes == payload(index, 200)));
    }
}

#[test]
fn a_message_that_the_kernel_cannot_segment_is_sent_datagram_by_datagram() {
    let (mut from, to) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    // More segments than any kernel takes in one message: a real EINVAL.
    let bytes: Vec<u8> = (0..200u8).collect();
    let run = Run { destination: to.local_addr(), source: None, segment: 1, segments: 200, range: 0..200 };
    let batch = Batch { bytes, runs: vec![run], committed: 200 };
    from.send(&batch);
    assert_eq!((from.sent().split, from.sent().datagrams, from.sent().dropped_refused), (1, 200, 0));
    let got: BTreeMap<u8, ()> = receive(&to, 200).iter().map(|(bytes, ..)| (bytes[0], ())).collect();
    assert_eq!(got.len(), 200);
    assert!(from.segmentation, "one bad message does not switch it off");
}

#[test]
fn without_segmentation_everything_still_arrives() {
    let (mut from, to) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    from.segmentation = false;
    let mut batch = Batch::default();
    for index in 0..40 {
        batch.push(to.local_addr(), None, &payload(index, 100 + index / 10));
    }
    from.send(&batch);
    assert_eq!((from.sent().messages, from.sent().coalesced), (40, 0));
    for (index, (bytes, ..)) in receive(&to, 40).iter().enumerate() {
        assert_eq!(*bytes, payload(index, 100 + index / 10));
    }
}

#[test]
fn a_destination_that_cannot_be_reached_costs_only_its_own_datagrams() {
    let (mut from, to) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut batch = Batch::default();
    batch.push("[2001:db8::1]:9".parse().unwrap(), None, b"an IPv4 socket cannot");
    batch.push("255.255.255.255:9".parse().unwrap(), None, b"broadcast is not allowed");
    batch.push(to.local_addr(), None, &[1; 65_507]);
    batch.push(to.local_addr(), None, &[2; 65_508]);
    batch.push(to.local_addr(), None, b"good");
    from.send(&batch);
    assert_eq!((from.sent().datagrams, from.sent().dropped_refused), (2, 3));
    assert_eq!(receive(&to, 2)[1].0, b"good");
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    for (wildcard, asked) in [("0.0.0.0:0", "127.0.0.5"), ("[::]:0", "::1"), ("[::]:0", "127.0.0.5")] {
        let mut server = bind(wildcard);
        assert!(server.is_wildcard());
        let asked: IpAddr = asked.parse().unwrap();
        let client = bind(if asked.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" });
        let mut client = client;
        let mut batch = Batch::default();
        batch.push(SocketAddr::new(asked, server.local_addr().port()), None, b"question");
        client.send(&batch);
        let got = receive(&server, 1);
        assert_eq!((got[0].1, got[0].2), (client.local_addr(), Some(asked)));
        assert_eq!(server.local_for(got[0].2).ip(), asked);
        batch.clear();
        for _ in 0..3 {
            batch.push(got[0].1, got[0].2, b"answer");
        }
        server.send(&batch);
        assert_eq!(server.sent().messages, 1, "source and segments travel together");
        for (bytes, source, _) in receive(&client, 3) {
            assert_eq!((bytes.as_slice(), source.ip()), (&b"answer"[..], asked));
        }
    }
}

#[test]
fn datagrams_to_nobody_do_not_disturb_the_others() {
    let (mut from, to) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let gone = bind("127.0.0.1:0").local_addr();
    let mut batch = Batch::default();
    for index in 0..20 {
        batch.push(if index % 2 == 0 { gone } else { to.local_addr() }, None, &payload(index, 50));
        from.send(&batch);
        batch.clear();
    }
    assert_eq!(receive(&to, 10).len(), 10);
    assert_eq!(from.receive(&mut Slab::new()).unwrap(), 0);
}

#[test]
fn datagrams_that_found_the_queue_full_are_counted() {
    let options = Options { receive_buffer: 4_096, coalesce: false, ..Options::default() };
    let to = Socket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let mut from = bind("127.0.0.1:0");
    let mut batch = Batch::default();
    for index in 0..50 {
        batch.push(to.local_addr(), None, &payload(index, 1_000 - index));
    }
    from.send(&batch);
    let mut slab = Slab::new();
    let got = to.receive(&mut slab).unwrap();
    assert!((1..50).contains(&got));
    // The count travels with the next datagram that fits.
    batch.clear();
    batch.push(to.local_addr(), None, b"next");
    from.send(&batch);
    to.receive(&mut slab).unwrap();
    assert_eq!(slab.overflow() as usize, 50 - got);
}

#[test]
fn an_address_that_is_taken_is_an_error() {
    let first = bind("127.0.0.1:0");
    assert!(Socket::bind(first.local_addr(), &Options::default()).is_err());
}

#[test]
fn a_datagram_that_waited_tells_when_it_came() {
    let options = Options { timestamps: true, ..Options::default() };
    for address in ["127.0.0.1:0", "[::]:0"] {
        let to = Socket::bind(address.parse().unwrap(), &options).unwrap();
        let port = to.local_addr().port();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut slab = Slab::new();
        // The kernel begins to note times a moment after the first socket of the machine asks for them.
        from.send_to(b"first", ("127.0.0.1", port)).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        to.receive(&mut slab).unwrap();
        let before = std::time::SystemTime::now();
        from.send_to(b"x", ("127.0.0.1", port)).unwrap();
        let sent = std::time::SystemTime::now();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(to.receive(&mut slab).unwrap(), 1);
        let arrived = slab.arrived(0).expect("it was asked for");
        // The kernel's clock is read a little differently from ours.
        assert!(before - Duration::from_millis(5) <= arrived && arrived <= sent + Duration::from_millis(25));
    }
}
