//! Defaults, profiles and limits of settings.

use super::*;

#[test]
fn profiles_are_valid() {
    for config in [
        AssociationConfig::default(),
        AssociationConfig::rfc(),
        AssociationConfig::signalling(),
        AssociationConfig::ran(),
    ] {
        config.validate().unwrap();
    }
}

//= test RFC 9260 §6.2: "An implementation MUST NOT allow the maximum delay (protocol parameter 'SACK.Delay') to be
//= configured to be more than 500 ms."
//= test RFC 9260 §6.2: "but MUST NOT raise it above 500 ms"
//= test RFC 9260 §3.3.2: "The value of 0 MUST NOT be used."
//= test RFC 9260 §3.3.2: "The value 0 MUST NOT be used."
//= test RFC 9260 §3.3.3: "The value 0 MUST NOT be used."
//= test RFC 9260 §1.6: "An endpoint SHOULD NOT transmit a DATA chunk with a TSN that is more than 2^31 - 1 above
//= the beginning TSN"
//= test RFC 9260 §6.1: "The data sender MUST NOT use a TSN that is more than 2^31 - 1 above the beginning TSN of
//= the current send window."
//= test RFC 9260 §6.1: "the data sender MUST NOT have more than 2^16 - 1 ordered user messages in the current send
//= window"
#[test]
fn some_settings_are_fixed() {
    let before = AssociationConfig::rfc();
    let changed = AssociationConfig { rto_max: Duration::from_secs(7), nagle: true, ..AssociationConfig::rfc() };
    changed.check_changes(&before).unwrap();
    let changed = AssociationConfig { max_paths: 2, ..AssociationConfig::rfc() };
    assert_eq!(changed.check_changes(&before).unwrap_err().setting, "max_paths");
}

#[test]
fn nonsense_is_named() {
    let config = AssociationConfig { rto_max: Duration::from_millis(1), ..AssociationConfig::rfc() };
    assert_eq!(config.validate().unwrap_err().setting, "rto_max");
    let config = AssociationConfig { sack_delay: Duration::from_millis(500), ..AssociationConfig::rfc() };
    assert_eq!(config.validate().unwrap_err().setting, "sack_delay");
    let config = AssociationConfig { primary_switchover_max_retransmits: Some(4), ..AssociationConfig::rfc() };
    assert_eq!(config.validate().unwrap_err().setting, "primary_switchover_max_retransmits");
    AssociationConfig { potentially_failed_max_retransmits: Some(4), ..config }.validate().unwrap();
    let rfc = AssociationConfig::rfc;
    for (config, setting) in [
        (AssociationConfig { outbound_streams: 0, ..rfc() }, "outbound_streams"),
        (AssociationConfig { max_inbound_streams: 0, ..rfc() }, "max_inbound_streams"),
        (AssociationConfig { receive_buffer: 1499, ..rfc() }, "receive_buffer"),
        (AssociationConfig { max_outstanding: 65_536, ..rfc() }, "max_outstanding"),
        (AssociationConfig { partial_delivery_point: Some(0), ..rfc() }, "partial_delivery_point"),
        (AssociationConfig { partial_delivery_point: Some(rfc().receive_buffer), ..rfc() }, "partial_delivery_point"),
        (AssociationConfig { max_message_size: rfc().receive_buffer, ..rfc() }, "max_message_size"),
    ] {
        assert_eq!(config.validate().unwrap_err().setting, setting);
    }
}
