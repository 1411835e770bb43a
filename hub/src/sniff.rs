//! Which protocol a client speaks, by its first bytes: clients of all of them speak first.

/// What somebody speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// TLS: a handshake record (RFC 8446, section 5.1).
    Tls,
    /// MQTT: a CONNECT of any version.
    Mqtt,
    /// AMQP 1.0, with SASL or without: a protocol header (Part 2, section 2.2).
    Amqp,
    /// HTTP/1.1 or HTTP/2.
    Http,
}

/// What first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// This.
    Is(Spoken),
    /// Nothing yet: there must be more.
    More,
    /// Nothing that is known, whatever follows.
    Unknown,
}

/// How many bytes it takes at most.
pub const SNIFFED_MAX: usize = 24;

/// The longest method of HTTP that is known by its length.
const METHOD_MAX: usize = SNIFFED_MAX - 1;

/// Looks at the first bytes. What it says once does not change when more come, and with [`SNIFFED_MAX`] bytes it knows.
pub fn sniff(bytes: &[u8]) -> Sniffed {
    match bytes {
        [] | [0x16] => Sniffed::More,
        [0x16, 0x03, ..] => Sniffed::Is(Spoken::Tls),
        [0x10, rest @ ..] => connect(rest),
        _ if b"AMQP".starts_with(bytes) => Sniffed::More,
        // Part 2, section 5.2, and section 5.3: 2 is TLS within AMQP, which it answers itself.
        [b'A', b'M', b'Q', b'P', 0..=3, ..] => Sniffed::Is(Spoken::Amqp),
        _ => method(bytes),
    }
}

/// A CONNECT after its first byte: a length of one to four bytes, and the name of the protocol.
fn connect(bytes: &[u8]) -> Sniffed {
    let Some(last) = bytes.iter().take(4).position(|byte| byte & 0x80 == 0) else {
        return if bytes.len() < 4 { Sniffed::More } else { Sniffed::Unknown };
    };
    let name = &bytes[last + 1..];
    let names: [&[u8]; 2] = [b"\x00\x04MQTT", b"\x00\x06MQIsdp"];
    match names.iter().any(|known| name.starts_with(known)) {
        true => Sniffed::Is(Spoken::Mqtt),
        false if names.iter().any(|known| known.starts_with(name)) => Sniffed::More,
        false => Sniffed::Unknown,
    }
}

/// A method of HTTP (RFC 9110, section 9) in upper case and a space; the preface of HTTP/2 begins as one.
fn method(bytes: &[u8]) -> Sniffed {
    let other = bytes.iter().position(|byte| !(byte.is_ascii_uppercase() || *byte == b'-'));
    match other.map(|at| (at, bytes[at])) {
        Some((1..=METHOD_MAX, b' ')) => Sniffed::Is(Spoken::Http),
        None if bytes.len() <= METHOD_MAX => Sniffed::More,
        _ => Sniffed::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[(&[u8], Spoken)] = &[
        (b"\x16\x03\x01\x02\x00\x01", Spoken::Tls),
        (b"\x10\x10\x00\x04MQTT\x05", Spoken::Mqtt),
        (b"\x10\x90\x80\x01\x00\x04MQTT\x04", Spoken::Mqtt),
        (b"\x10\x0e\x00\x06MQIsdp\x03", Spoken::Mqtt),
        (b"AMQP\x00\x01\x00\x00", Spoken::Amqp),
        (b"AMQP\x03\x01\x00\x00", Spoken::Amqp),
        (b"GET / HTTP/1.1\r\n", Spoken::Http),
        (b"M-SEARCH * HTTP/1.1", Spoken::Http),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Spoken::Http),
    ];

    #[test]
    fn each_protocol_is_known_and_no_beginning_of_it_is_taken_for_another() {
        for (bytes, spoken) in KNOWN {
            assert_eq!(sniff(bytes), Sniffed::Is(*spoken), "{bytes:?}");
            for end in 0..bytes.len() {
                let said = sniff(&bytes[..end]);
                assert!(matches!(said, Sniffed::More) || said == Sniffed::Is(*spoken), "{:?}: {said:?}", &bytes[..end]);
            }
        }
    }

    #[test]
    fn what_is_nothing_is_said_to_be_nothing() {
        let others: [&[u8]; 9] = [
            b"\x16\x02",
            b"\x00",
            b"get / HTTP/1.1",
            b" GET",
            b"\x10\xff\xff\xff\xff",
            b"\x10\x05\x00\x04MQTX",
            b"AMQP\x09",
            b"SSH-2.0-x",
            b"AAAAAAAAAAAAAAAAAAAAAAAA",
        ];
        for bytes in others {
            assert_eq!(sniff(bytes), Sniffed::Unknown, "{bytes:?}");
        }
    }
}
