//! A client's configuration out of a URL.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::str::FromStr;

use roadbed_core::{Error, ErrorKind};

use super::ClientConfig;
use crate::codec::Version;

/// The options that a URL may have.
const OPTIONS: &str = "version (3.1, 3.1.1 or 5), client_id and keep_alive (seconds)";

impl FromStr for ClientConfig {
    type Err = Error;

    /// Reads `mqtt://user:password@host:port?option=value&...`; a path is not looked at. Everything may be percent-encoded.
    fn from_str(url: &str) -> Result<Self, Error> {
        parse(url).map_err(|why| {
            Error::new(ErrorKind::Invalid, "connect")
                .detail(format_args!("{why}; a URL is such as mqtt://user:password@host:1883?version=5"))
        })
    }
}

fn parse(url: &str) -> Result<ClientConfig, String> {
    let (scheme, rest) = url.split_once("://").ok_or("there is no `://`")?;
    if !scheme.eq_ignore_ascii_case("mqtt") && !scheme.eq_ignore_ascii_case("tcp") {
        return Err(format!("`{scheme}` is not mqtt; another carrier is given by a connector"));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
    let (login, server) = authority.rsplit_once('@').map_or((None, authority), |(login, server)| (Some(login), server));
    let mut config = ClientConfig::default();
    if let Some(login) = login {
        let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        config.user = Some(text(user)?.into());
        config.password = password.map(decode).transpose()?.map(Into::into);
    }
    (config.host, config.port) = host_and_port(server)?;
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        set(&mut config, &text(name)?, &text(value)?)?;
    }
    Ok(config)
}

fn host_and_port(server: &str) -> Result<(String, u16), String> {
    let (host, port) = match server.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the bracket of the host is not closed")?;
            (host, rest.strip_prefix(':'))
        }
        None => server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("there is no host".into());
    }
    let port = port.map_or(Ok(1883), |port| port.parse().map_err(|_| format!("`{port}` is no port")))?;
    Ok((host.to_string(), port))
}

fn set(config: &mut ClientConfig, name: &str, value: &str) -> Result<(), String> {
    match name {
        "version" => config.version = version(value)?,
        "client_id" => config.client_id = Some(value.into()),
        "keep_alive" => {
            config.keep_alive_secs = value.parse().map_err(|_| format!("`{value}` is no number of seconds"))?;
        }
        _ => return Err(format!("there is no option `{name}`, but {OPTIONS}")),
    }
    Ok(())
}

fn version(value: &str) -> Result<Version, String> {
    match value {
        "3.1" | "3" => Ok(Version::V31),
        "3.1.1" | "4" => Ok(Version::V311),
        "5.0" | "5" => Ok(Version::V5),
        _ => Err(format!("`{value}` is no version of MQTT, but 3.1, 3.1.1 and 5 are")),
    }
}

fn text(encoded: &str) -> Result<String, String> {
    String::from_utf8(decode(encoded)?).map_err(|_| format!("`{encoded}` is not UTF-8"))
}

fn decode(encoded: &str) -> Result<Vec<u8>, String> {
    let (mut out, mut bytes) = (Vec::with_capacity(encoded.len()), encoded.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(format!("`{encoded}` has a `%` without two hexadecimal digits"));
        };
        out.push((high * 16 + low) as u8);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_part() {
        let url = "mqtt://al%40ice:p%3Ass:w%ff@example.org:1884/a/b?version=3.1.1&client_id=a%26b&keep_alive=5";
        let config: ClientConfig = url.parse().unwrap();
        assert_eq!((&*config.host, config.port, config.version), ("example.org", 1884, Version::V311));
        assert_eq!(config.user.as_deref(), Some("al@ice"));
        assert_eq!(config.password.as_deref(), Some(&b"p:ss:w\xff"[..]));
        assert_eq!((config.client_id.as_deref(), config.keep_alive_secs), (Some("a&b"), 5));
        assert!(!format!("{config:?}").contains("ss:w"), "a password is never shown");
    }

    #[test]
    fn says_what_is_wrong() {
        for (url, why) in [
            ("localhost", "no `://`"),
            ("http://h", "is not mqtt"),
            ("mqtt://", "no host"),
            ("mqtt://h:port", "no port"),
            ("mqtt://[::1", "not closed"),
            ("mqtt://u%f@h", "hexadecimal"),
            ("mqtt://h?version=6", "no version"),
            ("mqtt://h?clientid=x", "no option `clientid`"),
        ] {
            let error = url.parse::<ClientConfig>().unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
    }
}
