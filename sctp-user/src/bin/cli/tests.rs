//! Tests of the command line as a whole.

use clap::CommandFactory as _;
use sctp_user::datapath::xdp::ChecksumPolicy;

use super::*;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
}

fn refusal(line: &str) -> String {
    parse(line).unwrap_err().to_string()
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn servers() {
    let Command::Echo(options) =
        parse("sctp echo -i eth0 -i eth1 -p 7 --workers 2 --queues 4 --local-address fd00::1").unwrap()
    else {
        panic!("another command")
    };
    assert_eq!((options.server.port, options.server.streams, options.server.json), (7, 2048, false));
    assert_eq!(options.stack.interfaces, ["eth0", "eth1"]);
    assert_eq!((options.stack.workers, options.stack.queues), (Some(2), Some(4)));
    assert_eq!((options.stack.checksum, options.stack.ootb), (ChecksumPolicy::Xdp, options::OutOfTheBlue::Answer));
    assert_eq!(options.stack.fragments, options::Fragments::Reassemble);
    assert_eq!((options.stack.init_cookies, options.stack.init_threshold), (options::InitCookies::Auto, 10_000));
    assert_eq!(options.stack.local_addresses, ["fd00::1".parse::<std::net::IpAddr>().unwrap()]);
    let Command::Echo(options) = parse("sctp echo -i eth0 --abort-after 3 --abort-reason maintenance").unwrap() else {
        panic!("another command")
    };
    assert_eq!((options.abort_after, options.abort_reason.as_str()), (Some(3), "maintenance"));
    let Command::Perf(perf::PerfCommand::Server(options)) = parse(concat!(
        "sctp perf server -i eth0 --profile ran --trusted-link --checksum split=300 --ootb silent --fragments pass --xdp-heartbeats ",
        "--init-cookies always --init-threshold 5 --capture x.pcapng --associations 2 --json -vv"
    ))
    .unwrap() else {
        panic!("another command")
    };
    assert_eq!((options.server.port, options.server.associations, options.server.json), (5001, Some(2), true));
    assert_eq!(options.stack.association.profile, sctp_user::Profile::Ran);
    assert!(options.stack.trusted_link);
    assert_eq!(options.stack.checksum, ChecksumPolicy::Split { limit: 300 });
    assert_eq!(options.stack.ootb, options::OutOfTheBlue::Silent);
    assert_eq!((options.stack.fragments, options.stack.xdp_heartbeats), (options::Fragments::Pass, true));
    assert_eq!((options.stack.init_cookies, options.stack.init_threshold), (options::InitCookies::Always, 5));
    assert_eq!(options.stack.capture.as_deref(), Some(std::path::Path::new("x.pcapng")));
    assert_eq!(options.stack.verbosity.level, 2);
}

#[test]
fn clients() {
    let Command::Perf(perf::PerfCommand::Client(options)) = parse(
        "sctp perf client -i eth0 10.0.0.2,10.0.1.2:5001 --mode ping --size 1400 --count 1k --progress json --json",
    )
    .unwrap() else {
        panic!("another command")
    };
    assert_eq!(options.peer.addresses.len(), 2);
    assert_eq!(options.work.count, Some(1000));
    assert_eq!(options.stack.association.profile, sctp_user::Profile::Default);
    let Command::Send(options) = parse("sctp send -i eth0 [fd00::2]:7 a b --stream 3 --ppid 60 --unordered").unwrap()
    else {
        panic!("another command")
    };
    assert_eq!((options.files.len(), options.stream, options.ppid, options.unordered), (2, 3, 60, true));
    let Command::Recv(options) = parse("sctp recv -i eth0 -p 9 --count 3 --out dir -q").unwrap() else {
        panic!("another command")
    };
    assert_eq!((options.port, options.count, options.quiet), (9, Some(3), true));
}

#[test]
fn statistics_need_no_interface() {
    let Command::Stats(options) = parse("sctp stats --json").unwrap() else { panic!("another command") };
    assert!(options.interfaces.is_empty() && options.json);
}

#[test]
fn memory_needs_no_interface() {
    assert!(matches!(
        parse("sctp perf memory --mode stream --count 10"),
        Ok(Command::Perf(perf::PerfCommand::Memory(_)))
    ));
}

#[test]
fn refusals_say_what_is_missing_or_wrong() {
    assert!(refusal("sctp echo -p 7").contains("--interface <IF>"));
    assert!(refusal("sctp perf client -i eth0").contains("<ADDR:PORT>"));
    assert!(refusal("sctp echo -i eth0 -p 0").contains("1..=65535"));
    assert!(refusal("sctp echo -i eth0 --workers 0").contains("at least 1"));
    assert!(refusal("sctp echo -i eth0 --profile fast").contains("default, rfc, signalling, ran"));
    assert!(refusal("sctp send -i eth0 fd00::2").contains("[fd00::2]:PORT"));
    assert!(refusal("sctp send -i eth0 10.0.0.2:7 --stream 65535").contains("65535"));
}

#[test]
fn help_has_examples_for_every_subcommand() {
    fn visit(command: &clap::Command, path: &str) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            if sub.has_subcommands() {
                visit(sub, &path);
            } else {
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains(&path), "{path}");
            }
        }
    }
    visit(&Cli::command(), "sctp");
}

#[test]
fn programs_are_kept_on_request() {
    let kept = |line: &str| match parse(line).unwrap() {
        Command::Echo(options) => options.stack.keep_program,
        _ => panic!("another command"),
    };
    assert_eq!(kept("sctp echo -i eth0"), None);
    assert_eq!(kept("sctp echo -i eth0 --keep-program"), Some("/sys/fs/bpf/sctp".into()));
    assert_eq!(kept("sctp echo -i eth0 --keep-program=/bpf"), Some("/bpf".into()));
    let Command::Xdp(xdp::XdpCommand::Replace(options)) = parse("sctp xdp replace -i eth0 --directory /bpf").unwrap()
    else {
        panic!("another command")
    };
    assert_eq!((options.interfaces, options.directory), (vec!["eth0".to_owned()], "/bpf".into()));
}
