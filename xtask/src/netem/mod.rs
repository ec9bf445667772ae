//! `cargo xtask netem`: a UDP proxy with the links of `sim` inside, to put real clients on a bad network.

mod order;
mod proxy;
mod status;

use std::io::BufRead as _;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::SyncSender;

use sim::Conditions;

use order::Timetable;
use proxy::{Event, Proxy};

pub const HELP: &str = r#"A UDP proxy that behaves like a bad network.

  cargo xtask netem --listen [ADDRESS:]PORT --to ADDRESS:PORT [options]

  --listen [ADDRESS:]PORT  where clients send to, 127.0.0.1 without an address; port 0: any free one. A browser
                           takes answers from the very address it sent to alone, so 0.0.0.0 is rarely right
  --to ADDRESS:PORT        the server; each client gets a socket of its own towards it
  --down CONDITIONS        from the server to the clients, all together, like "rate=5mbit,delay=25ms,queue=300ms"
  --up CONDITIONS          from the clients to the server
  --both CONDITIONS        both of the above
  --schedule TEXT|FILE     changes, separated by `;` or lines: "10s down rate=400kbit; 30s down rate=5mbit". Times count
                           from the first packet of a client
  --seed N                 what is random (default 1)
  --attached               end when standard input does, so that it does not outlive the test that started it

Conditions: rate=5mbit (kbit, bit, 0, unlimited) queue=300ms (or bytes: 64kB) delay=25ms jitter=10ms order=kept (or free)
  loss=2% burst=2%/8 (average/length; or none) reorder=1%/30ms (share/time; or none) duplicate=1%
  The rate counts IPv4 and UDP headers too. `order=free` lets jitter reorder. docs/network-emulator.md tells more.

While it runs, lines on standard input change it at once: `down rate=400kbit`, `up loss=10%`, `both delay=100ms`, `quit`.
Each second it prints a line. Ctrl-C ends it.

Candidates: clients send to the addresses that the server tells them, so these must be the proxy's.
  - One client behind the proxy, the others not: rewrite the candidates in that client's page, between the server and the
    browser (docs/network-emulator.md has the ten lines).
  - All of them, with the proxy on another machine or in another network namespace: in the server's configuration
    `udp.workers = 1` and `udp.advertise = ["the proxy's address"]` (STOA_UDP_WORKERS, STOA_UDP_ADVERTISE), and --listen on
    the server's own UDP port (`udp.port`), which is the one that it advertises. On one machine that port is taken.
"#;

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    pub listen: SocketAddr,
    pub to: SocketAddr,
    pub down: Conditions,
    pub up: Conditions,
    pub timetable: Timetable,
    pub seed: u64,
    pub attached: bool,
}

/// Runs the proxy until it is told to end.
pub fn run(args: &[String]) -> Result<(), String> {
    if args.iter().any(|arg| matches!(arg.as_str(), "--help" | "-h" | "help")) {
        print!("{HELP}");
        return Ok(());
    }
    let options = options(args)?;
    let proxy = Proxy::bind(&options)?;
    println!("netem: listening on {}, forwarding to {}", proxy.address(), options.to);
    println!("netem: down {}; up {}", options.down, options.up);
    let events = proxy.events();
    std::thread::spawn(move || read_orders(&events, options.attached));
    proxy.run(|line| println!("netem: {line}"));
    Ok(())
}

fn read_orders(events: &SyncSender<Event>, attached: bool) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if events.send(Event::Order(line)).is_err() {
            return;
        }
    }
    if attached {
        // The receiver is gone when the proxy has ended by itself.
        let _ = events.send(Event::Order("quit".into()));
    }
}

fn options(args: &[String]) -> Result<Options, String> {
    let (mut listen, mut to, mut seed, mut attached) = (None, None, 1, false);
    let (mut down, mut up) = (Conditions::default(), Conditions::default());
    let mut timetable = Timetable::default();
    let mut args = args.iter();
    while let Some(option) = args.next() {
        if option == "--attached" {
            attached = true;
            continue;
        }
        let value =
            args.next().ok_or_else(|| format!("`{option}` needs a value; `cargo xtask netem --help`"))?;
        let settings = || sim::parse_settings(value).map_err(|error| format!("{option}: {error}"));
        match option.as_str() {
            "--listen" => listen = Some(listen_address(value)?),
            "--to" => to = Some(resolve(value)?),
            "--down" => down = down.with(&settings()?),
            "--up" => up = up.with(&settings()?),
            "--both" => (down, up) = (down.with(&settings()?), up.with(&settings()?)),
            "--schedule" => timetable = read_timetable(value)?,
            "--seed" => seed = value.parse().map_err(|_| format!("--seed {value}: expected a number"))?,
            _ => return Err(format!("there is no option `{option}`; `cargo xtask netem --help` lists them")),
        }
    }
    let listen = listen.ok_or("where do clients send to? --listen PORT")?;
    let to = to.ok_or("where is the server? --to ADDRESS:PORT")?;
    Ok(Options { listen, to, down, up, timetable, seed, attached })
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Err(_) => resolve(text),
    }
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| format!("`{text}`: expected an address and a port, like 127.0.0.1:7882"))
}

fn read_timetable(text: &str) -> Result<Timetable, String> {
    match std::fs::read_to_string(text) {
        Ok(content) => content.parse().map_err(|error| format!("{text}: {error}")),
        Err(_) => text.parse().map_err(|error| format!("--schedule: {error} (and there is no such file)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        options(&line.split('|').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_command_line_is_read() {
        let line = "--listen|4000|--to|127.0.0.1:7882|--down|rate=5mbit,delay=25ms|--both|loss=1%|--seed|9|\
                    --schedule|10s down rate=400kbit; 30s both loss=0";
        let options = read(line).expect(line);
        assert_eq!(options.listen, "127.0.0.1:4000".parse().expect("an address"));
        assert_eq!(options.to, "127.0.0.1:7882".parse().expect("an address"));
        assert_eq!(options.down, "rate=5mbit,delay=25ms,loss=1%".parse().expect("conditions"));
        assert_eq!(options.up, "loss=1%".parse().expect("conditions"));
        assert_eq!((options.timetable.down.changes().len(), options.timetable.up.changes().len()), (2, 1));
        assert_eq!((options.seed, options.attached), (9, false));
    }

    #[test]
    fn mistakes_on_the_command_line_are_named() {
        for (line, part) in [
            ("--to|127.0.0.1:1", "--listen PORT"),
            ("--listen|4000", "--to ADDRESS:PORT"),
            ("--listen|4000|--to|7882", "`7882`: expected an address and a port"),
            ("--down|rate=5", "--down: `rate=5`: expected 400kbit"),
            ("--schedule|soon down rate=5mbit", "expected a time"),
            ("--seed", "needs a value"),
            ("--speed|5", "no option `--speed`"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
