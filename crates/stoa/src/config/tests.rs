use std::path::PathBuf;

use super::*;

const KEYS: &str = "[keys]\nmyapp = \"a secret of at least thirty-two characters\"\n";

fn from_file(text: &str) -> Result<Config, String> {
    let text = format!("{KEYS}{text}");
    Config::from_sources(Some(("stoa.toml", &text)), std::iter::empty()).map_err(|e| e.to_string())
}

fn from_environment(pairs: &[(&str, &str)]) -> Result<Config, String> {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::from_sources(Some(("stoa.toml", KEYS)), pairs).map_err(|e| e.to_string())
}

fn reference_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference.toml")
}

#[test]
fn the_reference_file_is_what_the_code_says() {
    let made = reference::render();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(reference_path(), &made).expect("docs is writable");
    }
    let kept = std::fs::read_to_string(reference_path()).unwrap_or_default();
    assert!(
        kept == made,
        "docs/reference.toml is old; renew it with\n    UPDATE_REFERENCE=1 cargo test -p stoa the_reference_file"
    );
}

#[test]
fn the_defaults_in_the_reference_file_are_the_defaults_of_the_code() {
    let text = reference::render()
        .replace("# myapp = \"…\"", "myapp = \"a secret of at least thirty-two characters\"");
    let mut config = Config::from_sources(Some(("reference.toml", &text)), std::iter::empty())
        .expect("the reference is valid");
    config.keys.clear();
    assert_eq!(config, Config::default());
}

#[test]
fn every_key_can_be_set_in_the_file() {
    let config = from_file(
        "[http]\nlisten = \"[::1]:80\"\npath_prefix = \"/calls\"\n[udp]\nport = 1000\nworkers = 3\nadvertise = [\"203.0.113.7\", \"2001:db8::1\"]\n\
         [region]\nname = \"here\"\nothers = [\"eu=wss://eu.example\", \"us = ws://us.example/x\"]\n\
         [room]\nauto_create = \"no\"\nempty_timeout = 1\ndeparture_timeout = 0\nmax_participants = 9\nloudest = 4\nspread_at = 3\n\
         remote_unmute = \"yes\"\nslow_receiver_kbps = 64\n\
         [webhook]\nurls = [\"https://a.example/x\", \"http://b.example\"]\napi_key = \"myapp\"\nmax_megabytes = 5\n\
         [data]\ndirectory = \"somewhere\"\n\
         [admin]\ndebug_token = \"sixteen letters!\"\n[log]\nlevel = \"warn,livekit=debug\"\nformat = \"json\"\n",
    )
    .expect("all good");
    assert_eq!(config.http_listen.to_string(), "[::1]:80");
    assert_eq!((config.udp_port, config.udp_workers, config.udp_advertise.len()), (1000, 3, 2));
    assert_eq!(config.room_empty_timeout, Duration::from_secs(1));
    assert_eq!((config.room_departure_timeout, config.room_max_participants), (Duration::ZERO, 9));
    assert_eq!((config.room_loudest, config.room_spread_at), (4, 3));
    assert!(config.room_remote_unmute && !config.room_auto_create);
    assert_eq!((config.http_path_prefix.as_str(), config.region_name.as_str()), ("/calls", "here"));
    let others = config.region_others.iter().map(|other| (other.name.as_str(), other.url.as_str()));
    assert_eq!(others.collect::<Vec<_>>(), [("eu", "wss://eu.example"), ("us", "ws://us.example/x")]);
    assert_eq!(config.room_slow_receiver_kbps, 64);
    assert_eq!(config.webhook_urls, ["https://a.example/x", "http://b.example"]);
    assert_eq!((config.webhook_api_key.as_deref(), config.webhook_megabytes), (Some("myapp"), 5));
    assert_eq!(config.data_directory, PathBuf::from("somewhere"));
    assert_eq!(config.admin_debug_token.as_deref(), Some("sixteen letters!"));
    assert_eq!((config.log_level.as_str(), config.log_format), ("warn,livekit=debug", LogFormat::Json));
}

#[test]
fn the_environment_wins_over_the_file() {
    let pairs = [
        ("STOA_UDP_PORT", "9000"),
        ("STOA_UDP_ADVERTISE", "203.0.113.7, 203.0.113.8"),
        ("STOA_KEYS", "other:a secret of at least thirty-two characters too"),
        ("STOA_BIN", "what another program is told"),
        ("PATH", "/bin"),
    ];
    let config = from_environment(&pairs).expect("all good");
    assert_eq!((config.udp_port, config.udp_advertise.len(), config.keys.len()), (9000, 2, 2));
}

#[test]
fn a_bad_value_is_named_with_file_line_and_range() {
    for (text, wanted) in [
        ("[udp]\nport = 70000\n", "stoa.toml:4: udp.port = 70000: expected a port from 1 to 65535"),
        ("[udp]\n\nport = \"x\"\n", "stoa.toml:5: udp.port = \"x\": expected a port from 1 to 65535"),
        ("[udp]\nport = true\n", "stoa.toml:4: udp.port = (a value of type boolean): expected a port"),
        (
            "[udp]\nadvertise = \"1.2.3.4\"\n",
            "stoa.toml:4: udp.advertise = \"1.2.3.4\": expected IP addresses",
        ),
        ("[http]\nlisten = 80\n", "stoa.toml:4: http.listen = 80: expected an IP address and a port"),
        ("[log]\nformat = \"xml\"\n", "stoa.toml:4: log.format = \"xml\": expected \"text\" or \"json\""),
        ("[log]\nlevel = \"loud\"\n", "stoa.toml:4: log.level = \"loud\": expected error, warn, info"),
        (
            "[http]\npath_prefix = \"calls\"\n",
            "stoa.toml:4: http.path_prefix = \"calls\": expected nothing, or a path",
        ),
        (
            "[region]\nothers = [\"eu=https://eu.example\"]\n",
            "stoa.toml:4: region.others = (a value of type array): expected at most 16",
        ),
        ("[room]\nauto_create = true\n", "stoa.toml:4: room.auto_create = "),
        ("[udp\n", "stoa.toml:3: this is no TOML"),
    ] {
        let error = from_file(text).expect_err(text);
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_what_there_is() {
    for (text, wanted) in [
        ("[udp]\nprot = 1\n", "stoa.toml:4: there is no key udp.prot; [udp] has port, workers, advertise"),
        (
            "[upd]\nport = 1\n",
            "stoa.toml:3: there is no section [upd]; the sections are [http], [udp], [region]",
        ),
    ] {
        let error = from_file(text).expect_err(text);
        assert!(error.starts_with(wanted), "{error}");
    }
    let outside = Config::from_sources(Some(("stoa.toml", "port = 1\n")), std::iter::empty());
    assert!(outside.expect_err("no section").to_string().starts_with("stoa.toml:1: `port` stands outside"));
}

#[test]
fn a_bad_variable_is_named_with_its_range() {
    for (name, value, wanted) in [
        ("STOA_UDP_PORT", "0", "environment variable STOA_UDP_PORT=\"0\": expected a port from 1 to 65535"),
        (
            "STOA_UDP_PROT",
            "1",
            "environment variable STOA_UDP_PROT is not one of Stoa's; they are STOA_HTTP_LISTEN",
        ),
        ("STOA_KEYS", "alone", "environment variable STOA_KEYS, part 1: expected NAME:SECRET"),
    ] {
        let error = from_environment(&[(name, value)]).expect_err(name);
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn all_errors_are_told_at_once() {
    let error = from_file("[udp]\nport = 0\nprot = 1\n[log]\nformat = 1\n").expect_err("three errors");
    assert_eq!(error.lines().count(), 3, "{error}");
}

#[test]
fn production_needs_a_key_and_refuses_the_development_key() {
    let keyless = Config::from_sources(None, std::iter::empty()).expect_err("no key");
    assert!(keyless.to_string().contains("there is no API key"), "{keyless}");
    for keys in
        ["devkey = \"a secret of at least thirty-two characters\"", "app = \"secret\"", "app = \"short\""]
    {
        let text = format!("[keys]\n{keys}\n");
        let error = Config::from_sources(Some(("stoa.toml", &text)), std::iter::empty()).expect_err(keys);
        assert!(error.to_string().starts_with("keys: "), "{error}");
    }
}

#[test]
fn errors_keep_secrets_to_themselves() {
    let secrets = [
        from_file("[admin]\ndebug_token = \"hush\"\n").expect_err("too short"),
        from_environment(&[("STOA_KEYS", "hush")]).expect_err("no colon"),
        from_environment(&[("STOA_ADMIN_DEBUG_TOKEN", "hush")]).expect_err("too short"),
        Config::from_sources(Some(("stoa.toml", "[keys]\nmyapp = \"hush\"\n")), std::iter::empty())
            .expect_err("too short")
            .to_string(),
    ];
    for error in secrets {
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn workers_that_find_no_ports_are_refused() {
    let error = from_file("[udp]\nport = 65535\nworkers = 2\n").expect_err("65536 is no port");
    assert!(error.starts_with("udp.port = 65535: 2 workers need"), "{error}");
}
