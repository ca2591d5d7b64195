//! The XDP program under `BPF_PROG_TEST_RUN`: the kernel runs it on frames built here, without any network interface.
//!
//! * [`verdicts`]: each verdict and each reason, over IPv4, IPv6 and VLAN tags, and what is left in front of the frame;
//! * [`answers`]: what packets out of the blue are answered, and how often;
//! * [`heartbeats`]: HEARTBEATs that the program answers;
//! * [`cookies`]: State Cookies that the program checks;
//! * [`inits`]: INITs that the program answers;
//! * [`icmp`]: ICMP errors that quote packets of ours, and fragments;
//! * [`samples`]: dropped packets that are shown;
//! * [`udp`]: SCTP in UDP (RFC 6951);
//! * [`steering`]: which socket a packet goes to;
//! * [`differential`]: mutated frames, judged by the program and by the same rules in userspace;
//! * [`corpus`]: the seeds of the fuzz targets, judged in the same two ways;
//! * [`speed`]: nanoseconds per packet, and what the verifier had to do.
//!
//! All of them need root. Without it they say that they did not run; in CI that is a failure.

mod answers;
mod cookies;
mod corpus;
mod differential;
mod frames;
mod headroom;
mod heartbeats;
mod icmp;
mod inits;
mod model;
mod program;
mod samples;
mod speed;
mod steering;
mod udp;
mod verdicts;
