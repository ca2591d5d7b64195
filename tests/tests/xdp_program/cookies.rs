//! COOKIE ECHOs whose State Cookie the program checks before a worker sees them (RFC 9260 §5.1.5).

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sctp_common::cookie::{Age, Cookie, CookieSecret, CookieSettings, Mac};
use sctp_common::frame::{decode, ipv4_mapped};
use sctp_common::limit::Rate;
use sctp_common::verdict::{DropReason as Drop, RedirectReason as Redirect, Verdict};
use sctp_common::wire::chunk as kind;

use super::frames::*;
use super::model::Model;
use super::program::{Program, Settings};

pub(crate) const SECRET: [u64; 2] = [0x0102_0304_0506_0708, 0x1112_1314_1516_1718];
const SECOND: u64 = 1_000_000_000;
pub(crate) const EPOCH: u64 = 600 * SECOND;
/// Drawn by us for an association that is being set up.
const NEW_TAG: u32 = 0x0bad_cafe;

/// What the program is told when the stack's time is `stack_time` now.
pub(crate) fn settings(stack_time: u64) -> Result<CookieSettings> {
    // SAFETY: the time is a plain value, which the call fills.
    let now = unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        ensure!(libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) == 0, "no clock");
        now.tv_sec as u64 * SECOND + now.tv_nsec as u64
    };
    // A host that has just been started may not be as old as that.
    Ok(CookieSettings::new(&CookieSecret::new(SECRET), EPOCH, now.wrapping_sub(stack_time), [60_000, 120_000]))
}

/// A cookie that was made at `created` for the peer with `further` addresses, sealed under the secret.
fn cookie(created: u64, further: u8) -> Vec<u8> {
    let cookie = Cookie {
        addresses: further,
        flags: 0,
        local_port: PORT,
        peer_port: PEER_PORT,
        local_tag: NEW_TAG,
        peer_tag: PEER_TAG,
        local_tie_tag: 0,
        peer_tie_tag: 0,
        local_initial_tsn: 1,
        peer_initial_tsn: 2,
        peer_window: 3000,
        outbound_streams: 10,
        inbound_streams: 10,
        created,
        lifespan: 60_000,
        source: ipv4_mapped(PEER_V4),
        destination: ipv4_mapped(OURS_V4),
    };
    let fixed = cookie.encode();
    let addresses: Vec<[u8; 16]> = (0..further).map(v6).collect();
    let key = CookieSecret::new(SECRET).key(created / EPOCH);
    let mac = addresses.iter().fold(Mac::new(&key, &fixed), |mac, address| mac.address(address));
    [&fixed[..], addresses.as_flattened(), &mac.finish()].concat()
}

/// A COOKIE ECHO, with DATA behind it.
fn echo(cookie: &[u8]) -> Vec<u8> {
    let chunks = [chunk(kind::COOKIE_ECHO, 0, cookie), data_chunk(16)].concat();
    sctp(PORT, NEW_TAG, &chunks)
}

fn load(settings: Settings, cookies: &CookieSettings) -> Result<Program> {
    let mut program = Model::new(&settings).program(settings)?;
    program.check_cookies(cookies)?;
    Ok(program)
}

#[test]
fn only_cookies_of_ours_reach_a_worker() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let now = 5 * EPOCH + EPOCH / 2;
    let program = load(Settings::default(), &settings(now)?)?;
    let good: Verdict = Redirect::CookieEcho.into();
    let bad: Verdict = Drop::BadCookie.into();
    let of_another = |mut bytes: Vec<u8>| {
        bytes[90] ^= 1;
        bytes
    };
    let cases = [
        ("fresh", echo(&cookie(now - SECOND, 0)), good),
        ("with fifteen addresses", echo(&cookie(now - SECOND, 15)), good),
        ("stale, which a worker has to say", echo(&cookie(now - 120 * SECOND, 0)), good),
        ("of the epoch before", echo(&cookie(now - EPOCH, 1)), good),
        ("too old to tell", echo(&cookie(now - 2 * EPOCH, 0)), bad),
        ("forged", echo(&of_another(cookie(now - SECOND, 0))), bad),
        (
            "of other ports",
            sctp_between(PEER_PORT + 100, PORT, NEW_TAG, &chunk(kind::COOKIE_ECHO, 0, &cookie(now, 0))),
            bad,
        ),
        ("of another tag", sctp(PORT, NEW_TAG + 1, &chunk(kind::COOKIE_ECHO, 0, &cookie(now - SECOND, 0))), bad),
        ("empty", echo(&[]), bad),
        ("short", echo(&cookie(now - SECOND, 1)[..100]), bad),
    ];
    for (name, packet, expected) in &cases {
        for frame in [Ipv4::default().frame(packet), Ipv6::default().frame(packet)] {
            let verdict = program.run(&frame)?.verdict;
            ensure!(verdict == *expected, "{name}: {verdict:?}");
        }
    }
    let mut damaged = echo(&cookie(now - SECOND, 0));
    *damaged.last_mut().expect("it has bytes") ^= 1;
    ensure!(program.run(&Ipv4::default().frame(&damaged))?.verdict == Drop::Checksum.into(), "damaged elsewhere");
    Ok(())
}

/// Without the settings nothing is checked, as for stacks that do not give their secret away.
#[test]
fn without_a_secret_all_pass() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let program = load(Settings::default(), &CookieSettings::default())?;
    let verdict = program.run(&Ipv4::default().frame(&echo(&[1; 40])))?.verdict;
    ensure!(verdict == Redirect::CookieEcho.into(), "{verdict:?}");
    Ok(())
}

/// A worker has to answer a stale cookie with an ERROR, so whoever repeats one could have it answer without end.
#[test]
fn stale_cookies_take_tokens() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let now = 5 * EPOCH;
    let none = Rate { interval: u64::MAX, tolerance: 0 };
    let program = load(Settings { answers: [none; 2], ..Settings::default() }, &settings(now)?)?;
    let stale = Ipv4::default().frame(&echo(&cookie(now - 120 * SECOND, 0)));
    let verdicts = [program.run(&stale)?.verdict, program.run(&stale)?.verdict];
    // The second may meet the bucket of another CPU.
    ensure!(verdicts[0] == Redirect::CookieEcho.into(), "{verdicts:?}");
    let rest = (0..64).map(|_| Ok(program.run(&stale)?.verdict)).collect::<Result<Vec<_>>>()?;
    ensure!(rest.contains(&Drop::StaleCookie.into()), "{rest:?}");
    let fresh = Ipv4::default().frame(&echo(&cookie(now - SECOND, 0)));
    ensure!(program.run(&fresh)?.verdict == Redirect::CookieEcho.into(), "a fresh one takes none");
    Ok(())
}

/// Damaged cookies, judged by the program and by the same rules in userspace.
#[test]
fn userspace_judges_damaged_cookies_alike() -> Result<()> {
    if !sctp_lab::require_root() {
        return Ok(());
    }
    let now = 5 * EPOCH + EPOCH / 2;
    let settings = settings(now)?;
    let program = load(Settings::default(), &settings)?;
    let mut generator = StdRng::seed_from_u64(7);
    let mut good = 0;
    for round in 0..2000 {
        let mut bytes = cookie(now - SECOND, generator.random_range(0..=15));
        match generator.random_range(0..5) {
            0 => {}
            1 => bytes.truncate(generator.random_range(0..bytes.len())),
            2 => bytes.extend(vec![0; generator.random_range(1..9)]),
            3 => bytes[generator.random_range(0..8)] = generator.random(),
            _ => {
                let at = generator.random_range(0..bytes.len());
                bytes[at] ^= 1 << generator.random_range(0..8);
            }
        }
        let frame = Ipv4::default().frame(&echo(&bytes));
        let packet = decode(frame.as_slice()).map_err(|verdict| anyhow::anyhow!("{verdict:?}"))?;
        let expected = match settings.check(frame.as_slice(), &packet, settings.origin.wrapping_add(now)) {
            Ok(Age::Fresh | Age::Stale) => Redirect::CookieEcho.into(),
            Err(reason) => Verdict::from(reason),
        };
        good += usize::from(expected == Redirect::CookieEcho.into());
        program.run_expecting(&frame, expected).with_context(|| format!("round {round}"))?;
    }
    ensure!((400..1200).contains(&good), "{good} good ones");
    Ok(())
}
