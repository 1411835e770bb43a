//! A client's configuration out of a URL.

use alloc::format;
use alloc::string::String;
use core::str::FromStr;

use roadbed_core::client::ServerUrl;
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
    let url = ServerUrl::new(url)?;
    let scheme = url.scheme;
    if !scheme.eq_ignore_ascii_case("mqtt") && !scheme.eq_ignore_ascii_case("tcp") {
        return Err(format!("`{scheme}` is not mqtt; another carrier is given by a connector"));
    }
    let mut config = ClientConfig::default();
    if let Some(login) = url.login()? {
        (config.user, config.password) = (Some(login.user.into()), login.password.map(Into::into));
    }
    (config.host, config.port) = url.host_and_port(1883)?;
    for option in url.options() {
        let (name, value) = option?;
        set(&mut config, &name, &value)?;
    }
    Ok(config)
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

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

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
