//! A client's configuration out of a URL.

use alloc::format;
use alloc::string::String;
use core::str::FromStr;
use core::time::Duration;

use roadbed_core::client::{Login, ServerUrl};
use roadbed_core::{Error, ErrorKind};

use super::ClientConfig;
use crate::Sasl;

/// The options that a URL may have.
const OPTIONS: &str = "container_id, hostname, sasl (none, anonymous, plain, scram or external), idle_timeout (seconds), \
                       frame_bytes_max and credit_max";

impl FromStr for ClientConfig {
    type Err = Error;

    /// Reads `amqp://user:password@host:port?option=value&...`; a path is not looked at. Everything may be percent-encoded.
    fn from_str(url: &str) -> Result<Self, Error> {
        parse(url).map_err(|why| {
            Error::new(ErrorKind::Invalid, "connect")
                .detail(format_args!("{why}; a URL is such as amqp://user:password@host:5672?container_id=NAME"))
        })
    }
}

fn parse(url: &str) -> Result<ClientConfig, String> {
    let url = ServerUrl::new(url)?;
    let scheme = url.scheme;
    if !scheme.eq_ignore_ascii_case("amqp") {
        return Err(format!("`{scheme}` is not amqp; another carrier is given by a connector"));
    }
    let mut config = ClientConfig::default();
    if let Some(Login { user, password }) = url.login()? {
        let password = String::from_utf8(password.unwrap_or_default()).map_err(|_| "the password is not UTF-8")?;
        config.sasl = Some(Sasl::Password { user: user.into(), password: password.into() });
    }
    (config.host, config.port) = url.host_and_port(5672)?;
    for option in url.options() {
        let (name, value) = option?;
        set(&mut config, &name, &value)?;
    }
    Ok(config)
}

fn set(config: &mut ClientConfig, name: &str, value: &str) -> Result<(), String> {
    match name {
        "container_id" => config.machine.container_id = value.into(),
        "hostname" => config.hostname = Some(value.into()),
        "sasl" => config.sasl = sasl(value, config.sasl.take())?,
        "idle_timeout" => config.machine.idle_timeout = Duration::from_secs(number(value)?.into()),
        "frame_bytes_max" => config.machine.frame_bytes_max = number(value)?.max(512),
        "credit_max" => config.credit_max = number(value)?.max(1),
        _ => return Err(format!("there is no option `{name}`, but {OPTIONS}")),
    }
    Ok(())
}

fn sasl(value: &str, given: Option<Sasl>) -> Result<Option<Sasl>, String> {
    Ok(Some(match (value, given) {
        ("none", _) => return Ok(None),
        ("anonymous", _) => Sasl::Anonymous,
        ("external", _) => Sasl::External,
        ("plain", Some(Sasl::Password { user, password })) => Sasl::Plain { user, password },
        ("scram", Some(Sasl::Password { user, password })) => Sasl::Scram { user, password },
        ("plain" | "scram", _) => return Err(format!("`sasl={value}` needs a name and a password before the host")),
        _ => return Err(format!("`{value}` is no way to log in, but none, anonymous, plain, scram and external are")),
    }))
}

fn number(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("`{value}` is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_part() {
        let url = "amqp://al%40ice:p%3Ass@example.org:5673/a?container_id=a%26b&hostname=vhost:x&idle_timeout=5\
                   &frame_bytes_max=4096&credit_max=7";
        let config: ClientConfig = url.parse().unwrap();
        assert_eq!((&*config.host, config.port), ("example.org", 5673));
        assert_eq!(config.sasl, Some(Sasl::Password { user: "al@ice".into(), password: "p:ss".into() }));
        assert_eq!((&*config.machine.container_id, config.hostname.as_deref()), ("a&b", Some("vhost:x")));
        assert_eq!((config.machine.idle_timeout.as_secs(), config.machine.frame_bytes_max), (5, 4096));
        assert_eq!(config.credit_max, 7);
        assert!(!format!("{config:?}").contains("p:ss"), "a password is never shown");
    }

    #[test]
    fn says_what_is_wrong() {
        for (url, why) in [
            ("localhost", "no `://`"),
            ("mqtt://h", "is not amqp"),
            ("amqp://", "no host"),
            ("amqp://h:port", "no port"),
            ("amqp://[::1", "not closed"),
            ("amqp://u%f@h", "hexadecimal"),
            ("amqp://h?sasl=kerberos", "no way to log in"),
            ("amqp://h?sasl=plain", "needs a name"),
            ("amqp://h?container=x", "no option `container`"),
        ] {
            let error = url.parse::<ClientConfig>().unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
    }
}
