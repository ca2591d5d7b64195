//! Messages of all sizes, many streams, many associations.

use sctp_lab::PairConfig;
use sctp_lab::veth::Family;
use sctp_tests::foreign::{Foreign, Stack, sound};
use sctp_tests::{LONG, stop};

/// From one octet to 256 KiB, on hundreds of streams, ordered and unordered.
const RUNS: [&[&str]; 4] = [
    &["--count", "1", "--size", "1"],
    &["--count", "1", "--size", "262144"],
    &["--count", "40", "--size", "1-262144", "--window", "4"],
    &["--count", "2000", "--size", "1-500", "--streams", "500", "--unordered", "--window", "64"],
];

/// Our client.
fn ours_sends_all_sizes(foreign: &Foreign, family: Family) {
    for options in RUNS {
        let mut server = foreign.serve(family, &["--associations", "1", "--streams", "500"]).unwrap();
        let client = foreign.our_client(family, &[&["--mode", "echo"], options].concat()).unwrap().summary(LONG);
        sound(&client.unwrap()).unwrap();
        let server = server.summary(LONG).unwrap();
        assert_eq!((&server["graceful"], &server["checksum_errors"]), (&true.into(), &0.into()), "{server}");
    }
}

/// The peer's client.
fn it_sends_all_sizes(foreign: &Foreign, family: Family) {
    let server = foreign.serve_ours(&[]).unwrap();
    for options in RUNS {
        foreign.client_summary(family, options).unwrap();
    }
    let server = stop(server).unwrap().summary().unwrap();
    assert_eq!((&server["associations"], &server["failed"]), (&RUNS.len().into(), &0.into()), "{server}");
}

/// Twenty associations at a time with the peer's server.
fn many_associations(foreign: &Foreign, family: Family) {
    let mut server = foreign.serve(family, &["--associations", "20"]).unwrap();
    let options = ["--mode", "echo", "--associations", "20", "--count", "2000", "--size", "1-2000", "--window", "4"];
    sound(&foreign.our_client(family, &options).unwrap().summary(LONG).unwrap()).unwrap();
    let finished = server.wait(LONG).unwrap();
    let lines = finished.stdout.iter().filter(|line| line.contains("\"graceful\":true"));
    assert_eq!(lines.count(), 20, "{finished:?}");
}

super::rows!("siz", PairConfig::default(), [ours_sends_all_sizes, it_sends_all_sizes, many_associations]);
