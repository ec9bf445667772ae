//! The Stoa server: reads the command line and the configuration, starts what they ask for, supervises it.

mod address;
mod app;
mod cli;
mod config;
mod hooks;
mod http;
mod letters;
mod load;
mod log;
mod messages;
mod page;
mod prefix;
mod server;
mod time;
mod tls;
mod token;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use auth::ApiKeys;
use clap::Parser as _;

use cli::{Cli, Command, Dev};
use config::{Config, LogFormat};
use server::{Media, Names, Running, Settings};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Dev(options) => dev(&options),
        Command::Serve { config } => serve(config.as_deref()),
        Command::CheckConfig { file } => check_config(&file),
        Command::Token(options) => token::mint(&options).map(|token| println!("{token}")),
        Command::Webhooks(command) => letters::run(&command),
        Command::Load(options) => load::run(options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn check_config(file: &Path) -> Result<(), String> {
    Config::load(Some(file)).map_err(|error| error.to_string())?;
    println!("{}: good", file.display());
    Ok(())
}

fn serve(file: Option<&Path>) -> Result<(), String> {
    let config = Config::load(file).map_err(|error| error.to_string())?;
    log::start(&config.log_level, config.log_format);
    let workers = config.workers();
    let settings = Settings {
        http: config.http_listen,
        path_prefix: config.http_path_prefix,
        signal: server::Signal {
            region: config.region_name,
            regions: config.region_others,
            auto_create: config.room_auto_create,
        },
        tls: None,
        media: Media {
            port: config.udp_port,
            workers,
            advertise: advertised(&config.udp_advertise)?,
            loudest: config.room_loudest,
        },
        rooms: control::Config {
            empty_timeout: config.room_empty_timeout,
            departure_timeout: config.room_departure_timeout,
            max_participants: config.room_max_participants,
            spread_at: config.room_spread_at,
            remote_unmute: config.room_remote_unmute,
            slow_receiver_bps: 1_000 * u64::from(config.room_slow_receiver_kbps),
            ..control::Config::default()
        },
        keys: ApiKeys::new(config.keys),
        hooks: hooks::Settings {
            urls: config.webhook_urls,
            api_key: config.webhook_api_key,
            bytes: config.webhook_megabytes << 20,
            directory: config.data_directory.clone(),
        },
        messages: messages::Settings {
            place: match config.messaging_enabled {
                true => messages::Place::Kept(config.data_directory),
                false => messages::Place::Off,
            },
            rate: config.messaging_rate,
        },
        debug_token: config.admin_debug_token,
        development: false,
        names: Names { http: "http.listen", udp: "udp.port" },
    };
    run(settings, |running| {
        tracing::info!(http = %running.address, media = ?running.candidates, "serving");
    })
}

/// What clients are told to send media to: what is configured, else every address of the machine.
fn advertised(configured: &[IpAddr]) -> Result<Vec<IpAddr>, String> {
    if !configured.is_empty() {
        return Ok(configured.to_vec());
    }
    let own = address::of_machine();
    if own.is_empty() {
        return Err("this machine has no address that others could reach: set udp.advertise".into());
    }
    Ok(own)
}

fn dev(options: &Dev) -> Result<(), String> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    log::start(&filter, LogFormat::Text);
    let own = address::of_machine();
    if options.lan && own.is_empty() {
        return Err("--lan needs a network: this machine has no address but its own loopback".into());
    }
    let listen = if options.lan { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    // Firefox never uses a loopback candidate, and a machine without network has no other: both are offered.
    let advertise = own.iter().copied().chain([address::LOOPBACK]).collect();
    let workers = options.workers.map_or_else(config::cores, usize::from);
    let settings = Settings {
        http: SocketAddr::new(listen.into(), options.port),
        path_prefix: String::new(),
        signal: server::Signal::default(),
        tls: options.lan.then(|| own.clone()),
        media: Media { port: options.udp_port, workers, advertise, loudest: worker::LOUDEST },
        rooms: match options.spread_at {
            Some(spread_at) => control::Config { spread_at, ..control::Config::default() },
            None => control::Config::default(),
        },
        keys: ApiKeys::development(),
        hooks: hooks::Settings {
            urls: options.webhooks.clone(),
            api_key: None,
            bytes: Config::default().webhook_megabytes << 20,
            directory: options.data.clone().unwrap_or_else(|| config::DATA_DIRECTORY.into()),
        },
        // Without a place of its own it is gone at the end: several of these may run beside each other.
        messages: messages::Settings {
            place: match &options.data {
                Some(directory) => messages::Place::Kept(directory.clone()),
                None => messages::Place::Temporary,
            },
            rate: Config::default().messaging_rate,
        },
        debug_token: None,
        development: true,
        names: Names { http: "--port", udp: "--udp-port" },
    };
    run(settings, |running| welcome(running, &own, options.lan))
}

fn run(settings: Settings, started: impl FnOnce(&Running)) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot be started: {error}"))?;
    runtime.block_on(async {
        let running = server::start(settings).await?;
        started(&running);
        running.until_stopped().await
    })
}

fn welcome(running: &Running, own: &[IpAddr], lan: bool) {
    let port = running.address.port();
    let (scheme, socket) = if lan { ("https", "wss") } else { ("http", "ws") };
    let hosts: Vec<String> = if lan {
        own.iter().filter(|ip| ip.is_ipv4()).map(ToString::to_string).collect()
    } else {
        vec![Ipv4Addr::LOCALHOST.to_string()]
    };
    let host = hosts.first().map_or("localhost", String::as_str);
    println!("\nStoa {} is running for development.\n", env!("CARGO_PKG_VERSION"));
    println!("  Open       {scheme}://{host}:{port}");
    for other in hosts.iter().skip(1) {
        println!("             {scheme}://{other}:{port}");
    }
    println!(
        "  SDKs       {socket}://{host}:{port}, API key {}, secret {}",
        auth::DEVELOPMENT_KEY,
        auth::DEVELOPMENT_SECRET
    );
    println!("  Media      UDP {}", ports(running));
    println!("  Stop       Ctrl-C\n");
    if lan {
        println!("  The certificate is self-signed: browsers warn once; accept it to go on.");
        println!(
            "  WARNING: the development key is public. Everybody in this network can enter every room and"
        );
        println!("  administer this server. Use `stoa serve` for anything but trying it out.\n");
    }
}

/// `7882-7885 on 10.0.0.5, 127.0.0.1`
fn ports(running: &Running) -> String {
    let mut ports: Vec<u16> = running.candidates.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    let mut hosts: Vec<String> = Vec::new();
    for candidate in &running.candidates {
        let host = candidate.ip().to_string();
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let ports = match ports.as_slice() {
        [first, .., last] if usize::from(last - first) + 1 == ports.len() => format!("{first}-{last}"),
        ports => ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    format!("{ports} on {}", hosts.join(", "))
}
