use std::sync::mpsc;

use sim::Conditions;

use super::*;

/// What no machine that runs at all exceeds.
const LATE: Duration = Duration::from_secs(8);

/// A proxy in front of a server that answers every datagram with itself, on loopback. What is measured here is bounded from
/// below exactly and from above loosely: a loaded machine is late, never early.
struct Bed {
    address: SocketAddr,
    orders: SyncSender<Event>,
    told: mpsc::Receiver<String>,
    seen: mpsc::Receiver<SocketAddr>,
}

impl Bed {
    fn new(down: &str, up: &str, timetable: &str) -> Self {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let conditions = |text: &str| text.parse::<Conditions>().expect("conditions");
        let options = Options {
            listen: "127.0.0.1:0".parse().expect("an address"),
            to: server.local_addr().expect("an address"),
            down: conditions(down),
            up: conditions(up),
            timetable: timetable.parse().expect("a timetable"),
            seed: 1,
            attached: false,
        };
        let proxy = Proxy::bind(&options).expect("a port");
        let (address, orders) = (proxy.address(), proxy.events());
        let (tell, told) = mpsc::channel();
        let (see, seen) = mpsc::channel();
        // All three end with their channels or the test program.
        thread::spawn(move || proxy.run(|line| drop(tell.send(line.to_owned()))));
        thread::spawn(move || {
            let mut buffer = [0; 2_048];
            while let Ok((size, from)) = server.recv_from(&mut buffer) {
                let _ = see.send(from);
                let _ = server.send_to(&buffer[..size], from);
            }
        });
        Self { address, orders, told, seen }
    }

    fn client(&self) -> UdpSocket {
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
        client.connect(self.address).expect("loopback");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        client
    }

    fn order(&self, line: &str) -> String {
        self.orders.send(Event::Order(line.into())).expect("it runs");
        self.line(|line| !line.contains(" clients; "))
    }

    /// The next line that is wanted, of the few that may come before it.
    fn line(&self, wanted: impl Fn(&str) -> bool) -> String {
        let next = || self.told.recv_timeout(Duration::from_secs(10)).expect("a line");
        let mut lines = std::iter::repeat_with(next).take(10);
        lines.find(|line| wanted(line)).expect("the line that is wanted")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = self.orders.send(Event::Order("quit".into()));
    }
}

/// Sends `number` in a datagram of `size` bytes.
fn send(client: &UdpSocket, number: u8, size: usize) {
    client.send(&vec![number; size]).expect("loopback");
}

fn receive(client: &UdpSocket) -> Option<u8> {
    let mut buffer = [0; 2_048];
    client.recv(&mut buffer).ok().map(|_| buffer[0])
}

#[test]
fn a_datagram_takes_both_delays() {
    let bed = Bed::new("delay=40ms", "delay=60ms", "");
    let client = bed.client();
    let start = Instant::now();
    send(&client, 7, 100);
    assert_eq!(receive(&client), Some(7));
    let took = start.elapsed();
    assert!((Duration::from_millis(100)..LATE).contains(&took), "{took:?}");
}

#[test]
fn the_rate_bounds_what_comes_through() {
    let bed = Bed::new("rate=1mbit,queue=2s", "", "");
    let client = bed.client();
    let start = Instant::now();
    for number in 0..40 {
        send(&client, number, 1_222);
    }
    // 1,250 bytes with headers: 10 ms each.
    assert!((0..40).all(|number| receive(&client) == Some(number)));
    let took = start.elapsed();
    assert!((Duration::from_millis(400)..LATE).contains(&took), "{took:?}");
}

#[test]
fn each_client_has_a_socket_of_its_own_towards_the_server() {
    let bed = Bed::new("", "", "");
    let clients = [bed.client(), bed.client()];
    let mut seen = Vec::new();
    for (number, client) in (0..).zip(&clients) {
        for _ in 0..2 {
            send(client, number, 50);
            assert_eq!(receive(client), Some(number));
            seen.push(bed.seen.recv().expect("the server saw it"));
        }
    }
    assert!(seen[0] == seen[1] && seen[2] == seen[3] && seen[0] != seen[2], "{seen:?}");
    assert!(!seen.contains(&clients[0].local_addr().expect("an address")));
}

#[test]
fn an_order_changes_the_network_in_mid_run() {
    let bed = Bed::new("", "", "");
    let client = bed.client();
    send(&client, 1, 50);
    assert_eq!(receive(&client), Some(1));
    assert_eq!(bed.order("down loss=100%"), "down rate=unlimited,loss=1; up rate=unlimited");
    send(&client, 2, 50);
    // The server has it, and its answer is lost for good.
    bed.seen.recv().expect("the first");
    bed.seen.recv().expect("the second");
    assert!(bed.order("sideways loss=0").contains("expected down, up or both"));
    client.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    assert_eq!(receive(&client), None);
    bed.order("down loss=0");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    send(&client, 3, 50);
    // On a slow machine the second answer may have come to the proxy after all that.
    assert!(std::iter::from_fn(|| receive(&client)).any(|number| number == 3));
}

#[test]
fn a_timetable_counts_from_the_first_packet() {
    let bed = Bed::new("", "", "200ms up delay=1500ms");
    thread::sleep(Duration::from_millis(250));
    let client = bed.client();
    let round_trip = |number| {
        let start = Instant::now();
        send(&client, number, 50);
        assert_eq!(receive(&client), Some(number));
        start.elapsed()
    };
    let first = round_trip(1);
    thread::sleep(Duration::from_millis(250));
    let second = round_trip(2);
    let delay = Duration::from_millis(1_500);
    assert!(first < delay && (delay..LATE).contains(&second), "{first:?} {second:?}");
}

#[test]
fn each_second_it_tells_what_it_did() {
    let bed = Bed::new("rate=1mbit", "", "");
    let client = bed.client();
    send(&client, 1, 972);
    assert_eq!(receive(&client), Some(1));
    // Which second tells of it depends on the machine, and it may be another one for each direction.
    let line = bed.line(|line| line.contains(" 1 clients; down ") && line.contains(" 1 packets, "));
    assert!(line.contains(" 0 dropped, 0 lost; up "), "{line}");
    assert!(line.contains(" kbit/s (") && line.contains(" %), queue 0 ms, p95 0 ms, "), "{line}");
}
